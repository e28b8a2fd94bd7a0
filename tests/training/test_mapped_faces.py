"""Faces that stay in their file while they are learnt from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny

from mien.datasets import FaceSet
from mien.datasets.disk import write_face_set
from mien.training import loop


def test_mapped_faces_give_the_same_weights(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = write_face_set(drawn, tmp_path / "stored")
    copied = tiny.run(stored, tmp_path / "copied")
    seen: list[np.ndarray] = []
    real = loop._tensor
    monkeypatch.setattr(loop, "_tensor", lambda images: seen.append(images) or real(images))
    monkeypatch.setattr(loop, "IN_MEMORY", 1000)
    mapped = tiny.run(stored, tmp_path / "mapped")
    assert np.shares_memory(seen[0], stored._images)
    assert not seen[0].flags.writeable
    assert mapped.info["weights_sha256"] == copied.info["weights_sha256"]
