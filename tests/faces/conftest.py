from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from real_data import real_data

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def photos() -> tuple[Path, dict[str, list[list[float]]]]:
    folder = real_data("photos")
    return folder, json.loads((folder / "faces.json").read_text())


@pytest.fixture(scope="session")
def yunet_path() -> Path:
    return real_data("models/yunet_n_dynamic.onnx")


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return np.asarray(Image.open(ROOT / "examples" / "astronaut.jpg"))


@pytest.fixture(scope="session")
def gradient() -> np.ndarray:
    """uint8 (40, 60, 3): every channel differs, no two orientations are alike."""
    y, x = np.mgrid[0:40, 0:60]
    return np.stack([x * 4, y * 6, 255 - x * 2 - y * 2], 2).astype(np.uint8)
