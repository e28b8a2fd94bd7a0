"""Faces that are decoded when they are looked at: PNG files in tar shards, for sets larger than memory.

The pixels are exactly those of the face set that was stored, so its fingerprint, and the weights of a training, are
those of the same faces in an array. A shard is an ordinary tar file as WebDataset has them; an index of offsets beside
them makes every face as near as any other. Why so, and not Arrow: ``docs/decisions/0006-shards.md``.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
import threading
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngImageFile

from mien.errors import DataError
from mien.store.cpu import cpu_count

SHARD_BYTES = 128 << 20
"""A shard is closed when it holds this many bytes."""
CHUNK = 2048
"""Faces that are held decoded while all of them are gone through."""

TOGETHER = 64
"""Faces that are decoded together; their lines stay in the processor's caches."""

_UP = 2
"""PNG's filter that keeps the difference to the line above (PNG specification, 9.2)."""
_AROUND = 57
"""Bytes of a PNG file with one IDAT chunk beside its data: signature 8, IHDR 25, IDAT 12, IEND 12."""

UInt8 = npt.NDArray[np.uint8]


class ShardedImages:
    """Images in shards, used like an array uint8 (N, H, W[, 3]) that decodes the rows it is asked for.

    Args:
        folder: what `write_shards` wrote.
        rows: int64 (n,), which of its images these are, in order; all by default.

    Raises:
        DataError: something else lies there.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, folder: Path, rows: npt.NDArray[np.int64] | None = None) -> None:
        try:
            meta = json.loads((folder / "shards.json").read_text(encoding="utf-8"))
            index = np.load(folder / "index.npy", allow_pickle=False)
            side, names = tuple(int(x) for x in meta["shape"]), [str(name) for name in meta["shards"]]
            if index.shape != (int(meta["images"]), 3) or len(side) not in (2, 3):
                raise ValueError("another index")
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"these are no shards of faces ({error}); import the data set again", file=folder) from None
        self.folder, self._index = folder, index
        self._rows = np.arange(len(index), dtype=np.int64) if rows is None else rows
        self._files = _Files(folder, names)
        self.shape = (len(self._rows), *side)
        self._mode = "RGB" if len(side) == 3 else "L"
        self._line = int(np.prod(side[1:]))
        self._head = _head(side)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all images, decoded."""
        return int(np.prod(self.shape, dtype=np.int64))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, which: Any) -> UInt8:
        rows = self._rows[which]
        if rows.ndim == 0:
            return self._decoded(int(rows))
        out = np.empty((len(rows), *self.shape[1:]), np.uint8)
        for start in range(0, len(rows), TOGETHER):
            self._fill(out[start : start + TOGETHER], rows[start : start + TOGETHER].tolist())
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        if copy is False:
            raise ValueError("faces in shards are decoded, so an array of them is always a copy")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)

    def taken(self, rows: npt.NDArray[np.int64]) -> ShardedImages:
        """Those rows, still in their shards."""
        part = ShardedImages(self.folder, self._rows[rows])
        part._files = self._files
        return part

    def _fill(self, out: UInt8, rows: list[int]) -> None:
        """Decode together what `_encoded` wrote: the lines of many faces are summed up at once."""
        plain: list[int] = []
        lines = out.reshape(len(rows), self.shape[1], self._line)  # a view
        for place, row in enumerate(rows):
            inflated = self._inflated(self._files.read(*self._index[row].tolist()))
            if inflated is None:
                plain.append(place)
            else:
                lines[place] = inflated[:, 1:]
        for line in range(1, self.shape[1]):
            lines[:, line] += lines[:, line - 1]
        for place in plain:
            out[place] = self._decoded(rows[place])

    def _inflated(self, data: bytes) -> UInt8 | None:
        """The differences of lines in a PNG file of ours, uint8 (H, 1 + bytes of a line); None for any other file."""
        size = len(data) - _AROUND
        if data[: len(self._head)] != self._head or data[33:41] != size.to_bytes(4, "big") + b"IDAT":
            return None
        try:
            inflated = zlib.decompress(memoryview(data)[41 : 41 + size], bufsize=self.shape[1] * (1 + self._line))
        except zlib.error:
            return None
        height = self.shape[1]
        if len(inflated) != height * (1 + self._line) or inflated[:: 1 + self._line] != bytes([_UP]) * height:
            return None
        return np.frombuffer(inflated, np.uint8).reshape(height, -1)

    def _decoded(self, row: int) -> UInt8:
        """One PNG file, whoever wrote it."""
        shard, start, size = self._index[row].tolist()
        data = self._files.read(shard, start, size)
        try:
            with PngImageFile(io.BytesIO(data)) as picture:  # its own class: guessing the format takes time
                if (picture.height, picture.width) != self.shape[1:3] or picture.mode != self._mode:
                    raise ValueError(f"{picture.width} x {picture.height} px, {picture.mode}")
                face = np.frombuffer(picture.tobytes(), np.uint8).reshape(self.shape[1:])
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"face {row} cannot be decoded ({error}); import the data set again", file=self._files.path(shard)
            ) from None
        return face


def pieces(images: UInt8, size: int = CHUNK) -> Iterator[UInt8]:
    """Images in consecutive arrays of at most ``size``, so that no more are decoded at a time."""
    for start in range(0, len(images), size):
        yield np.asarray(images[start : start + size])


def as_images(sharded: ShardedImages) -> UInt8:
    """The same object, for whoever is typed to take arrays."""
    return cast(UInt8, sharded)


def write_shards(images: UInt8, folder: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Write images, uint8 (N, H, W) grey or (N, H, W, 3) RGB, as shards; memory stays bounded.

    Args:
        images: an array, usually a memory map.
        folder: an empty folder.
        progress: told the images done and how many there are.
    """
    index = np.zeros((len(images), 3), np.int64)
    names: list[str] = []
    tar: tarfile.TarFile | None = None
    row = 0
    with ThreadPoolExecutor(cpu_count()) as pool:
        for piece in pieces(images, CHUNK // 8):
            for data in pool.map(_encoded, piece):
                if tar is None or tar.offset >= SHARD_BYTES:
                    if tar is not None:
                        tar.close()
                    names.append(f"{len(names):05d}.tar")
                    tar = tarfile.open(folder / names[-1], "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
                entry = tarfile.TarInfo(f"{row:08d}.png")
                entry.size = len(data)
                index[row] = len(names) - 1, tar.offset + tarfile.BLOCKSIZE, len(data)
                tar.addfile(entry, io.BytesIO(data))
                row += 1
            if progress is not None:
                progress(row, len(images))
    if tar is not None:
        tar.close()
    np.save(folder / "index.npy", index, allow_pickle=False)
    meta = {"images": len(images), "shape": list(images.shape[1:]), "shards": names}
    (folder / "shards.json").write_text(json.dumps(meta), encoding="utf-8")


class _Files:
    """Shards, opened when they are first read. A read is no memory map, whose pages would count as memory."""

    def __init__(self, folder: Path, names: list[str]) -> None:
        self.folder, self.names = folder, names
        self._open: dict[int, IO[bytes]] = {}
        self._lock = threading.Lock()

    def path(self, shard: int) -> Path:
        return self.folder / self.names[shard]

    def read(self, shard: int, start: int, size: int) -> bytes:
        with self._lock:
            try:
                file = self._open.get(shard)
                if file is None:
                    file = self._open[shard] = self.path(shard).open("rb", buffering=0)
                file.seek(start)
                data = file.read(size)
            except (OSError, IndexError) as error:
                raise DataError(
                    f"the shard cannot be read ({error}); import the data set again", file=self.folder
                ) from None
        if data is None or len(data) != size:
            raise DataError("the shard is shorter than its index says; import the data set again", file=self.folder)
        return data

    def __del__(self) -> None:
        for file in self._open.values():
            file.close()


def _encoded(image: UInt8) -> bytes:
    """A PNG file that any program reads, and that is read here faster than others.

    Every line is kept as its difference to the line above, so that decoding adds whole lines of many faces at a time,
    and compressed without a search for repetitions, which grainy faces hardly have.
    """
    lines = image.reshape(len(image), -1)
    filtered = np.full((len(image), 1 + lines.shape[1]), _UP, np.uint8)
    filtered[:, 1:] = lines
    filtered[1:, 1:] -= lines[:-1]
    deflate = zlib.compressobj(1, strategy=zlib.Z_RLE)
    data = deflate.compress(filtered.tobytes()) + deflate.flush()
    return _head(image.shape) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _head(shape: tuple[int, ...]) -> bytes:
    """Signature and first chunk: 8 bits per sample, grey or RGB, not interlaced."""
    colour = 2 if len(shape) == 3 else 0
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", struct.pack(">IIBBBBB", shape[1], shape[0], 8, colour, 0, 0, 0))


def _chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
