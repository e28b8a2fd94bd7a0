"""Training: recipes, augmentation, the loop, runs. Needs the extra ``train``.

Recipes and run folders are read without torch, so that what is wrong with one is told before torch is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mien.errors import MissingExtraError

if TYPE_CHECKING:
    from mien.training.begin import train
    from mien.training.classical import ClassicalRecipe, ClassicalRun, recipe_of
    from mien.training.progress import Beginning, Progress
    from mien.training.recipe import Recipe
    from mien.training.reproduction import reproduce
    from mien.training.run import Run

__all__ = [
    "Beginning",
    "ClassicalRecipe",
    "ClassicalRun",
    "Progress",
    "Recipe",
    "Run",
    "recipe_of",
    "reproduce",
    "train",
]

_HOME = {
    "ClassicalRecipe": "classical",
    "ClassicalRun": "classical",
    "Beginning": "progress",
    "Progress": "progress",
    "Recipe": "recipe",
    "Run": "run",
    "recipe_of": "classical",
    "reproduce": "reproduction",
    "train": "begin",
}
_EXTRA = ("torch", "lightning_fabric", "lightning", "safetensors", "timm")


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'mien.training' has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"mien.training.{_HOME[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in _EXTRA:
            raise MissingExtraError("training", "train") from error
        raise
