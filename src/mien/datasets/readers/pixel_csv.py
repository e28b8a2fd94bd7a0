"""The csv files of FER2013: one face per line, its 2,304 pixels as decimal numbers between spaces.

Some dozen lines at a time are parsed by NumPy at once (`pixel_lines`). That fast way accepts only lines that are
exactly as published; any other piece is parsed again line by line, which forgives what is harmless (quotes, more than
one space, empty lines) and otherwise names the line and the column. So the slow way alone defines what is valid.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from mien.datasets.faceset import UNLABELLED
from mien.datasets.readers.pixel_lines import CLASSES, PIXELS, SIDE, USAGES, LineParser
from mien.datasets.readers.table import Bytes, Progress
from mien.errors import DataError
from mien.store.archives import Readable
from mien.store.growing import GrowingArray

__all__ = ["CLASSES", "SIDE", "USAGES", "CsvFaces", "read_pixel_csv"]

_READ = 2 << 20
"""Bytes read at once: enough pieces that the odd one at the end does not count."""
_PIECE = 128 << 10
"""Bytes parsed at once: the temporaries stay in the processor's cache."""
_LONGEST_LINE = 64 << 10
"""No valid line is a quarter as long; a longer one means that the file is no such csv."""

_SAMPLE = 4096
"""Bytes at the beginning that tell text from other things."""

_COLUMNS = (
    ("emotion", "pixels", "usage"),
    ("emotion", "usage", "pixels"),
    ("emotion", "pixels"),
    ("pixels",),
)
_AGAIN = "get the file again, or repair that line"


@dataclass(frozen=True)
class CsvFaces:
    """The content of one csv.

    Attributes:
        columns: lower-case names in the order of the file.
        images: uint8 (N, 48, 48), grey, 0–255; a read-only `numpy.memmap` where they are kept in a file.
        labels: uint8 (N,), 0–6; `UNLABELLED` throughout where the file has no column ``emotion``.
        usage: uint8 (N,), positions in `USAGES`; None where the file has no column ``Usage``.
        md5: of the whole file, hex.
    """

    columns: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    usage: npt.NDArray[np.uint8] | None
    md5: str


def read_pixel_csv(
    stream: Readable, file: str, *, size: int = 0, progress: Progress | None = None, images: Path | None = None
) -> CsvFaces:
    """Read ``fer2013.csv``, ``icml_face_data.csv``, or the challenge's ``train.csv`` or ``test.csv``.

    Args:
        stream: the bytes of the file; read once, from where it stands, never more than a few blocks in memory.
        file: how errors call it.
        size: bytes in the stream, for ``progress``.
        progress: told the bytes done.
        images: the .npy to write the images to while they are read, as `numpy.save` would in the end; in memory
            without it. After an error, what there is of it is of no use.

    Raises:
        DataError: with line and column, at the first thing that is wrong.
        WriteError: ``images`` cannot be written.

    Example:
        >>> import io
        >>> line = b"3," + b" ".join([b"7"] * 2304) + b",Training"
        >>> faces = read_pixel_csv(io.BytesIO(b"emotion,pixels,Usage" + bytes([10]) + line), "tiny.csv")
        >>> faces.images.shape, faces.labels.tolist(), faces.usage.tolist()
        ((1, 48, 48), [3], [0])
    """
    with GrowingArray((SIDE, SIDE), images) as growing:
        return _read_all(stream, file, size, progress, growing)


def _read_all(stream: Readable, file: str, size: int, progress: Progress | None, images: GrowingArray) -> CsvFaces:
    digest = hashlib.md5(usedforsecurity=False)
    columns: tuple[str, ...] = ()
    rest, done = b"", 0
    rows: _Rows | None = None
    for data in _read_ahead(stream, digest):
        done += len(data)
        if rows is None:
            data, rest = rest + data, b""
            head, found, data = data.partition(b"\n")
            if not found:
                rest = head
                _check_length(rest, file, 1)
                continue
            _check_text(head + b"\n" + data[:_SAMPLE], file)
            columns = _read_header(head, file)
            rows = _Rows(columns, file, images)
        rest = _read_block(rows, rest, data)
        _check_length(rest, file, rows.line)
        if progress is not None:
            progress(Bytes(done), Bytes(max(size, done)))
    if rows is None and done:
        _check_text(rest, file)
        columns, rest = _read_header(rest, file), b""
        rows = _Rows(columns, file, images)
    if rest and rows is not None:
        rows.add(rest + b"\n")
    if rows is None:
        raise DataError("the file is empty; get it again", file=file)
    if not images.count:
        raise DataError("there is a header, but no face follows; get the file again", file=file, line=1)
    unlabelled = np.full(images.count, UNLABELLED, np.uint8)
    return CsvFaces(
        columns=columns,
        images=images.finish(),
        labels=np.array(rows.labels) if "emotion" in columns else unlabelled,
        usage=np.array(rows.usage) if "usage" in columns else None,
        md5=digest.hexdigest(),
    )


def _read_ahead(stream: Readable, digest: hashlib._Hash) -> Iterator[bytes]:
    """The blocks of the stream; the next one is read, unpacked and hashed while the caller works on this one.

    That takes almost as long as parsing does, and leaves the interpreter to others meanwhile. More threads than these
    two would rather wait for the interpreter than for each other's cores.
    """

    def take() -> bytes:
        data = stream.read(_READ)
        digest.update(data)
        return data

    with ThreadPoolExecutor(1) as beside:
        coming = beside.submit(take)
        while data := coming.result():
            coming = beside.submit(take)
            yield data


def _read_block(rows: _Rows, rest: bytes, data: bytes) -> bytes:
    """Read all lines that end in ``data``, the first of which began with ``rest``; the line that is left over."""
    start = 0
    if rest:
        start = _piece_end(data, 0)
        if not start:
            return rest + data
        rows.add(rest + data[:start])
    while stop := _piece_end(data, start):
        rows.add(data, start, stop)
        start = stop
    return data[start:]


def _piece_end(data: bytes, start: int) -> int:
    """The latest line end that fits into a piece, or else the next one; 0 if there is none."""
    return data.rfind(b"\n", start, start + _PIECE) + 1 or data.find(b"\n", start) + 1


def _check_text(beginning: bytes, file: str) -> None:
    """A binary file is called one, instead of its bytes being taken for names of columns."""
    text = beginning.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    odd = [
        place for place, letter in enumerate(text) if letter == "\ufffd" or (letter < " " and letter not in "\t\r\n")
    ]
    # In a csv a damaged byte or two further down are told with their line.
    if 10 * len(odd) > len(text) or (odd and odd[0] < text.find("\n")):
        raise DataError(
            "this is no text file, so it is no csv of FER2013; give the fer2013.csv or icml_face_data.csv of the "
            "challenge",
            file=file,
        )


def _check_length(rest: bytes, file: str, line: int) -> None:
    if line == 1:
        _check_text(rest[:_SAMPLE], file)
    if len(rest) > _LONGEST_LINE:
        raise DataError(
            "this line is longer than any line of FER2013 can be, so this is no such csv; "
            "give the fer2013.csv or icml_face_data.csv of the challenge",
            file=file,
            line=line,
        )


def _read_header(head: bytes, file: str) -> tuple[str, ...]:
    text = head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    columns = tuple(name.strip().strip('"').strip().lower() for name in text.split(","))
    if columns not in _COLUMNS:
        shown = text if len(text) <= 60 and text.isprintable() else repr(text[:60]) + "…"
        raise DataError(
            f"the header is {shown!r}, but a csv of FER2013 starts with 'emotion,pixels,Usage' "
            "(or 'emotion, Usage, pixels', 'emotion,pixels', 'pixels'); give one of those files",
            file=file,
            line=1,
            column=1,
        )
    return columns


class _Rows:
    """The faces read so far.

    Attributes:
        images: takes them.
        labels: of them, one byte each; nothing where the file has no column ``emotion``.
        usage: positions in `USAGES`, likewise.
        line: 1-based, of the next line.
    """

    def __init__(self, columns: tuple[str, ...], file: str, images: GrowingArray) -> None:
        self.columns, self.file, self.images = columns, file, images
        self.labels, self.usage = bytearray(), bytearray()
        self.line = 2
        self._parser = LineParser(columns)

    def add(self, data: bytes, start: int = 0, stop: int | None = None) -> None:
        """Read a piece of ``data`` that ends where a line ends.

        Raises:
            DataError: with line and column, at the first thing that is wrong.
        """
        stop = len(data) if stop is None else stop
        if not self._add_fast(data, start, stop):
            self._add_slowly(data[start:stop])

    def _add_fast(self, data: bytes, start: int, stop: int) -> bool:
        """All lines of the piece at once; False if one of them is not exactly as published."""
        faces = self._parser.parse(data, start, stop)
        if faces is None:
            return False
        self.images.append(faces.pixels.reshape(-1, SIDE, SIDE))
        self.labels.extend(faces.labels)
        self.usage.extend(faces.usage)
        self.line += len(faces.pixels)
        return True

    def _add_slowly(self, piece: bytes) -> None:
        """Line by line: forgiving where it is harmless, exact about the place where it is not."""
        file, columns = self.file, self.columns
        for line, raw in enumerate(piece.split(b"\n")[:-1], self.line):
            self.line += 1
            text = raw.rstrip(b"\r").decode("utf-8", "replace")
            if not text.strip():
                continue
            fields = list(_fields(text))
            if len(fields) != len(columns):
                _refuse_field_count(fields, columns, file, line, len(text))
            for name, (column, value) in zip(columns, fields, strict=True):
                if name == "emotion":
                    self.labels.append(_read_label(value, file, line, column))
                elif name == "usage":
                    self.usage.append(_read_usage(value, file, line, column))
                else:
                    self.images.append(_read_pixels(value, file, line, column).reshape(1, SIDE, SIDE))


def _fields(text: str) -> Iterator[tuple[int, str]]:
    """1-based column and content of each field, without quotes and outer spaces."""
    column = 1
    for field in text.split(","):
        content = field.strip()
        offset = len(field) - len(field.lstrip())
        if len(content) >= 2 and content[0] == content[-1] == '"':
            content, offset = content[1:-1], offset + 1
            offset += len(content) - len(content.lstrip())
            content = content.strip()
        yield column + offset, content
        column += len(field) + 1


def _refuse_field_count(
    fields: list[tuple[int, str]], columns: tuple[str, ...], file: str, line: int, length: int
) -> NoReturn:
    shown = ", ".join(columns)
    if len(fields) > len(columns):
        raise DataError(
            f"the line has {len(fields)} fields instead of {len(columns)} ({shown}); {_AGAIN}",
            file=file,
            line=line,
            column=fields[len(columns)][0],
        )
    pixels = next((len(v.split()) for _, v in fields if len(v.split()) > 1), None)
    pixels_seen = "" if pixels is None else f" after {pixels:,} of {PIXELS:,} pixels" if pixels < PIXELS else ""
    raise DataError(
        f"the line breaks off{pixels_seen}: it has {len(fields)} of {len(columns)} fields ({shown}); "
        "the file is probably truncated, get it again",
        file=file,
        line=line,
        column=length + 1,
    )


def _read_label(value: str, file: str, line: int, column: int) -> int:
    if re.fullmatch("[0-6]", value, re.ASCII):
        return int(value)
    raise DataError(
        f"the emotion is {_short(value)}, but FER2013 has the labels 0 to {CLASSES - 1}; {_AGAIN}",
        file=file,
        line=line,
        column=column,
    )


def _read_usage(value: str, file: str, line: int, column: int) -> int:
    if value in USAGES:
        return USAGES.index(value)
    raise DataError(
        f"the Usage is {_short(value)}, but it can only be {', '.join(USAGES)}; {_AGAIN}",
        file=file,
        line=line,
        column=column,
    )


def _read_pixels(value: str, file: str, line: int, column: int) -> npt.NDArray[np.uint8]:
    pixels: list[int] = []
    for number in re.finditer(r"[^ ]+", value):
        text = number.group()
        if not re.fullmatch("[0-9]{1,3}", text, re.ASCII) or int(text) > 255:
            raise DataError(
                f"pixel {len(pixels) + 1:,} is {_short(text)}, but a pixel is a whole number from 0 to 255; {_AGAIN}",
                file=file,
                line=line,
                column=column + number.start(),
            )
        pixels.append(int(text))
        if len(pixels) > PIXELS:
            raise DataError(
                f"the face has more than {PIXELS:,} pixels ({len(value.split()):,}); FER2013 is {SIDE} x {SIDE}; "
                f"{_AGAIN}",
                file=file,
                line=line,
                column=column + number.start(),
            )
    if len(pixels) < PIXELS:
        raise DataError(
            f"the face has {len(pixels):,} pixels instead of {PIXELS:,}; {_AGAIN}",
            file=file,
            line=line,
            column=column + len(value),
        )
    return np.array(pixels, np.uint8)


def _short(text: str) -> str:
    return repr(text if len(text) <= 24 else text[:24] + "…")
