"""Arrays with one row per face that are computed once, block by block, and go on after a kill.

The key of an array is what it is made of: a digest of the faces, the extractor and its parameters. A finished array
lies in the cache folder as ``.npy`` beside what it cost; an unfinished one as ``.part`` beside a note of how many rows
it holds.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from mien.errors import InputError
from mien.store import write_text
from mien.store.cache import cache_dir
from mien.store.locking import lock_file

Advance = Callable[[int, int], None]
"""Told how many rows are done, of how many."""


_asked: ContextVar[dict[Path, str] | None] = ContextVar("asked", default=None)


@contextlib.contextmanager
def counted() -> Iterator[Callable[[], dict[str, Any]]]:
    """Notes which arrays are asked for, and tells what they took when they were computed, now or long ago.

    Yields:
        A function that gives per kind of array ``{"seconds": wall, "processor_seconds": of all threads}``, or
        ``"unknown"`` where one of them is older than such notes.

    Example:
        >>> import tempfile
        >>> place = tempfile.mkdtemp()
        >>> with counted() as stages:
        ...     ones = cached_rows("ones", {}, (1, 1), "f4", lambda a, b: np.ones((1, 1), "f4"), folder=place)
        >>> sorted(stages()["ones"])
        ['processor_seconds', 'seconds']
    """
    asked: dict[Path, str] = {}
    token = _asked.set(asked)
    try:
        yield lambda: _costs(asked)
    finally:
        _asked.reset(token)


def faces_digest(images: NDArray[np.uint8]) -> str:
    """SHA-256 (hex) of faces, uint8 (n, H, W) or (n, H, W, 3): equal for equal faces in equal order.

    Example:
        >>> faces_digest(np.zeros((1, 2, 2), np.uint8))[:8]
        '1c74969f'
    """
    digest = hashlib.sha256(f"{images.dtype} {images.shape}".encode())
    step = max(1, (1 << 24) // max(1, images[:1].nbytes))
    for start in range(0, len(images), step):
        digest.update(np.ascontiguousarray(images[start : start + step]).data)
    return digest.hexdigest()


def key_digest(key: Mapping[str, Any]) -> str:
    """A short hash of a cache key: plain JSON values in any order."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]


def cached_rows(
    kind: str,
    key: Mapping[str, Any],
    shape: tuple[int, ...],
    dtype: DTypeLike,
    make: Callable[[int, int], NDArray[Any]],
    *,
    block: int = 256,
    folder: str | Path | None = None,
    advance: Advance | None = None,
) -> NDArray[Any]:
    """An array from the cache, or computed block by block and kept there.

    Args:
        kind: what it is; a folder of the cache.
        key: what it depends on, besides ``kind``; plain JSON values.
        shape: of the whole array, rows first.
        dtype: of its values.
        make: (start, stop) → the rows of that block.
        block: rows per call. A killed computation loses at most the current block.
        folder: where to keep it instead of the cache folder.
        advance: called after each block.

    Returns:
        The array, memory-mapped, read-only.

    Raises:
        InputError: a block holds NaN or infinity; nothing is kept of it.

    Example:
        >>> import tempfile
        >>> place = tempfile.mkdtemp()
        >>> cached_rows("squares", {"to": 4}, (4, 1), "f4", lambda a, b: np.arange(a, b)[:, None] ** 2.0, folder=place)
        memmap([[0.],
                [1.],
                [4.],
                [9.]], dtype=float32)
    """
    home = Path(folder) if folder is not None else cache_dir("features")
    path = home / kind / f"{key_digest({**key, 'shape': list(shape), 'dtype': np.dtype(dtype).str})}.npy"
    computed = False
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(".lock")
        with beside.open("ab") as lock:
            # Another process computes the same: what it has done is waited for, or gone on with if it is killed.
            while not lock_file(lock, wait=False):
                time.sleep(0.1)
            if computed := not path.exists():
                _compute(path, shape, np.dtype(dtype), make, block, advance)
        with contextlib.suppress(OSError):
            beside.unlink()  # whoever still waits for it finds the array
    if (asked := _asked.get()) is not None:
        asked[path] = kind
    if advance and not computed:
        advance(shape[0], shape[0])
    found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return found


def _compute(
    path: Path,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    make: Callable[[int, int], NDArray[Any]],
    block: int,
    advance: Advance | None,
) -> None:
    part, note = path.with_suffix(".part"), path.with_suffix(".rows")
    done, cost = _rows_done(part, note, shape, dtype)
    array = np.lib.format.open_memmap(part, mode="r+" if done else "w+", dtype=dtype, shape=shape)
    for start in range(done, shape[0], block):
        stop = min(start + block, shape[0])
        wall, processor = time.perf_counter(), time.process_time()
        rows = make(start, stop)
        if dtype.kind == "f" and not np.isfinite(rows).all():
            raise InputError(f"features of faces {start} to {stop - 1} hold NaN or infinity; their source is broken")
        array[start:stop] = rows
        array.flush()
        if cost is not None:
            spent = {"seconds": time.perf_counter() - wall, "processor_seconds": time.process_time() - processor}
            cost = {key: cost.get(key, 0.0) + value for key, value in spent.items()}
        write_text(note, json.dumps({"rows": stop, "cost": cost}))
        if advance:
            advance(stop, shape[0])
    array.flush()
    del array
    if cost is not None:
        write_text(path.with_suffix(".cost"), json.dumps(cost))
    part.replace(path)
    note.unlink(missing_ok=True)


def _rows_done(
    part: Path, note: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[int, dict[str, float] | None]:
    """How many rows are there, and what they cost; None where that was not noted."""
    try:
        said = json.loads(note.read_text(encoding="utf-8"))
        done, cost = (int(said["rows"]), said["cost"]) if isinstance(said, dict) else (int(said), None)
        kept = np.load(part, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, TypeError, KeyError):
        return 0, {}
    return (done, cost) if kept.shape == shape and kept.dtype == dtype else (0, {})


def _costs(asked: Mapping[Path, str]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for path, kind in asked.items():
        try:
            cost = json.loads(path.with_suffix(".cost").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            out[kind] = "unknown"
            continue
        before = out.setdefault(kind, {})
        if before != "unknown":
            out[kind] = {key: round(before.get(key, 0.0) + float(value), 3) for key, value in cost.items()}
    return out
