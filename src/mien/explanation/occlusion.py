"""Occlusion maps: cover a part of the face and see how much of the answer goes away.

Source: Zeiler & Fergus 2014, "Visualizing and Understanding Convolutional Networks", section 4.2; DeepEmotion (Minaee &
Abdolrashidi 2019) shows the same maps as the important regions of each expression. Works on anything that scores
faces: no gradient is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from mien.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scores: TypeAlias = "Callable[[NDArray[np.uint8]], NDArray[np.float32]]"
"""uint8 (N, H, W) or (N, H, W, 3) → probabilities float32 (N, C)."""


def occlusion_maps(
    scores: Scores,
    faces: NDArray[np.uint8],
    targets: NDArray[np.int64] | None = None,
    *,
    patch: float = 0.2,
    stride: float = 0.08,
    progress: Callable[[int, int], None] | None = None,
) -> NDArray[np.float32]:
    """How much probability each place carries.

    Every place of a grid is covered once by a square of the face's own mean grey; the loss of the target's probability
    is spread over the pixels that were covered, and each pixel gets the mean of the squares that covered it.

    Args:
        scores: the classifier.
        faces: uint8 (N, H, W) grey or (N, H, W, 3) RGB.
        targets: int (N,), the expression asked about; by default what each face is taken for.
        patch: side of the square, as a share of the face's side.
        stride: distance from one square to the next, likewise.
        progress: called with (faces done, faces in all).

    Returns:
        float32 (N, H, W), in units of probability: positive where covering takes probability away.

    Raises:
        InputError: shares outside 0–1.

    Example:
        >>> bright = lambda f: np.stack([f[:, :8, :8].mean((1, 2)) / 255, 1 - f[:, :8, :8].mean((1, 2)) / 255], 1)
        >>> face = np.zeros((1, 32, 32), np.uint8); face[0, :8, :8] = 255
        >>> found = occlusion_maps(bright, face, np.array([0]))[0]
        >>> tuple(int(i) < 8 for i in np.unravel_index(found.argmax(), found.shape))
        (True, True)
    """
    if not 0 < patch <= 1 or not 0 < stride <= 1:
        raise InputError(f"patch and stride are shares of the face in 0–1, not {patch} and {stride}")
    height, width = faces.shape[1:3]
    rows, columns = _places(height, patch, stride), _places(width, patch, stride)
    tall, wide = max(1, round(patch * height)), max(1, round(patch * width))
    whole = np.asarray(scores(faces))
    chosen = whole.argmax(axis=1) if targets is None else np.asarray(targets, np.int64)
    maps = np.zeros((len(faces), height, width), np.float32)
    for index, face in enumerate(faces):
        covered = np.repeat(face[None], len(rows) * len(columns), axis=0)
        fill = face.reshape(height * width, -1).mean(axis=0).round().astype(np.uint8)
        corners = [(top, left) for top in rows for left in columns]
        for copy, (top, left) in zip(covered, corners, strict=True):
            copy[top : top + tall, left : left + wide] = fill if face.ndim == 3 else fill[0]
        lost = whole[index, chosen[index]] - np.asarray(scores(covered))[:, chosen[index]]
        times = np.zeros((height, width), np.float32)
        for loss, (top, left) in zip(lost.tolist(), corners, strict=True):
            maps[index, top : top + tall, left : left + wide] += loss
            times[top : top + tall, left : left + wide] += 1
        maps[index] /= np.maximum(times, 1)
        if progress is not None:
            progress(index + 1, len(faces))
    return maps


def _places(side: int, patch: float, stride: float) -> list[int]:
    """First pixels of the squares along one side; the last one ends at the border."""
    step, last = max(1, round(stride * side)), side - max(1, round(patch * side))
    return sorted({*range(0, last + 1, step), last})
