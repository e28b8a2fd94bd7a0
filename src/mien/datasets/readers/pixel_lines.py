"""Many lines of a csv of FER2013 at once, by NumPy: only lines that are exactly as published.

Each step is one pass over a piece that stays in the processor's cache, on bytes throughout, and there are as few of
them as possible: the time goes by what is moved between the caches, not by what is computed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

SIDE = 48
PIXELS = SIDE * SIDE
CLASSES = 7
USAGES = ("Training", "PublicTest", "PrivateTest")

_USAGE_IDS = {name.encode(): index for index, name in enumerate(USAGES)}
_SHORTEST = 8
"""Bytes; a piece below that holds no face, and the slices below would be empty."""
_ZERO, _BLANK = 48, 16
"""The character 0, and what a space becomes when its bits are flipped by those of 0; digits become 0 to 9."""
_LITTLE = np.dtype("<u2")


class Faces(NamedTuple):
    """The faces of some lines.

    Attributes:
        pixels: (n, 2304), whole numbers of which the lower byte counts, 0–255.
        labels: n positions, or nothing where the lines have no label.
        usage: n positions in `USAGES`, or nothing.
    """

    pixels: npt.NDArray[Any]
    labels: list[int]
    usage: list[int]


class _Outside(NamedTuple):
    """What the lines hold beside pixels.

    Attributes:
        labels: of each line; nothing where the lines have none.
        usage: likewise.
        ends: of each line, which pair of bytes holds the one after its last pixel.
        too_long: places where four digits follow each other, while what is outside counts as zeros.
    """

    labels: list[int]
    usage: list[int]
    ends: list[int]
    too_long: int


class LineParser:
    """Parses pieces of a file with these columns.

    Example:
        >>> parser = LineParser(("pixels",))
        >>> data = b" ".join([b"7"] * 2303 + [b"255"]) + bytes([10])
        >>> parser.parse(data, 0, len(data)).pixels[0, -2:].astype("u1").tolist()
        [7, 255]
        >>> parser.parse(data.replace(b"5", b"6"), 0, len(data)) is None
        True
    """

    def __init__(self, columns: tuple[str, ...]) -> None:
        self._labelled = "emotion" in columns
        self._usage_last = columns[-1] == "usage" if "usage" in columns else None
        self._buffers: list[npt.NDArray[np.uint8]] = []

    def parse(self, data: bytes, start: int, stop: int) -> Faces | None:
        """The lines of ``data[start:stop]``, which ends where a line ends; None if one is not exactly as published."""
        size = stop - start
        if size < _SHORTEST:
            return None
        even = size + size % 2
        first, second, third, fourth = self._take_buffers(size)
        values, blank, other, hundreds = first[:size], second[:size], third[:size], fourth[:size]

        np.bitwise_xor(np.frombuffer(data, np.uint8, size, start), np.uint8(_ZERO), out=values)
        outside = self._read_outside(data, start, stop, first.data)
        if outside is None or values.max() > _BLANK:
            return None
        # From here on, zeros stand for what is outside, and one blank for what follows the last pixel of a line.
        second[size:even] = 0
        np.right_shift(values, 4, out=blank)
        np.bitwise_and(values, np.uint8(15), out=values)
        if values.max() > 9:
            return None  # : ; < = > ?
        np.add(blank[:-1], blank[1:], out=other[:-1])
        if other[:-1].max() > 1:
            return None  # two spaces
        np.bitwise_or(other[:-3], other[2:-1], out=hundreds[:-3])
        if size - 3 - int(np.count_nonzero(hundreds[:-3])) != outside.too_long:
            return None  # a number of four digits

        # A digit counts as hundreds where two digits follow, so that no number borrows from the one before it.
        np.subtract(other[:-1], np.uint8(1), out=other[:-1])  # 255 where two digits stand, otherwise 0
        np.bitwise_and(values[:-2], other[1:-1], out=hundreds[:-2])
        if hundreds[:-2].max() > 2:
            return None  # 300 or more
        np.multiply(hundreds[:-2], np.uint8(50), out=hundreds[:-2])
        np.multiply(values, np.uint8(10), out=other)
        np.add(values[1:], other[:-1], out=values[1:])
        np.add(values[2:], hundreds[:-2], out=values[2:])
        if values.max() > 155:
            return None  # 256 or more: half of the hundreds is added, and no byte overflows
        np.add(values[2:], hundreds[:-2], out=values[2:])

        # A number is moved to the blank after it. There is at most one in two bytes, so whichever of a pair of bytes
        # it is, the lower one holds the number after the next two steps, and half as many places are looked through.
        np.multiply(values[:-1], blank[1:], out=third[1:size])
        third[0] = third[size] = 0
        np.bitwise_or(third[:size], third[1 : size + 1], out=hundreds)
        found = first[: even // 2].view(np.bool_)
        places = np.not_equal(second[:even].view(_LITTLE), 0, out=found).nonzero()[0]
        rows = len(outside.ends)
        if len(places) != rows * PIXELS or places[PIXELS - 1 :: PIXELS].tolist() != outside.ends:
            return None
        # "wrap" saves the check of every place; they are all inside.
        pixels = fourth[:even].view(_LITTLE).take(places, mode="wrap").reshape(rows, PIXELS)
        return Faces(pixels, outside.labels, outside.usage)

    def _read_outside(self, data: bytes, start: int, stop: int, values: memoryview) -> _Outside | None:
        """Label, commas, usage and line end of each line, byte by byte, to be taken out of ``values``."""
        labels, usage, ends, too_long = [], [], [], 0
        begin, zeros = start, start
        while begin < stop:
            newline = data.find(b"\n", begin, stop)
            if newline <= begin:
                return None
            left, right = begin, newline - (data[newline - 1] == 13)
            if self._labelled:
                label = data[begin] - 48
                if not 0 <= label < CLASSES or data[begin + 1] != 44:
                    return None
                labels.append(label)
                left += 2
            if self._usage_last is not None:
                comma = data.rfind(b",", left, right) if self._usage_last else data.find(b",", left, right)
                which = _USAGE_IDS.get(data[comma + 1 : right] if self._usage_last else data[left:comma])
                if comma < 0 or which is None:
                    return None
                usage.append(which)
                left, right = (left, comma) if self._usage_last else (comma + 1, right)
            digits = data.find(b" ", left, right) - left
            if not 1 <= digits <= 3:
                return None
            values[zeros - start : left - start] = bytes(left - zeros)
            values[right - start] = _BLANK
            ends.append((right - start) // 2)
            too_long += max(0, left - zeros + digits - 3)
            begin, zeros = newline + 1, right + 1
        values[zeros - start : stop - start] = bytes(stop - zeros)
        return _Outside(labels, usage, ends, too_long + max(0, stop - zeros - 3))

    def _take_buffers(self, size: int) -> list[npt.NDArray[np.uint8]]:
        """Room for the temporaries of `parse`, used again for every piece."""
        if not self._buffers or len(self._buffers[0]) < size + 2:
            room = size + size // 4 + 2
            self._buffers = [np.empty(room + room % 2, np.uint8) for _ in range(4)]
        return self._buffers
