from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.audit import Pictures, from_face_set
from mien.datasets import FaceSet, drawn_faces, load_dataset
from mien.labels import FER2013


@pytest.fixture(scope="session")
def drawn() -> FaceSet:
    return drawn_faces(140, 5)


@pytest.fixture(scope="session")
def make() -> Callable[..., FaceSet]:
    """A face set of any images; the first half is for training, then selection, then test."""

    def face_set(images: np.ndarray, labels: np.ndarray | None = None, splits: np.ndarray | None = None) -> FaceSet:
        count = len(images)
        labels = np.zeros(count, np.uint8) if labels is None else labels
        splits = (np.arange(count) * 4 // count).clip(1).astype(np.uint8) - 1 if splits is None else splits
        return FaceSet.from_arrays("own", FER2013, images, labels, splits)

    return face_set


@pytest.fixture(scope="session")
def fer2013(fer2013_npz: Path, tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    """The real data set; the tests that want it are skipped where it is absent."""
    patch = pytest.MonkeyPatch()
    patch.setenv("MIEN_CACHE", str(tmp_path_factory.mktemp("cache")))
    try:
        return from_face_set(load_dataset("fer2013", fer2013_npz))
    finally:
        patch.undo()


def png(image: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(image).save(out, "PNG")
    return out.getvalue()
