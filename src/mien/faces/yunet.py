"""YuNet: a smaller and faster detector, by the path of its file.

Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20 (2023). The file
(0.3 MB, from the OpenCV model zoo or the authors' repository) is not in the package. The network looks at three
scales without anchors and gives per cell: class and object scores, whose geometric mean counts; centre and size of the
box (offsets in cells, logarithms); five landmarks (offsets in cells).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.faces.centerface import MULTIPLE, shrink
from mien.faces.detect import Detections, assemble
from mien.faces.inference import open_session

if TYPE_CHECKING:
    from numpy.typing import NDArray

STRIDES = (8, 16, 32)


class YuNet:
    """Faces with five landmarks, by YuNet.

    Args:
        model: path of the ONNX file; one with a free input size looks at the image's own proportions, one with a
            fixed size at the image padded to it.
        long_side: the longer side of what the network sees, in pixels; larger images are shrunk, smaller ones kept.
        threshold: least score of a face.
        overlap: of two boxes with a larger intersection over union, the better one stays.
        threads: threads of the network; by default the cores of this process.

    Raises:
        InputError: the file is missing or is another network.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        long_side: int = 640,
        threshold: float = 0.7,
        overlap: float = 0.3,
        threads: int | None = None,
    ) -> None:
        if not MULTIPLE <= long_side <= 4096:
            raise InputError(f"long_side {long_side} lies outside {MULTIPLE}–4096")
        if not 0 < threshold < 1 or not 0 < overlap <= 1:
            raise InputError("threshold lies between 0 and 1, overlap above 0 and up to 1")
        self.long_side, self.threshold, self.overlap = long_side, threshold, overlap
        self._session = open_session(model, threads=threads)
        self._names = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or not set(self._names) <= {output.name for output in self._session.get_outputs()}:
            raise InputError(f"{model} is a network, but not YuNet; give the file face_detection_yunet_2023mar.onnx")
        self._input = inputs[0].name
        height, width = inputs[0].shape[2:]
        self._fixed = (int(width), int(height)) if isinstance(width, int) and isinstance(height, int) else None

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """The faces of an image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            Boxes inside the image, best score first, with landmarks; without rows where there is no face.
        """
        height, width = image.shape[:2]
        room = self._fixed or (self.long_side, self.long_side)
        scale = min(room[0] / width, room[1] / height, 1.0)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        outer = self._fixed or tuple(-(-side // MULTIPLE) * MULTIPLE for side in inner)
        seen = np.zeros((1, 3, outer[1], outer[0]), np.float32)
        seen[:, :, : inner[1], : inner[0]] = shrink(image, *inner)[:, ::-1]  # YuNet takes BGR
        outputs = self._session.run(self._names, {self._input: seen})

        boxes, scores, landmarks = [], [], []
        for index, stride in enumerate(STRIDES):
            kind, being, box, points = (out[0] for out in outputs[4 * index : 4 * index + 4])
            score = np.sqrt(np.clip(kind[:, 0], 0, 1) * np.clip(being[:, 0], 0, 1))
            cell = np.nonzero(score >= self.threshold)[0]
            columns = outer[0] // stride
            origin = np.stack([cell % columns, cell // columns], 1).astype(np.float32)
            centre = (origin + box[cell, :2]) * stride
            half = np.exp(np.minimum(box[cell, 2:], 10)) * stride / 2
            boxes.append(np.concatenate([centre - half, centre + half], 1))
            scores.append(score[cell])
            landmarks.append((origin[:, None] + points[cell].reshape(-1, 5, 2)) * stride)
        back = np.array([width / inner[0], height / inner[1]], np.float32)
        return assemble(
            np.concatenate(boxes) * np.tile(back, 2),
            np.concatenate(scores),
            np.concatenate(landmarks) * back,
            width=width,
            height=height,
            overlap=self.overlap,
        )
