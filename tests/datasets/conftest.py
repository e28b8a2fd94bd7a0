from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from faces_on_disk import Faces


@pytest.fixture(scope="session")
def faces() -> Faces:
    return Faces()


@pytest.fixture
def source(faces: Faces, tmp_path: Path) -> Path:
    """A csv of FER2013 with few faces."""
    path = tmp_path / "fer2013.csv"
    path.write_bytes(faces.csv())
    return path
