"""Spaces of a search, one function each: what is drawn, and what it sets in a recipe.

A space is written down here and nowhere else; a search, its plots and its best recipe all follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mien import systems
from mien.errors import UnknownNameError
from mien.registry import suggestion
from mien.training.recipe import Recipe
from mien.training.values import merge

if TYPE_CHECKING:
    from collections.abc import Sequence


class Draw(Protocol):
    """What an Optuna trial offers; a space needs nothing else of it."""

    def suggest_int(self, name: str, low: int, high: int) -> int:
        """A whole number, both ends included."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """A number; ``log`` draws its logarithm."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of some values."""


@dataclass(frozen=True)
class Space:
    """A space of recipes.

    Args:
        name: as on the command line.
        system: id of the system that is searched.
        draw: from a trial to what it sets in the recipe, nested as in its TOML.
        base: recipe of the system that everything else is taken from.
        epochs: of a trial, where nothing else is said.
        final_epochs: of the recipe that comes out; 0 means those of ``base``.
    """

    name: str
    system: str
    draw: Callable[[Draw], Mapping[str, Any]]
    base: str = "mien"
    epochs: int = 20
    final_epochs: int = 0

    def recipe(self, trial: Draw, base: Recipe) -> Recipe:
        """The recipe of a trial."""
        return Recipe.from_dict(merge(base.to_dict(), self.draw(trial)))


def names() -> list[str]:
    """Names of all spaces: those with a name of their own, and every network's."""
    return [*_SPACES, *systems.networks()]


def get_space(name: str) -> Space:
    """The space called ``name``; for the id of a network, that of its training.

    Example:
        >>> get_space("cnn").system, get_space("compact").system
        ('cnn-search', 'compact')
    """
    if name in _SPACES:
        return _SPACES[name]
    if name not in systems.networks():
        raise UnknownNameError(f"no space is called {name!r}; {suggestion(name, names())}")
    return Space(name, name, _training)


def _cnn(trial: Draw) -> dict[str, Any]:
    """The space of the CNN hyper-parameter search (system cnn-search), as its file reconstructs it."""
    blocks, convolutions = trial.suggest_int("blocks", 3, 5), trial.suggest_int("convolutions", 1, 3)
    width = trial.suggest_categorical("filters", (32, 48, 64, 96))
    layers = trial.suggest_int("hidden_layers", 0, 2)
    units = trial.suggest_categorical("hidden_units", (128, 256, 512, 1024))
    optimiser = trial.suggest_categorical("optimiser", ("adam", "sgd"))
    return {
        "system": {
            "filters": [[min(width << block, 512)] * convolutions for block in range(blocks)],
            "kernel": trial.suggest_categorical("kernel", (3, 5)),
            "padded": True,
            "norm": "convolution",
            "pool": trial.suggest_categorical("pool", ("max", "avg")),
            "dropout": trial.suggest_float("dropout", 0.0, 0.4),
            "hidden": [units] * layers,
            "hidden_dropout": trial.suggest_float("hidden_dropout", 0.2, 0.6),
            "activation": trial.suggest_categorical("activation", ("relu", "elu")),
        },
        "batch_size": trial.suggest_categorical("batch_size", (32, 64, 128)),
        "optim": {
            "name": optimiser,
            "nesterov": optimiser == "sgd",
            "lr": trial.suggest_float("lr", 1e-4, 1e-1, log=True),
            "weight_decay": trial.suggest_categorical("weight_decay", (0.0, 1e-4, 1e-3)),
        },
    }


def _training(trial: Draw) -> dict[str, Any]:
    """What can be chosen for any network: optimiser, augmentation, regularisation."""
    window, erase = trial.suggest_float("scale", 0.0, 0.4), trial.suggest_float("erase", 0.0, 0.6)
    return {
        "batch_size": trial.suggest_categorical("batch_size", (64, 128, 256)),
        "optim": {
            "lr": trial.suggest_float("lr", 1e-3, 0.3, log=True),
            "weight_decay": trial.suggest_float("weight_decay", 1e-5, 1e-2, log=True),
        },
        "augment": {
            "scale": [1 - window, 1 + window],
            "translate": trial.suggest_float("translate", 0.0, 0.2),
            "rotate": trial.suggest_float("rotate", 0.0, 20.0),
            "erase_probability": erase,
            "mixup": trial.suggest_float("mixup", 0.0, 0.5),
        },
        "loss": {"smoothing": trial.suggest_float("smoothing", 0.0, 0.2)},
    }


_SPACES = {"cnn": Space("cnn", "cnn-search", _cnn, final_epochs=150)}
