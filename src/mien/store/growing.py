"""An array that grows row by row: in memory, or in a file that is byte for byte what `numpy.save` would have written.

What comes in large amounts then waits in memory for a moment only, and a file that is begun on the disk where it is to
stay needs nothing but its name in the end.
"""

from __future__ import annotations

import contextlib
import io
import math
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

_BUFFER = 1 << 20
"""Bytes that are written at once; meanwhile a second buffer of this size is filled."""


class WriteError(OSError):
    """What is kept cannot be written: no room, no right. Tells this from an error of what is being read."""


class GrowingArray:
    """Rows of bytes that come one after another, and one array of them in the end. To be used as a context manager.

    Args:
        row: shape of one row.
        path: of the file, which must not be there yet; without it all stays in memory. Only `finish` makes it a file
            that can be read; one that is not finished is to be removed by whoever named it.

    Raises:
        WriteError: the file cannot be made.

    Example:
        >>> with GrowingArray((2,)) as growing:
        ...     growing.append([[1, 2], [3, 4]])
        ...     growing.append([[5, 6]])
        ...     growing.finish().tolist()
        [[1, 2], [3, 4], [5, 6]]
    """

    def __init__(self, row: tuple[int, ...], path: Path | None = None) -> None:
        self.row, self.path, self.count = row, path, 0
        rows = max(1, _BUFFER // max(1, math.prod(row)))
        self._filling, self._full = (np.empty((rows, *row), np.uint8) for _ in range(2))
        self._filled = 0
        self._memory = io.BytesIO()
        try:
            self._file: IO[bytes] = self._memory if path is None else path.open("xb")
        except OSError as error:
            raise WriteError(*error.args) from error
        self._start = self._write_header()  # so small that it waits in the file's own buffer
        self._beside = ThreadPoolExecutor(1)
        self._writing: Future[int] | None = None

    def __enter__(self) -> GrowingArray:
        return self

    def __exit__(self, *_: object) -> None:
        self._beside.shutdown()
        if self.path is not None:  # memory is closed by whoever has the array
            # What is not finished is of no use, so it does not matter whether its last bytes can be written.
            with contextlib.suppress(OSError):
                self._file.close()

    def append(self, rows: npt.ArrayLike) -> None:
        """Add rows (n, …) of whole numbers, each of which counts modulo 256.

        Raises:
            WriteError: rows before these cannot be written.
        """
        rows = np.asarray(rows)
        while len(rows):
            fitting = rows[: len(self._filling) - self._filled]
            self._filling[self._filled : self._filled + len(fitting)] = fitting
            self._filled += len(fitting)
            self.count += len(fitting)
            rows = rows[len(fitting) :]
            if self._filled == len(self._filling):
                self._write_filled()

    def finish(self) -> npt.NDArray[np.uint8]:
        """All rows, uint8 (N, …), of a file as a read-only `numpy.memmap`; no more can be added.

        Raises:
            WriteError: rows cannot be written.
        """
        shape = (self.count, *self.row)
        self._write_filled()
        self._wait()
        if self.path is None:
            return np.frombuffer(self._memory.getbuffer(), np.uint8, offset=self._start).reshape(shape)
        try:
            self._file.seek(0)
            self._write_header()
            self._file.close()
        except OSError as error:
            raise WriteError(*error.args) from error
        if not self.count:
            return np.empty(shape, np.uint8)  # nothing cannot be mapped
        return np.memmap(self.path, np.uint8, "r", self._start, shape)

    def _write_header(self) -> int:
        """Its length is returned and stays the same: NumPy leaves room in it for the first axis to grow."""
        shape = (self.count, *self.row)
        np.lib.format.write_array_header_1_0(self._file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        return self._file.tell()

    def _write_filled(self) -> None:
        self._wait()
        self._filling, self._full = self._full, self._filling
        self._writing = self._beside.submit(self._file.write, self._full[: self._filled].data)
        self._filled = 0

    def _wait(self) -> None:
        if self._writing is not None:
            try:
                self._writing.result()
            except OSError as error:
                raise WriteError(*error.args) from error
