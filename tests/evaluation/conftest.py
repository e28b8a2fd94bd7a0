from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from mien.datasets import FaceSet
    from mien.training import Run


@pytest.fixture(scope="session")
def faces() -> FaceSet:
    """Drawn faces: 168 to learn from, 21 to choose on, 21 sealed."""
    from mien.datasets import load_dataset

    return load_dataset("drawn", count=210, seed=5)


@pytest.fixture(scope="session")
def trained(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A small run on them."""
    from mien.systems import card
    from mien.training import Recipe, train

    settings = [
        "epochs=6", "batch_size=24", "compile=false", "precision=fp32", "ema=0.8", "system.widths=[8, 16]",
        "system.depths=[1, 1]", "schedule.warmup=0.5", "augment.erase_probability=0", "augment.mixup=0",
        "augment.rotate=0", "augment.scale=[1, 1]", "augment.translate=0.05", "optim.name=adamw", "optim.lr=0.01",
    ]  # fmt: skip
    recipe = Recipe.of(card("compact")).set(settings)
    folder = tmp_path_factory.mktemp("runs")
    return train("compact", faces.train, faces.selection, recipe=recipe, out=folder, device="cpu")
