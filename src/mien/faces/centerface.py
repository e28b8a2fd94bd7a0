"""CenterFace: the detector in the package.

Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", arXiv:1911.03599. The network looks at
the image at a quarter of its input size and gives per cell: how likely a face's centre lies there, height and width
(logarithms, in cells), the centre's offset within the cell, and five landmarks (fractions of the box, y before x).

What it sees is chosen by the image: first the whole of it, small. Where that look finds small faces, or none in a
large image, it looks again at twice the size: groups get the pixels that they need and a portrait stays cheap.
docs/decisions/0003-detector.md has the numbers.
"""

from __future__ import annotations

import importlib.resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.faces.detect import Detections, assemble
from mien.faces.inference import open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIDE = 4
MULTIPLE = 32


class CenterFace:
    """Faces with five landmarks, by the network in the package.

    Args:
        long_side: the longer side of what the network sees at first, in pixels.
        longest_side: how far that may grow where faces are small; equal to ``long_side``: one look only (video).
        threshold: least score of a face.
        small: a face below this many pixels, in what the network saw, asks for a closer look.
        overlap: of two boxes with a larger intersection over union, the better one stays.
        threads: threads of the network; by default the cores of this process.
        model: another file of the same network.

    Raises:
        InputError: a bound that makes no sense, or the network's file is missing.
    """

    def __init__(
        self,
        *,
        long_side: int = 320,
        longest_side: int = 1280,
        threshold: float = 0.4,
        small: float = 20.0,
        overlap: float = 0.3,
        threads: int | None = None,
        model: str | Path | None = None,
    ) -> None:
        if not MULTIPLE <= long_side <= longest_side <= 4096:
            raise InputError(f"long_side {long_side} and longest_side {longest_side} must rise within {MULTIPLE}–4096")
        if not 0 < threshold < 1 or not 0 < overlap <= 1:
            raise InputError("threshold lies between 0 and 1, overlap above 0 and up to 1")
        self.long_side, self.longest_side = long_side, longest_side
        self.threshold, self.small, self.overlap = threshold, small, overlap
        self._session = open_session(model or packaged_model(), threads=threads)

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """The faces of an image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            Boxes inside the image, best score first, with landmarks; without rows where there is no face.
        """
        height, width = image.shape[:2]
        side = self.long_side
        while True:
            found = self._look(image, side)
            closer = side * 2
            if closer > self.longest_side or side >= max(height, width):
                return found
            if len(found):
                sizes = np.maximum(found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1])
                if float(sizes.min()) * side / max(height, width) >= self.small:
                    return found
            elif side > self.long_side:
                return found
            side = closer

    def _look(self, image: NDArray[np.uint8], long_side: int) -> Detections:
        height, width = image.shape[:2]
        scale = long_side / max(height, width)
        seen_width, seen_height = (max(MULTIPLE, _round_up(side * scale)) for side in (width, height))
        heat, size, offset, points = self._session.run(None, {"input.1": shrink(image, seen_width, seen_height)})
        row, column = np.nonzero(heat[0, 0] >= self.threshold)
        scores = heat[0, 0, row, column]
        extent = np.exp(np.minimum(size[0][:, row, column], 10)) * STRIDE  # height, width
        centre = (np.stack([row, column]) + offset[0][:, row, column] + 0.5) * STRIDE  # y, x
        corner = centre - extent / 2
        landmarks = points[0].reshape(5, 2, *heat.shape[2:])[:, :, row, column] * extent + corner
        # Back to x before y and to pixels of the image.
        back = np.array([width / seen_width, height / seen_height], np.float32)
        boxes = np.concatenate([corner[::-1].T * back, (corner + extent)[::-1].T * back], 1)
        return assemble(
            boxes,
            scores,
            landmarks.transpose(2, 0, 1)[..., ::-1] * back,
            width=width,
            height=height,
            overlap=self.overlap,
        )


def packaged_model() -> Path:
    """Where the network lies in this package.

    Raises:
        InputError: the install lacks it.
    """
    path = Path(str(importlib.resources.files("mien.faces") / "centerface.onnx"))
    if not path.is_file():
        raise InputError(f"{path} is missing: the install is incomplete; reinstall mien with pip install")
    return path


def shrink(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float32]:
    """float32 (1, 3, height, width), RGB, 0–255: what CenterFace and YuNet take."""
    from PIL import Image

    # Of a very large image every second, third, … pixel is enough: four per side remain to be averaged.
    step = max(1, min(image.shape[0] // (4 * height), image.shape[1] // (4 * width)))
    picture = Image.fromarray(np.ascontiguousarray(image[::step, ::step]))
    if picture.size != (width, height):
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return np.asarray(picture).transpose(2, 0, 1)[None].astype(np.float32)


def _round_up(length: float) -> int:
    """To a multiple that the network's strides divide."""
    return -(-round(length) // MULTIPLE) * MULTIPLE
