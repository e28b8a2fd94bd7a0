from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mien.datasets import FaceSet


@pytest.fixture(scope="session")
def drawn() -> FaceSet:
    """112 drawn faces to learn from, 14 to choose on, 14 sealed."""
    from mien.datasets import load_dataset

    return load_dataset("drawn", count=140, seed=0)
