"""fer 25.10.3 as it comes: Haar cascade, quantised TFLite classifier with its own weights."""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

import protocol

if TYPE_CHECKING:
    import numpy as np


class Fer(protocol.Side):
    def __init__(self, model: str) -> None:
        from fer.fer import FER  # `from fer import FER`, as documented, fails in this release

        self.fer = FER()

    def classify(self, faces: np.ndarray) -> Sized:
        # What FER.detect_emotions does with the grey crops it has cut out.
        import cv2
        import numpy as np

        crops = np.array([cv2.resize(face, (64, 64)) for face in faces], dtype="float32")
        rows: Sized = self.fer._classify_emotions((crops / 255.0 - 0.5) * 2.0)
        return rows

    def photo(self, path: str) -> int:
        return len(self.fer.detect_emotions(path))


if __name__ == "__main__":
    protocol.main(Fer)
