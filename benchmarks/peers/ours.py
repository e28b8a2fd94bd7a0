"""mien, through its public API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import protocol

if TYPE_CHECKING:
    import numpy as np


class Ours(protocol.Side):
    def __init__(self, model: str) -> None:
        import mien

        self.recognizer = mien.Recognizer(model or None)

    def classify(self, faces: np.ndarray) -> np.ndarray:
        return self.recognizer.classify(faces).probabilities

    def photo(self, path: str) -> int:
        return len(self.recognizer.predict(path).labels)

    def steps(self, path: str, seconds: float) -> Mapping[str, float]:
        from pathlib import Path

        from mien.bench.bench import photo_steps

        return photo_steps(self.recognizer, Path(path).read_bytes(), seconds)


if __name__ == "__main__":
    protocol.main(Ours)
