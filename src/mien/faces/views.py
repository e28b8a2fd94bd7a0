"""Views: frozen, named lists of transforms of one face whose scores are averaged.

A view is drawn once. Where the source drew its transforms at random for every run, ours come from a stated seed, so
that the same network and the same face always give the same score. Evaluation and recognition both prepare faces
here and nowhere else: what is measured is what is shipped.

=============  =======================================================================================  ==============
name           transforms                                                                               average of
=============  =======================================================================================  ==============
``one``        the face itself                                                                          –
``flip``       the face and its mirror image                                                            logits
``tencrop@S``  four corners and centre at S px, each with its mirror image (AlexNet's ten crops)        logits
``rot8``       8 × (mirror with p = 0.5, rotation in ±30°), drawn from seed 1234                        probabilities
``rot10``      10 likewise                                                                              probabilities
``lhc60``      LHC-Net's: identity with weight 3, 53 rotations × shifts × mirrors, 6 of its inner nine    probabilities
               tenths
=============  =======================================================================================  ==============
"""

from __future__ import annotations

import functools
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from mien.bundle import InputSpec
from mien.errors import InputError, UnknownNameError
from mien.registry import suggestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Faces are resized to this side before ten crops of the given side are taken; other sides keep 48 : 44.
_TENCROP_FACE = {40: 48, 44: 48, 224: 236}


@dataclass(frozen=True)
class Transform:
    """One way to look at a face.

    Args:
        mirror: swap left and right first.
        angle: then rotate counter-clockwise about the centre, in degrees.
        shift: then move by (x, y), as fractions of the face's side.
        zoom: scale of the content about the centre; above 1 enlarges.
        corner: which crop of the face: ``centre`` or one of ``nw ne sw se``.
        weight: weight in the average.
    """

    mirror: bool = False
    angle: float = 0.0
    shift: tuple[float, float] = (0.0, 0.0)
    zoom: float = 1.0
    corner: str = "centre"
    weight: float = 1.0


@dataclass(frozen=True)
class View:
    """A named list of transforms, and how their scores become one.

    Args:
        name: as in the table above.
        transforms: in a fixed order.
        average: ``logits`` or ``probabilities``.
        size: side in pixels that the network is fed; 0 means its own.
        face: side in pixels that the whole face is brought to first; 0 means the network's own.
        outside: what a turned, moved or shrunk face shows beyond its border: ``black``, or its ``edge`` repeated.
    """

    name: str
    transforms: tuple[Transform, ...]
    average: str = "logits"
    size: int = 0
    face: int = 0
    outside: str = "black"

    def scores(
        self, faces: NDArray[np.uint8], spec: InputSpec, logits: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """Average a network's scores over this view.

        Args:
            faces: uint8 (N, H, W) grey or (N, H, W, 3) RGB, 0–255, H = W.
            spec: what the network takes.
            logits: the network; float32 (N, C, size, size) → (N, classes).

        Returns:
            float32 (N, classes). Logits for views that average logits; logarithms of the mean probabilities
            otherwise, whose softmax is that mean.
        """
        whole = resize_faces(faces, self.face or spec.face_size, spec.colour)
        total: NDArray[np.float64] | None = None
        for transform in self.transforms:
            found = logits(_normalise(_apply(whole, transform, self.size or spec.size, self.outside), spec))
            if len(self.transforms) == 1 and self.average == "logits":
                return np.asarray(found, np.float32)  # its own average
            scores = found.astype(np.float64)
            if self.average == "probabilities":
                scores = np.exp(scores - scores.max(axis=1, keepdims=True))
                scores /= scores.sum(axis=1, keepdims=True)
            scores *= transform.weight
            total = scores if total is None else total + scores
        assert total is not None
        total /= sum(t.weight for t in self.transforms)
        if self.average == "probabilities":
            total = np.log(np.maximum(total, 1e-12))
        return total.astype(np.float32)


def get_view(name: str) -> View:
    """The view called ``name``; an unknown one raises `UnknownNameError` with the nearest names.

    Example:
        >>> len(get_view("tencrop@40").transforms), get_view("tencrop@40").face
        (10, 48)
    """
    if name.startswith("tencrop@"):
        side = name.removeprefix("tencrop@")
        if not side.isdecimal() or not 8 <= int(side) <= 1024:
            raise InputError(f"{name!r}: the side after tencrop@ is a number of pixels from 8 to 1024")
        size = int(side)
        face = _TENCROP_FACE.get(size, round(size * 48 / 44))
        ten = tuple(Transform(mirror=m, corner=c) for m in (False, True) for c in ("nw", "ne", "sw", "se", "centre"))
        return View(name, ten, "logits", size, face)
    try:
        return _VIEWS[name]
    except KeyError:
        raise UnknownNameError(f"no view is called {name!r}; {suggestion(name, [*_VIEWS, 'tencrop@40'])}") from None


def resize_faces(faces: NDArray[np.uint8], side: int, colour: str) -> NDArray[np.uint8]:
    """Bring faces to ``side`` pixels and to ``colour``; faces that fit already are returned as they are.

    Args:
        faces: uint8 (N, H, W) grey or (N, H, W, 3) RGB.
        side: height and width of the outcome.
        colour: ``grey`` (Rec. 601 luma, as in Pillow) or ``rgb`` (grey is repeated).

    Returns:
        uint8 (N, side, side) or (N, side, side, 3).
    """
    faces = np.asarray(faces)
    if faces.dtype != np.uint8 or faces.ndim not in (3, 4) or (faces.ndim == 4 and faces.shape[3] != 3):
        raise InputError(f"faces are uint8 (N, H, W) grey or (N, H, W, 3) RGB; got {faces.dtype} {tuple(faces.shape)}")
    grey = colour == "grey"
    if (faces.ndim == 3) == grey and faces.shape[1] == faces.shape[2] == side:
        return faces
    out = np.empty((len(faces), side, side) if grey else (len(faces), side, side, 3), np.uint8)
    for row, face in enumerate(faces):
        image = Image.fromarray(face).convert("L" if grey else "RGB")
        if image.size != (side, side):
            image = image.resize((side, side), Image.Resampling.BICUBIC)
        out[row] = np.asarray(image)
    return out


def _apply(faces: NDArray[np.uint8], transform: Transform, size: int, outside: str = "black") -> NDArray[np.uint8]:
    """Transform faces (N, S, S[, 3]) and cut ``size`` pixels."""
    if transform.mirror:
        faces = faces[:, :, ::-1]
    side = faces.shape[1]
    if transform.angle or transform.zoom != 1 or transform.shift != (0.0, 0.0):
        cos = math.cos(math.radians(transform.angle)) / transform.zoom
        sin = math.sin(math.radians(transform.angle)) / transform.zoom
        c = side / 2
        cx, cy = c + transform.shift[0] * side, c + transform.shift[1] * side
        # Pillow wants the inverse: where in the source does an output pixel come from?
        matrix = (cos, -sin, c - cos * cx + sin * cy, sin, cos, c - sin * cx - cos * cy)
        if outside == "edge":
            # No corner of the face comes from farther away than that, for it is a view of the face.
            room = side
            faces = np.pad(faces, ((0, 0), (room, room), (room, room), *((0, 0),) * (faces.ndim - 3)), mode="edge")
            matrix = (*matrix[:2], matrix[2] + room, *matrix[3:5], matrix[5] + room)
        faces = np.stack(
            [
                np.asarray(
                    Image.fromarray(np.ascontiguousarray(face)).transform(
                        (side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
                    )
                )
                for face in faces
            ]
        )
    if side == size:
        return faces
    if side < size:
        raise InputError(
            f"a crop of {size} px does not fit into faces of {side} px; choose a view of at most {side} px"
        )
    low, high, middle = 0, side - size, round((side - size) / 2)  # rounded as torchvision's CenterCrop rounds
    top, left = {
        "nw": (low, low),
        "ne": (low, high),
        "sw": (high, low),
        "se": (high, high),
        "centre": (middle, middle),
    }[transform.corner]
    return faces[:, top : top + size, left : left + size]


def _normalise(faces: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """uint8 (N, S, S[, 3]) → float32 (N, channels, S, S)."""
    planes = faces[:, None] if faces.ndim == 3 else np.moveaxis(faces, 3, 1)
    scale, offset = _affine(tuple(spec.mean), tuple(spec.std))
    values = np.multiply(planes, scale, order="C")
    values -= offset
    return values


@functools.lru_cache
def _affine(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What grey values are multiplied by, and what is then taken away; float32 (1, channels, 1, 1) each."""
    spread = np.asarray(std, np.float32)
    scale, offset = np.float32(1) / (255 * spread), np.asarray(mean, np.float32) / spread
    return scale[None, :, None, None], offset[None, :, None, None]


def _random_rotations(count: int) -> tuple[Transform, ...]:
    draw = random.Random(1234)
    return tuple(Transform(mirror=draw.random() < 0.5, angle=draw.uniform(-30, 30)) for _ in range(count))


def _lhc() -> tuple[Transform, ...]:
    angle, shift = 0.4, 10 / 224
    # The source moves first and then turns, and the way of its move turns, too; ours turn first.
    grid = [
        Transform(
            mirror=m,
            angle=math.degrees(a),
            shift=(x * math.cos(a) + y * math.sin(a), y * math.cos(a) - x * math.sin(a)),
        )
        for m, a, x, y in itertools.product((False, True), (0, -angle, angle), (0, -shift, shift), (0, -shift, shift))
    ]
    # Its "zoom 0.9" cuts the inner nine tenths and enlarges them.
    zoomed = [
        Transform(mirror=m, angle=a, zoom=1 / 0.9)
        for m, a in itertools.product((False, True), (0, math.degrees(-0.15), math.degrees(0.15)))
    ]
    return (Transform(weight=3.0), *grid[1:], *zoomed)


_VIEWS = {
    view.name: view
    for view in (
        View("one", (Transform(),)),
        View("flip", (Transform(), Transform(mirror=True))),
        View("rot8", _random_rotations(8), "probabilities"),
        View("rot10", _random_rotations(10), "probabilities"),
        View("lhc60", _lhc(), "probabilities", outside="edge"),
    )
}
