"""Facial expression recognition: an offline recogniser, and every FER2013 system under one protocol.

``import mien`` loads nothing heavy; each name below is imported when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Expressions": "mien.recognition",
    "Recognizer": "mien.recognition",
    "FaceSet": "mien.datasets",
    "load_dataset": "mien.datasets",
    "Recipe": "mien.training",
    "Run": "mien.training",
    "train": "mien.training",
    "Result": "mien.results",
    "evaluate": "mien.evaluation",
}

__all__ = ["Expressions", "FaceSet", "Recipe", "Recognizer", "Result", "Run", "evaluate", "load_dataset", "train"]

if TYPE_CHECKING:
    from mien.datasets import FaceSet, load_dataset
    from mien.evaluation.evaluate import evaluate
    from mien.recognition import Expressions, Recognizer
    from mien.results import Result
    from mien.training import Recipe, Run, train


_MODULES = ("errors", "labels", "results", "systems", "testing")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"mien.{name}")
    if name in _HOME:
        try:
            return getattr(importlib.import_module(_HOME[name]), name)
        except ImportError as error:
            if name != "train" or not hasattr(error, "extra"):
                raise
            return _untrained(error)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def _untrained(missing: ImportError) -> Any:
    """What stands for `train` without its packages: which extra brings them depends on the system that is asked for."""

    def train(system: Any, *given: Any, **named: Any) -> None:
        __getattr__("systems").check_installed(system)
        raise missing

    return train


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
