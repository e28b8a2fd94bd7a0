"""Drawn faces."""

from __future__ import annotations

from mien.datasets.faceset import FaceSet


def drawn_faces(count: int = 3500, seed: int = 0) -> FaceSet:
    """Draw ``count`` faces from ``seed``."""
    raise NotImplementedError
