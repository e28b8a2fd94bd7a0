"""Faces cut out of an image the way a network's training faces were framed."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Framing
from mien.errors import InputError
from mien.faces.detect import Detections

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from PIL import Image

# A face much larger than the crop is first shrunk by a whole factor; this many pixels per pixel of the crop remain.
_SPARE = 3


def crop_faces(
    image: NDArray[np.uint8],
    boxes: ArrayLike,
    landmarks: ArrayLike | None = None,
    *,
    size: int,
    colour: str = "grey",
    framing: Framing | None = None,
) -> NDArray[np.uint8]:
    """Cut a square around every box and bring it to one size.

    Boxes are clipped to the image. A square that reaches beyond the image continues its outermost pixels. Grey is
    luma by ITU-R 601 (0.299 R + 0.587 G + 0.114 B). All filters average over the pixels that fall together; where a
    face is enlarged, ``area`` interpolates linearly.

    Args:
        image: uint8 (H, W, 3), RGB.
        boxes: (N, 4), x1 y1 x2 y2 in pixels.
        landmarks: (N, 5, 2), x y in pixels, the eyes first; needed for ``align="roll"`` only, and without them (None)
            faces are cut upright.
        size: height and width of a crop, in pixels.
        colour: ``grey`` or ``rgb``.
        framing: margin, shift, alignment and resampling; `Framing()` if not given.

    Returns:
        uint8 (N, size, size) for grey, (N, size, size, 3) for rgb.

    Raises:
        InputError: an array of another shape, or a box without area inside the image.

    Example:
        >>> image = np.zeros((60, 80, 3), np.uint8)
        >>> crop_faces(image, [[10, 10, 40, 50]], size=48).shape
        (1, 48, 48)
        >>> crop_faces(image, [], size=48, colour="rgb").shape
        (0, 48, 48, 3)
    """
    framing = framing or Framing()
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"faces are cut from uint8 (H, W, 3), not {image.dtype} {image.shape}; see mien.faces.decode")
    if colour not in ("grey", "rgb"):
        raise InputError(f"colour is grey or rgb, not {colour!r}")
    if not 1 <= size <= 4096:
        raise InputError(f"a crop of {size} px is outside 1–4096")
    faces = Detections(np.asarray(boxes), landmarks=None if landmarks is None else np.asarray(landmarks))
    crops = np.empty((len(faces), size, size) if colour == "grey" else (len(faces), size, size, 3), np.uint8)
    for index, box in enumerate(faces.boxes.tolist()):
        points = faces.landmarks[index] if framing.align == "roll" and faces.landmarks is not None else None
        crops[index] = _crop(image, box, points, size, colour, framing)
    return crops


def _crop(
    image: NDArray[np.uint8], box: list[float], points: Any, size: int, colour: str, framing: Framing
) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    x1, y1, x2, y2 = max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))
    if x2 <= x1 or y2 <= y1:
        raise InputError(f"the box {box} lies outside the image of {width} × {height} pixels")
    side = max(framing.margin * max(x2 - x1, y2 - y1), 1.0)
    roll = 0.0
    if points is not None:
        (ax, ay), (bx, by) = points[0].tolist(), points[1].tolist()
        roll = math.atan2(by - ay, bx - ax)
    # "Below" is along the face, so it turns with it.
    x = (x1 + x2) / 2 - math.sin(roll) * framing.shift * side
    y = (y1 + y2) / 2 + math.cos(roll) * framing.shift * side

    reach = side / 2 * (abs(math.cos(roll)) + abs(math.sin(roll)))
    factor = max(1, int(side / (_SPARE * size)))
    patch, left, top = _patch(image, x - reach, y - reach, x + reach, y + reach, factor, colour)
    x, y, side = (x - left) / factor, (y - top) / factor, side / factor
    resample = _filter(framing.resample, side / size)
    if roll:
        patch, x, y, side = _level(patch, x, y, side, roll, size)
    corner = (max(x - side / 2, 0.0), max(y - side / 2, 0.0))
    window = (*corner, min(x + side / 2, patch.width), min(y + side / 2, patch.height))
    return np.asarray(patch.resize((size, size), resample, box=window))


def _patch(
    image: NDArray[np.uint8], x1: float, y1: float, x2: float, y2: float, factor: int, colour: str
) -> tuple[Image.Image, float, float]:
    """The pixels under a rectangle and a little more, shrunk by a whole factor; and where in the image they start.

    Missing pixels are added after shrinking, so that the memory follows the crop's size and not the caller's boxes.
    """
    from PIL import Image

    height, width = image.shape[:2]
    extra = 2 * factor  # for filters that look beyond the rectangle
    left, right = max(0, math.floor(x1) - extra), min(width, math.ceil(x2) + extra)
    top, bottom = max(0, math.floor(y1) - extra), min(height, math.ceil(y2) + extra)
    left, top = min(left, width - 1), min(top, height - 1)
    patch = Image.fromarray(np.ascontiguousarray(image[top : max(bottom, top + 1), left : max(right, left + 1)]))
    if colour == "grey":
        patch = patch.convert("L")
    if factor > 1:
        patch = patch.reduce(factor)
    before = [max(0, math.ceil((start - low) / factor)) for start, low in ((left, x1), (top, y1))]
    after = [
        max(0, math.ceil((high - start) / factor) - length)
        for high, start, length in ((x2, left, patch.width), (y2, top, patch.height))
    ]
    if any(before) or any(after):
        pixels = np.asarray(patch)
        room = [(before[1], after[1]), (before[0], after[0])] + [(0, 0)] * (pixels.ndim - 2)
        patch = Image.fromarray(np.pad(pixels, room, mode="edge"))
    return patch, left - before[0] * factor, top - before[1] * factor


def _level(
    patch: Image.Image, x: float, y: float, side: float, roll: float, size: int
) -> tuple[Image.Image, float, float, float]:
    """The square turned level, at about the patch's own resolution, so that the last resize still averages."""
    from PIL import Image

    fine = size * max(1, math.ceil(side / size - 0.25))
    cos, sin, step = math.cos(roll), math.sin(roll), side / fine
    a, b, d, e = cos * step, -sin * step, sin * step, cos * step
    matrix = (a, b, x - (a + b) * fine / 2, d, e, y - (d + e) * fine / 2)
    level = patch.transform((fine, fine), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return level, fine / 2, fine / 2, float(fine)


def _filter(name: str, ratio: float) -> Image.Resampling:
    from PIL.Image import Resampling

    if name == "area":
        return Resampling.BOX if ratio > 1 else Resampling.BILINEAR
    return {"bilinear": Resampling.BILINEAR, "bicubic": Resampling.BICUBIC, "lanczos": Resampling.LANCZOS}[name]
