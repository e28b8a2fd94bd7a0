"""The csv files of FER2013: one face per line, its 2,304 pixels as decimal numbers between spaces.

Some dozen lines at a time are parsed by NumPy at once. That fast way accepts only lines that are exactly as
published; any other piece is parsed again line by line, which forgives what is harmless (quotes, more than one space,
empty lines) and otherwise names the line and the column. So the slow way alone defines what is valid.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

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

_READ = 1 << 20
"""Bytes read at once."""
_PIECE = 192 << 10
"""Bytes parsed at once: the temporaries stay in the processor's cache. Much larger pieces spend their time in page
faults, much smaller ones in handing the interpreter from thread to thread."""
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


@dataclass(frozen=True)
class _Rows:
    images: npt.NDArray[np.uint8]  # (n, 2304)
    labels: npt.NDArray[np.uint8]
    usage: npt.NDArray[np.uint8]


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
    parts: list[_Rows] = []
    columns: tuple[str, ...] = ()
    rest, line, done = b"", 1, 0
    workers = min(4, os.cpu_count() or 1)

    def collect(pieces: list[_Rows | bytes]) -> None:
        nonlocal line
        for piece in pieces:
            if isinstance(piece, bytes):
                parts.append(_parse_lines(piece, columns, file, line))
                line += piece.count(b"\n")
            else:
                parts.append(piece)
                line += len(piece.labels)

    # NumPy and hashlib leave the interpreter to others while they work, so threads are enough. Results are taken in
    # the order of the file, hence the error that is raised is the first one.
    with ThreadPoolExecutor(1) as hasher, ThreadPoolExecutor(workers) as parser:
        hashing: deque[Future[None]] = deque()
        parsing: deque[Future[list[_Rows | bytes]]] = deque()
        while data := stream.read(_READ):
            hashing.append(hasher.submit(digest.update, data))
            done += len(data)
            if not columns:
                data, rest = rest + data, b""
                head, found, data = data.partition(b"\n")
                if not found:
                    rest = head
                    _check_length(rest, file, line)
                    continue
                columns = _read_header(head, file)
                line += 1
            parsing.append(parser.submit(_parse, rest, data, columns))
            rest = data[data.rfind(b"\n") + 1 :] if b"\n" in data else rest + data
            while len(parsing) > 2 * workers or (parsing and len(rest) > _LONGEST_LINE):
                collect(parsing.popleft().result())
            while len(hashing) > 2 * workers:
                hashing.popleft().result()
            _check_length(rest, file, line)
            if progress is not None:
                progress(done, max(size, done))
        if not columns and done:
            columns, rest = _read_header(rest, file), b""
            line += 1
        if rest:
            parsing.append(parser.submit(_parse, rest, b"\n", columns))
        while parsing:
            collect(parsing.popleft().result())
    if not columns:
        raise DataError("the file is empty; get it again", file=file)
    count = sum(len(part.labels) for part in parts)
    if count == 0:
        raise DataError("there is a header, but no face follows; get the file again", file=file, line=1)
    return CsvFaces(
        columns=columns,
        images=np.concatenate([part.images for part in parts]).reshape(count, SIDE, SIDE),
        labels=np.concatenate([part.labels for part in parts]),
        usage=np.concatenate([part.usage for part in parts]) if "usage" in columns else None,
        md5=digest.hexdigest(),
    )


def _check_length(rest: bytes, file: str, line: int) -> None:
    if len(rest) > _LONGEST_LINE:
        raise DataError(
            "this line is longer than any line of FER2013 can be, so this is no such csv; "
            "give the fer2013.csv or icml_face_data.csv of the challenge",
            file=file,
            line=line,
        )


def _parse(rest: bytes, data: bytes, columns: tuple[str, ...]) -> list[_Rows | bytes]:
    """All lines that end in ``data``, the first of which began with ``rest``; what only the slow way can read, raw."""
    out: list[_Rows | bytes] = []
    start = data.find(b"\n") + 1
    if start:
        out.append(_parse_fast(rest + data[:start], columns))
    while start and start < len(data):
        stop = data.rfind(b"\n", start, start + _PIECE) + 1
        stop = stop or data.find(b"\n", start) + 1
        if not stop:
            break
        out.append(_parse_fast(data[start:stop], columns))
        start = stop
    return out


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


class _Buffers(threading.local):
    """Room for the temporaries of `_parse_fast`, one per thread, used again for every piece."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, size: int) -> tuple[npt.NDArray[Any], ...]:
        if self.size < size:
            self.size = size + size // 4
            self.bytes = [np.empty(self.size, np.uint8) for _ in range(3)]
            self.flags = [np.empty(self.size, np.bool_) for _ in range(3)]
        return tuple(buffer[:size] for buffer in (*self.bytes, *self.flags))


_buffers = _Buffers()


def _parse_fast(piece: bytes, columns: tuple[str, ...]) -> _Rows | bytes:
    """All lines of the piece at once, or the piece itself if one of them is not exactly as published."""
    data = np.frombuffer(piece, np.uint8)
    rows = piece.count(b"\n")
    digit, tens, hundreds, is_digit, pair, flag = _buffers.take(len(data))
    pair, hundreds = pair[:-1], hundreds[:-2]
    labelled = "emotion" in columns
    numbers = PIXELS + labelled

    np.subtract(data, np.uint8(48), out=digit)  # wraps: everything that is no digit becomes 10 or more
    np.less(digit, np.uint8(10), out=is_digit)
    np.logical_and(is_digit[:-1], is_digit[1:], out=pair)
    last_digits = np.flatnonzero(np.greater(is_digit[:-1], is_digit[1:], out=flag[:-1]))
    if len(last_digits) != rows * numbers or bool(np.logical_and(pair[:-2], pair[2:], out=flag[:-3]).any()):
        return piece  # not that many numbers, or one of four digits
    ends = last_digits.reshape(rows, numbers)

    # Around the pixels: label, commas, usage and line end, checked byte by byte. What is left over must then be
    # the 2,303 spaces between the pixels of each line, no more and no other character.
    labels, usage = [UNLABELLED] * rows, [0] * rows
    around, start = 0, 0
    for row, (first, last) in enumerate(zip(ends[:, 0].tolist(), ends[:, -1].tolist(), strict=True)):
        newline = piece.find(b"\n", start)
        stop = newline - (piece[newline - 1] == 13)
        right = last + 1  # one past the last pixel
        left = start
        if labelled:
            label = piece[start] - 48
            if not 0 <= label < CLASSES or piece[start + 1] != 44:
                return piece
            labels[row] = label
            left += 2
        if columns[-1] == "usage":
            name = _USAGE_IDS.get(piece[right + 1 : stop])
            if name is None or piece[right] != 44:
                return piece
            usage[row] = name
        elif right != stop:
            return piece
        elif columns[1:2] == ("usage",):
            comma = piece.find(b",", left, right)
            name = _USAGE_IDS.get(piece[left:comma])
            if comma < 0 or name is None:
                return piece
            usage[row] = name
            left = comma + 1
        if not start <= first < right <= stop:
            return piece
        around += newline + 1 - right + left - start - labelled  # bytes that are no digit
        start = newline + 1
    spaces = int(np.count_nonzero(np.equal(data, np.uint8(32), out=flag)))
    others = len(data) - int(np.count_nonzero(is_digit))
    if spaces != rows * (PIXELS - 1) or others - around != spaces:
        return piece

    # Bytes all along, since they are the fastest. What is no digit has the value 0; hundreds count only where two
    # digits follow, so that no number borrows from the one before it.
    values = np.multiply(digit, is_digit.view(np.uint8), out=digit)
    np.multiply(values[:-2], pair.view(np.uint8)[1:], out=hundreds)
    if hundreds.max(initial=0) > 2:
        return piece  # 300 or more
    np.multiply(hundreds, np.uint8(100), out=hundreds)
    np.multiply(values, np.uint8(10), out=tens)
    np.add(values[1:], tens[:-1], out=values[1:])
    np.add(values[2:], hundreds, out=values[2:])
    if bool(np.less(values[2:], hundreds, out=flag[:-2]).any()):
        return piece  # 256 to 299, which wrapped
    return _Rows(values[ends[:, labelled:]], np.array(labels, np.uint8), np.array(usage, np.uint8))


def _parse_lines(block: bytes, columns: tuple[str, ...], file: str, first: int) -> _Rows:
    """Line by line: forgiving where it is harmless, exact about the place where it is not."""
    images: list[npt.NDArray[np.uint8]] = []
    labels: list[int] = []
    usage: list[int] = []
    for line, raw in enumerate(block.split(b"\n")[:-1], first):
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
                images.append(_read_pixels(value, file, line, column))
        labels.append(label)
        usage.append(which)
    return _Rows(
        np.array(images, np.uint8).reshape(len(images), PIXELS), np.array(labels, np.uint8), np.array(usage, np.uint8)
    )


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
