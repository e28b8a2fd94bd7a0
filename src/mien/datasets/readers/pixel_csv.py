"""The csv files of FER2013: one face per line, its 2,304 pixels as decimal numbers between spaces.

Some dozen lines at a time are parsed by NumPy at once. That fast way accepts only lines that are exactly as
published; any other piece is parsed again line by line, which forgives what is harmless (quotes, more than one space,
empty lines) and otherwise names the line and the column. So the slow way alone defines what is valid.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from mien.datasets.faceset import UNLABELLED
from mien.datasets.readers.table import Progress
from mien.errors import DataError
from mien.store.archives import Readable

SIDE = 48
PIXELS = SIDE * SIDE
CLASSES = 7
USAGES = ("Training", "PublicTest", "PrivateTest")

_READ = 2 << 20
"""Bytes read at once: enough pieces that the odd one at the end does not count."""
_PIECE = 192 << 10
"""Bytes parsed at once: the temporaries stay in the processor's cache."""
_LONGEST_LINE = 64 << 10
"""No valid line is a quarter as long; a longer one means that the file is no such csv."""

_COLUMNS = (
    ("emotion", "pixels", "usage"),
    ("emotion", "usage", "pixels"),
    ("emotion", "pixels"),
    ("pixels",),
)
_USAGE_IDS = {name.encode(): index for index, name in enumerate(USAGES)}
_AGAIN = "get the file again, or repair that line"


@dataclass(frozen=True)
class CsvFaces:
    """The content of one csv.

    Attributes:
        columns: lower-case names in the order of the file.
        images: uint8 (N, 48, 48), grey, 0–255.
        labels: uint8 (N,), 0–6; `UNLABELLED` throughout where the file has no column ``emotion``.
        usage: uint8 (N,), positions in `USAGES`; None where the file has no column ``Usage``.
        md5: of the whole file, hex.
    """

    columns: tuple[str, ...]
    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    usage: npt.NDArray[np.uint8] | None
    md5: str


def read_pixel_csv(stream: Readable, file: str, *, size: int = 0, progress: Progress | None = None) -> CsvFaces:
    """Read ``fer2013.csv``, ``icml_face_data.csv``, or the challenge's ``train.csv`` or ``test.csv``.

    Args:
        stream: the bytes of the file; read once, from where it stands, never more than a few blocks in memory.
        file: how errors call it.
        size: bytes in the stream, for ``progress``.
        progress: told the bytes done.

    Raises:
        DataError: with line and column, at the first thing that is wrong.

    Example:
        >>> import io
        >>> line = b"3," + b" ".join([b"7"] * 2304) + b",Training"
        >>> faces = read_pixel_csv(io.BytesIO(b"emotion,pixels,Usage" + bytes([10]) + line), "tiny.csv")
        >>> faces.images.shape, faces.labels.tolist(), faces.usage.tolist()
        ((1, 48, 48), [3], [0])
    """
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
            columns = _read_header(head, file)
            rows = _Rows(columns, file, max(size, len(data)))
        rest = _read_block(rows, rest, data)
        _check_length(rest, file, rows.line)
        if progress is not None:
            progress(done, max(size, done))
    if rows is None and done:
        columns, rest = _read_header(rest, file), b""
        rows = _Rows(columns, file, 0)
    if rest and rows is not None:
        rows.add(rest + b"\n")
    if rows is None:
        raise DataError("the file is empty; get it again", file=file)
    if not rows.count:
        raise DataError("there is a header, but no face follows; get the file again", file=file, line=1)
    return CsvFaces(
        columns=columns,
        images=rows.images[: rows.count].reshape(rows.count, SIDE, SIDE),
        labels=rows.labels[: rows.count],
        usage=rows.usage[: rows.count] if "usage" in columns else None,
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
    # The latest line end that fits into a piece, or else the next one.
    while stop := data.rfind(b"\n", start, start + _PIECE) + 1 or data.find(b"\n", start) + 1:
        rows.add(rest + data[start:stop])
        rest, start = b"", stop
    return rest + data[start:]


def _check_length(rest: bytes, file: str, line: int) -> None:
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
        images: uint8 (room, 2304); the first ``count`` are read.
        labels: uint8 (room,).
        usage: uint8 (room,).
        count: faces read.
        line: 1-based, of the next line.
    """

    def __init__(self, columns: tuple[str, ...], file: str, size: int) -> None:
        """Room for all faces that ``size`` bytes can hold, so that nothing moves; unused room takes no memory."""
        self.columns, self.file = columns, file
        self.count, self.line = 0, 2
        room = size // (2 * PIXELS) + 1
        self.images = np.zeros((room, PIXELS), np.uint8)
        self.labels = np.full(room, UNLABELLED, np.uint8)
        self.usage = np.zeros(room, np.uint8)
        self._buffers: list[npt.NDArray[np.uint8]] = []

    def add(self, piece: bytes) -> None:
        """Read a piece that ends where a line ends.

        Raises:
            DataError: with line and column, at the first thing that is wrong.
        """
        if not self._add_fast(piece):
            self._add_slowly(piece)

    def _make_room(self, count: int) -> None:
        if count <= len(self.labels):
            return
        for name, value in (("images", 0), ("labels", UNLABELLED), ("usage", 0)):
            old: npt.NDArray[np.uint8] = getattr(self, name)
            new = np.full((max(count, 2 * self.count), *old.shape[1:]), value, np.uint8)
            new[: self.count] = old[: self.count]
            setattr(self, name, new)

    def _add_fast(self, piece: bytes) -> bool:
        """All lines of the piece at once; False if one of them is not exactly as published."""
        data = np.frombuffer(piece, np.uint8)
        digit, tens, hundreds, is_digit, pair, flag, last, spare = self._take_buffers(len(data))
        labelled = "emotion" in self.columns
        numbers = PIXELS + labelled

        # Flags and values are bytes all along, since nothing is faster.
        np.subtract(data, np.uint8(48), out=digit)  # wraps: everything that is no digit becomes 10 or more
        np.less(digit, np.uint8(10), out=is_digit)
        np.bitwise_and(is_digit[:-1], is_digit[1:], out=pair[:-1])
        # Two numbers cannot end in neighbouring bytes: each pair of bytes holds one end at most, which halves the scan.
        np.greater(is_digit[:-1], is_digit[1:], out=last[: len(data) - 1])
        last[len(data) - 1 :] = 0
        pairs, halves = last.view(np.uint16), spare.view(np.uint16)
        ends = np.flatnonzero(np.not_equal(pairs, 0, out=spare[: len(pairs)].view(np.bool_)))
        rows = len(ends) // numbers
        self._make_room(self.count + rows)
        if len(ends) != rows * numbers or bool(np.bitwise_and(pair[:-3], pair[2:-1], out=flag[:-3]).any()):
            return False  # some line has not that many numbers, or one of four digits
        outer = 2 * ends.reshape(rows, numbers)[:, [0, -1]]
        outer += last[outer] == 0
        around = self._read_around(piece, outer, labelled)
        # What is left over must then be the 2,303 spaces between the pixels of each line, no more and nothing else.
        spaces = int(np.count_nonzero(np.equal(data, np.uint8(32), out=flag)))
        others = len(data) - int(np.count_nonzero(is_digit))
        if around is None or spaces != rows * (PIXELS - 1) or others - around != spaces:
            return False

        # What is no digit has the value 0; hundreds count only where two digits follow, so that no number borrows
        # from the one before it.
        values = np.multiply(digit, is_digit, out=digit)
        np.multiply(values[:-2], pair[1:-1], out=hundreds[:-2])
        if hundreds[:-2].max(initial=0) > 2:
            return False  # 300 or more
        np.multiply(hundreds[:-2], np.uint8(100), out=hundreds[:-2])
        np.multiply(values, np.uint8(10), out=tens)
        np.add(values[1:], tens[:-1], out=values[1:])
        np.add(values[2:], hundreds[:-2], out=values[2:])
        if bool(np.less(values[2:], hundreds[:-2], out=flag[:-2]).any()):
            return False  # 256 to 299, which wrapped
        # Whichever byte of a pair holds the number, the lower one does after this. "wrap" saves the check of every
        # position; they are all inside.
        np.multiply(values, last[: len(data)], out=last[: len(data)])
        np.bitwise_or(pairs, np.right_shift(pairs, 8, out=halves), out=pairs)
        read = pairs.take(ends, mode="wrap").reshape(rows, numbers)
        self.images[self.count : self.count + rows] = read[:, labelled:]
        self.count += rows
        self.line += rows
        return True

    def _read_around(self, piece: bytes, ends: npt.NDArray[np.intp], labelled: bool) -> int | None:
        """Label, commas, usage and line end of each line, byte by byte.

        Returns:
            The bytes around the pixels that are no digits; None if something is not as published.
        """
        around, start, columns = 0, 0, self.columns
        for row, (first, last) in enumerate(zip(ends[:, 0].tolist(), ends[:, -1].tolist(), strict=True), self.count):
            newline = piece.find(b"\n", start)
            if newline < 0:
                return None
            stop = newline - (piece[newline - 1] == 13)
            right = last + 1  # one past the last pixel
            left = start
            if labelled:
                label = piece[start] - 48
                if not 0 <= label < CLASSES or piece[start + 1] != 44:
                    return None
                self.labels[row] = label
                left += 2
            if columns[-1] == "usage":
                name = _USAGE_IDS.get(piece[right + 1 : stop])
                if name is None or piece[right] != 44:
                    return None
                self.usage[row] = name
            elif right != stop:
                return None
            elif columns[1:2] == ("usage",):
                comma = piece.find(b",", left, right)
                name = _USAGE_IDS.get(piece[left:comma])
                if comma < 0 or name is None:
                    return None
                self.usage[row] = name
                left = comma + 1
            if not start <= first < right <= stop:
                return None
            around += newline + 1 - right + left - start - labelled
            start = newline + 1
        return around if start == len(piece) else None

    def _take_buffers(self, size: int) -> list[npt.NDArray[np.uint8]]:
        """Room for the temporaries of `_add_fast`, used again for every piece; the last two have an even size."""
        if not self._buffers or len(self._buffers[0]) < size + 1:
            self._buffers = [np.empty(size + size // 4 + 2, np.uint8) for _ in range(8)]
        *whole, last, spare = self._buffers
        even = size + size % 2
        return [*(buffer[:size] for buffer in whole), last[:even], spare[:even]]

    def _add_slowly(self, piece: bytes) -> None:
        """Line by line: forgiving where it is harmless, exact about the place where it is not."""
        file, columns = self.file, self.columns
        lines = piece.split(b"\n")[:-1]
        self._make_room(self.count + len(lines))
        for line, raw in enumerate(lines, self.line):
            text = raw.rstrip(b"\r").decode("utf-8", "replace")
            if not text.strip():
                continue
            fields = list(_fields(text))
            if len(fields) != len(columns):
                _refuse_field_count(fields, columns, file, line, len(text))
            label, which = UNLABELLED, 0
            for name, (column, value) in zip(columns, fields, strict=True):
                if name == "emotion":
                    label = _read_label(value, file, line, column)
                elif name == "usage":
                    which = _read_usage(value, file, line, column)
                else:
                    self.images[self.count] = _read_pixels(value, file, line, column)
            self.labels[self.count], self.usage[self.count] = label, which
            self.count += 1
        self.line += len(lines)


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
