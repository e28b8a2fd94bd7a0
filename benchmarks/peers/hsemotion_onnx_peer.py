"""hsemotion-onnx 0.3.1: its preprocessing and its default network, EfficientNet-B0 at 224 px.

Its weights are a download that needs GitHub. Where they are not in ~/.hsemotion, the runner makes a network of the same
architecture with random weights (`random_hsemotion.py`): speed only.
"""

from __future__ import annotations

from collections.abc import Sized
from typing import TYPE_CHECKING

import protocol

if TYPE_CHECKING:
    import numpy as np


class HSEmotion(protocol.Side):
    def __init__(self, model: str) -> None:
        import urllib.request  # noqa: F401  the package uses it without importing it

        from hsemotion_onnx.facial_emotions import HSEmotionRecognizer

        self.recognizer = HSEmotionRecognizer("enet_b0_8_best_vgaf")

    def classify(self, faces: np.ndarray) -> Sized:
        import numpy as np

        colour = [np.repeat(face[..., None], 3, axis=2) for face in faces]
        rows: Sized = self.recognizer.predict_multi_emotions(colour, logits=False)[1]
        return rows


if __name__ == "__main__":
    protocol.main(HSEmotion)
