"""A face as a short vector in which copies lie close together, whatever their size, brightness or contrast."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from mien.audit.geometry import Float, corners_of, grid, placement, round_window

SIDE = 48
"""Pixels along the side of every face that is compared."""
_CELLS = 12
_CHUNK = 4096
_LEAST = 1e-3  # standard deviation on the 0–1 scale below which a face is blank and resembles nothing


def embed(images: NDArray[np.uint8], place: Float | None = None) -> Float:
    """Mean brightness in the cells of a coarse grid within a circle; zero mean, unit length.

    Args:
        images: uint8 (N, 48, 48), grey.
        place: the faces are first changed this way (see `placement`).

    Returns:
        float32 (N, D), rows of length 1; zeros for blank images.

    Example:
        >>> face = np.arange(48 * 48, dtype=np.uint16).reshape(1, 48, 48) // 18
        >>> brighter = np.minimum(face + 20, 255)
        >>> bool(embed(face.astype(np.uint8))[0] @ embed(brighter.astype(np.uint8))[0] > 0.999)
        True
    """
    matrix, weights = _projection((placement() if place is None else place).tobytes())
    vectors = np.empty((len(images), matrix.shape[1]), np.float32)
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)
        flat = images[rows].reshape(-1, SIDE * SIDE).astype(np.float32) / np.float32(255)
        cells = flat @ matrix
        cells -= (cells @ weights / weights.sum())[:, None]
        cells *= np.sqrt(weights)
        vectors[rows] = _unit(np.asarray(cells, np.float32))
    return vectors


def unit_faces(images: NDArray[np.uint8]) -> Float:
    """Every pixel, zero mean, unit length: float32 (N, 2304). Inner products are correlations of whole images."""
    flat = images.reshape(len(images), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return _unit(flat)


def _unit(vectors: Float) -> Float:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    blank = length < _LEAST * np.sqrt(vectors.shape[1])
    result: Float = np.where(blank, np.float32(0), vectors / np.maximum(length, np.float32(1e-12)))
    return result


@functools.lru_cache(maxsize=128)
def _projection(place: bytes) -> tuple[Float, Float]:
    """Pixels → cells of the changed face, float32 (2304, D), and the weight of each cell, float32 (D,)."""
    matrix = np.frombuffer(place, np.float32).reshape(2, 3)
    x, y = grid(SIDE)
    there = matrix @ np.stack([x, y, np.ones_like(x)])
    places, shares = corners_of(there[0], there[1], SIDE)
    fine = np.arange(SIDE * SIDE)
    cell = (fine // SIDE) * _CELLS // SIDE * _CELLS + (fine % SIDE) * _CELLS // SIDE
    window = round_window(SIDE)
    weights = np.bincount(cell, window, _CELLS * _CELLS).astype(np.float32)
    sums = np.zeros((SIDE * SIDE, _CELLS * _CELLS), np.float32)
    for which, share in zip(places, shares, strict=True):
        np.add.at(sums, (which, cell), share * window)
    kept = weights > 0
    return sums[:, kept] / weights[kept], weights[kept] / weights.sum()
