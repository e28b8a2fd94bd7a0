"""Boxes and labels on video frames, fast: plain bars in NumPy, labels rendered once and kept."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mien.recognition.drawing import colour_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.recognition.expressions import Expressions

_INK, _PAPER = (24, 26, 30), (255, 255, 255)
_STEP = 5
"""Labels show confidence in steps of so many percent, so that they neither flicker nor fill the store of labels."""


def overlay(image: NDArray[np.uint8], faces: Expressions) -> NDArray[np.uint8]:
    """Draw boxes and labels onto a frame, in place.

    Args:
        image: uint8 (H, W, 3) RGB, writable.
        faces: with boxes in pixels of ``image``, and ``track_ids`` where the faces were tracked.

    Returns:
        The same array. Undecided faces have a dark label with a question mark.

    Example:
        >>> faces = Expressions([[0, 0, 0, 1, 0, 0, 0]], boxes=[[10, 30, 60, 80]])  # doctest: +SKIP
        >>> overlay(np.zeros((90, 120, 3), np.uint8), faces).max()                  # doctest: +SKIP
        255
    """
    height, width = image.shape[:2]
    font = max(11, round(0.022 * (width * height) ** 0.5))
    thick = max(2, round(0.0045 * (width * height) ** 0.5))
    for face in faces:
        assert face.box is not None
        colour = colour_of(face.label, faces.label_set)
        x1, y1, x2, y2 = (round(value) for value in face.box)
        _bars(image, (x1, y1, x2, y2), thick, colour)
        name = f"{face.track_id} " if face.track_id is not None else ""
        percent = f"{_STEP * round(100 * face.confidence / _STEP)} %"
        chip = _chip(f"{name}{face.label}{'' if face.decided else '?'}", percent, font, colour, face.decided)
        top = y1 - thick - chip.shape[0]
        _paste(image, chip, x1 - thick // 2, top if top >= 0 else y2 + thick)
    return image


def _bars(image: NDArray[np.uint8], box: tuple[int, int, int, int], thick: int, colour: tuple[int, int, int]) -> None:
    """A rectangle of even bars on a dark rim, cut off at the border."""
    x1, y1, x2, y2 = box
    for grow, ink in ((thick // 2 + 1, _INK), (thick // 2, colour)):
        half = max(grow, 1)
        for a, b, c, d in (
            (x1 - half, y1 - half, x2 + half, y1 + half),
            (x1 - half, y2 - half, x2 + half, y2 + half),
            (x1 - half, y1 - half, x1 + half, y2 + half),
            (x2 - half, y1 - half, x2 + half, y2 + half),
        ):
            image[max(b, 0) : max(d, 0), max(a, 0) : max(c, 0)] = ink


@lru_cache(maxsize=512)
def _chip(label: str, percent: str, size: int, colour: tuple[int, int, int], decided: bool) -> NDArray[np.float32]:
    """A label, float32 (h, w, 4): RGB times alpha, and 1 − alpha."""
    fine = 3
    font = ImageFont.load_default(size * fine)
    gap = round(0.45 * size * fine)
    lengths = [font.getlength(text) for text in (label, percent)]
    width, height = round(sum(lengths) + 3.2 * gap), round(1.55 * size * fine)
    picture = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    rim = max(1, round(0.1 * size * fine))
    fill = (*colour, 255) if decided else (*_INK, 225)
    pen.rounded_rectangle(
        (0, 0, width - 1, height - 1),
        0.3 * size * fine,
        fill,
        None if decided else (*colour, 255),
        0 if decided else rim,
    )
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 120
    ink = _INK if decided and light else _PAPER
    _, top, _, bottom = font.getbbox("H", anchor="ls")
    line = height / 2 - (top + bottom) / 2
    pen.text((1.1 * gap, line), label, ink, font, anchor="ls")
    pen.text((1.1 * gap + lengths[0] + gap, line), percent, ink, font, anchor="ls")
    small = picture.resize((max(1, width // fine), max(1, height // fine)), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32)
    alpha = pixels[..., 3:] / 255
    return np.concatenate([pixels[..., :3] * alpha, 1 - alpha], axis=2)


def _paste(image: NDArray[np.uint8], chip: NDArray[np.float32], x: int, y: int) -> None:
    height, width = image.shape[:2]
    x = min(max(x, 0), max(width - chip.shape[1], 0))
    y = min(max(y, 0), max(height - chip.shape[0], 0))
    window = image[y : y + chip.shape[0], x : x + chip.shape[1]]
    part = chip[: window.shape[0], : window.shape[1]]
    window[:] = (window * part[..., 3:] + part[..., :3]).astype(np.uint8)
