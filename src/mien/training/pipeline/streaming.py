"""The faces of a training: all in memory, or read and decoded ahead of the steps that show them.

Which face comes when is decided by the epoch's order alone. Readers only run ahead along it, so neither their number
nor their speed changes a batch, and the weights are those of the same faces in memory.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mien.datasets.shards import ShardedImages
from mien.faces.views import resize_faces
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.bundle import InputSpec

IN_MEMORY = 4 << 30
"""Bytes of training faces that are copied into memory; more are read batch by batch."""
READERS = 4
"""Most threads that read and decode ahead."""
AHEAD = 2
"""Batches that wait, ready, beside those that are being read."""


class Faces:
    """All faces on the device."""

    def __init__(self, images: NDArray[np.uint8], device: torch.device) -> None:
        self._images = _tensor(images).to(device)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Uint8 (n, H, W[, 3]) on the device."""
        return self._images[rows]

    def plan(self, batches: Sequence[Tensor]) -> None:
        """Told the rows of the batches to come, in order."""


class StreamedFaces(Faces):
    """Faces that stay where they are stored, read and decoded some batches ahead.

    Args:
        parts: uint8 (n, H, W) or (n, H, W, 3) each, rows counted through them.
        spec: what the network takes; larger faces are reduced as they are read.
        device: where batches go.
        readers: threads; they change nothing but the speed.
    """

    def __init__(
        self, parts: Sequence[NDArray[np.uint8]], spec: InputSpec, device: torch.device, readers: int = 0
    ) -> None:
        self.parts, self.spec, self.device = parts, spec, device
        self.ends = np.cumsum([len(part) for part in parts])
        self.readers = readers or max(1, min(READERS, cpu_count()))
        self._pool: ThreadPoolExecutor | None = None
        self._waiting: deque[tuple[NDArray[np.int64], Future[NDArray[np.uint8]]]] = deque()
        self._planned: deque[NDArray[np.int64]] = deque()

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Uint8 (n, H, W[, 3]) on the device; from what was read ahead where the rows are those of the next batch."""
        wanted = rows.cpu().numpy()
        found = None
        if self._waiting and np.array_equal(self._waiting[0][0], wanted):
            found = self._waiting.popleft()[1].result()
            self._read_ahead()
        images = _tensor(self._read(wanted) if found is None else found)
        return images.to(self.device, non_blocking=True)

    def plan(self, batches: Sequence[Tensor]) -> None:
        """Begin to read these batches, some at a time; an earlier plan is forgotten."""
        for _, future in self._waiting:
            future.cancel()
        self._waiting.clear()
        self._planned = deque(batch.cpu().numpy() for batch in batches)
        self._read_ahead()

    def _read_ahead(self) -> None:
        if self._pool is None and self._planned:
            self._pool = ThreadPoolExecutor(self.readers, "mien-faces")
        while self._pool is not None and self._planned and len(self._waiting) < self.readers + AHEAD:
            rows = self._planned.popleft()
            self._waiting.append((rows, self._pool.submit(self._read, rows)))

    def _read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        part_of = np.searchsorted(self.ends, rows, side="right")
        if len(self.parts) == 1:
            return self._sized(np.asarray(self.parts[0][rows]))
        out: NDArray[np.uint8] | None = None
        for number, part in enumerate(self.parts):
            here = np.flatnonzero(part_of == number)
            if len(here):
                start = 0 if number == 0 else int(self.ends[number - 1])
                images = self._sized(np.asarray(part[rows[here] - start]))
                if out is None:
                    out = np.empty((len(rows), *images.shape[1:]), np.uint8)
                out[here] = images
        assert out is not None
        return out

    def _sized(self, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return _at_most(images, self.spec)


def faces_of(parts: Sequence[NDArray[np.uint8]], spec: InputSpec, device: torch.device, readers: int = 0) -> Faces:
    """The faces of a training, in memory if they are few and in an array, else streamed.

    Args:
        parts: uint8 (n, H, W) or (n, H, W, 3) each, rows counted through them; arrays, memory maps or shards.
        spec: what the network takes.
        device: where it is.
        readers: threads that read ahead; as many as there are processors, at most four, by default.
    """
    large = sum(part.nbytes for part in parts) > IN_MEMORY
    if large or any(isinstance(part, ShardedImages) for part in parts):
        return StreamedFaces(parts, spec, device, readers)
    sized = [_at_most(part, spec) for part in parts]
    return Faces(np.concatenate(sized) if len(sized) > 1 else np.array(sized[0]), device)


def _at_most(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """The faces, the larger ones reduced as evaluation does it: augmentation's lookup would alias."""
    if min(images.shape[1:3]) > spec.face_size:
        return resize_faces(images, spec.face_size, spec.colour)
    return images


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes into the faces
        return torch.from_numpy(images)
