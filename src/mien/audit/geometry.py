"""Small changes of place: flips, turns, zooms of a square face, as maps that NumPy applies to many faces at once.

Coordinates: x to the right and y down, both from −1 to 1 between the outer edges of the image.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]


def placement(
    angle: float = 0.0, zoom: float = 1.0, right: float = 0.0, down: float = 0.0, *, mirrored: bool = False
) -> Float:
    """Where each point of the changed face lies in the original: float32 (2, 3), columns x, y, 1.

    Args:
        angle: degrees by which the face is turned.
        zoom: above 1 shows less of the face, larger.
        right: where the middle of the changed face lies in the original.
        down: the same, vertically.
        mirrored: left and right exchanged.

    Example:
        >>> placement(zoom=2.0, right=0.25).tolist()
        [[0.5, 0.0, 0.25], [0.0, 0.5, 0.0]]
    """
    turn = np.deg2rad(angle)
    matrix = np.array([[np.cos(turn), 0.0 - np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0]]) / zoom
    if mirrored:
        matrix[0] *= -1
    matrix[:, 2] += right, down
    return matrix.astype(np.float32)


def grid(side: int) -> tuple[Float, Float]:
    """X and y of every pixel's centre, float32 (side², ) each."""
    centres = ((np.arange(side, dtype=np.float32) + 0.5) * 2 / side - 1).astype(np.float32)
    y, x = np.meshgrid(centres, centres, indexing="ij")
    return x.ravel(), y.ravel()


def round_window(side: int, radius: float = 0.95) -> Float:
    """Weight 1 inside a circle, falling softly to 0 at its edge, float32 (side²,).

    What a turned or cropped copy shows in its corners (black, a repeated edge) then counts for nothing.
    """
    x, y = grid(side)
    soft = (radius - np.hypot(x, y)) * side / 2 + 0.5
    return np.clip(soft, 0.0, 1.0).astype(np.float32)


def corners_of(x: Float, y: Float, side: int) -> tuple[NDArray[np.intp], Float]:
    """Bilinear sampling: flat positions of the four pixels around each point and their weights, both (4, …).

    Points outside take the nearest edge.
    """
    column = np.clip((x + 1) * (side / 2) - 0.5, 0, side - 1)
    row = np.clip((y + 1) * (side / 2) - 0.5, 0, side - 1)
    left = np.minimum(column.astype(np.intp), side - 2)
    top = np.minimum(row.astype(np.intp), side - 2)
    right_share, low_share = (column - left).astype(np.float32), (row - top).astype(np.float32)
    first = top * side + left
    places = np.stack([first, first + 1, first + side, first + side + 1])
    shares = np.stack(
        [
            (1 - right_share) * (1 - low_share),
            right_share * (1 - low_share),
            (1 - right_share) * low_share,
            right_share * low_share,
        ]
    )
    return places, shares
