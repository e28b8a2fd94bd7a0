"""Ways to spoil a face, each with a strength: what cameras, rooms, networks and hands do to pictures.

All take and give uint8 (48, 48), grey, and are deterministic: noise and places are drawn from the row's number.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

Distortion = Callable[[np.ndarray, int], np.ndarray]


def blur(sigma: float) -> Distortion:
    """Gaussian, in pixels of the 48 px face."""
    return lambda face, row: _array(Image.fromarray(face).filter(ImageFilter.GaussianBlur(sigma)))


def noise(sd: float) -> Distortion:
    """Gaussian, in grey levels."""
    return lambda face, row: _clipped(face + np.random.default_rng(row).normal(0, sd, face.shape))


def jpeg(quality: int) -> Distortion:
    """Saved as JPEG and read again."""

    def spoil(face: np.ndarray, row: int) -> np.ndarray:
        out = io.BytesIO()
        Image.fromarray(face).save(out, "JPEG", quality=quality)
        return _array(Image.open(out))

    return spoil


def dark(light: float) -> Distortion:
    """That share of the light, and the noise of a sensor (sd 3 grey levels)."""
    return lambda face, row: _clipped(face * light + np.random.default_rng(row).normal(0, 3, face.shape))


def rotate(degrees: float) -> Distortion:
    """Turned about the centre, to the left for even rows and to the right for odd ones; edges are repeated."""

    def spoil(face: np.ndarray, row: int) -> np.ndarray:
        side = len(face)
        wide = Image.fromarray(np.pad(face, side // 2, mode="edge"))
        turned = wide.rotate(degrees if row % 2 == 0 else -degrees, Image.Resampling.BICUBIC)
        start = side // 2
        return _array(turned.crop((start, start, start + side, start + side)))

    return spoil


def occlude(share: float) -> Distortion:
    """A grey square of that share of the area, somewhere."""

    def spoil(face: np.ndarray, row: int) -> np.ndarray:
        side = round(len(face) * share**0.5)
        x, y = np.random.default_rng(row).integers(0, len(face) - side + 1, 2)
        spoilt = face.copy()
        spoilt[y : y + side, x : x + side] = 127
        return spoilt

    return spoil


def cover(part: str) -> Distortion:
    """The eyes, as by sunglasses, or the mouth, as by a mask, covered in dark grey."""
    top, bottom = {"eyes": (0.2, 0.48), "mouth": (0.6, 1.0)}[part]

    def spoil(face: np.ndarray, row: int) -> np.ndarray:
        spoilt = face.copy()
        spoilt[round(top * len(face)) : round(bottom * len(face))] = 60
        return spoilt

    return spoil


def size(side: int) -> Distortion:
    """Brought to ``side`` pixels, as a camera further away or nearer would give it; not brought back."""
    resample = Image.Resampling.BOX if side < 48 else Image.Resampling.BICUBIC
    return lambda face, row: face if side == len(face) else _array(Image.fromarray(face).resize((side, side), resample))


def spoil(faces: np.ndarray, distortion: Distortion) -> np.ndarray:
    """uint8 (N, 48, 48) → uint8 (N, S, S)."""
    return np.stack([distortion(face, row) for row, face in enumerate(faces)])


def _clipped(values: np.ndarray) -> np.ndarray:
    return values.round().clip(0, 255).astype(np.uint8)


def _array(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture)
