"""What the selection split decides: which epoch is kept, and when a stage stops early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from mien.errors import RunError
from mien.evaluation.processes import Processes
from mien.evaluation.scorers import score, torch_logits
from mien.results import metrics
from mien.training.recipe import Recipe

if TYPE_CHECKING:
    from mien.datasets import Split

Entries = Sequence[Mapping[str, Any]]
"""What the log says of the epochs of one stage."""


def look(
    module: nn.Module, selection: Split, recipe: Recipe, epoch: int, processes: Processes, *, precision: str
) -> dict[str, float]:
    """A look at the selection split: what the log says of it.

    Args:
        module: what is evaluated.
        selection: the faces to choose on.
        recipe: of the stage.
        epoch: its number, from 0.
        processes: those that train together.
        precision: of the computation.

    Raises:
        RunError: scores are infinite or no numbers.
    """
    scores = score(
        selection.images,
        recipe.input,
        torch_logits(module, precision=precision, channels_last=recipe.channels_last),
        processes=processes,
    )
    if not np.isfinite(scores).all():
        raise RunError(f"the scores became infinite in epoch {epoch + 1}; lower optim.lr or set clip, and train again")
    labels = np.asarray(selection.labels)
    return {
        "selection_accuracy": metrics.accuracy(scores.argmax(axis=1), labels),
        "selection_nll": float(metrics.nll(metrics.softmax(scores), labels)),
    }


def is_due(recipe: Recipe, done: int) -> bool:
    """Whether the stage looks at the selection split after this many of its epochs."""
    return done % recipe.evaluate_every == 0 or done == recipe.epochs


def monitored(recipe: Recipe, entries: Entries) -> list[float]:
    """What is monitored after each epoch of a stage, the higher the better.

    Example:
        >>> from mien.systems import card
        >>> entries = [{"selection_accuracy": 0.5}, {}, {"selection_accuracy": 0.6}]
        >>> monitored(Recipe.of(card("compact")), entries)
        [0.5, -inf, 0.6]
    """
    if recipe.monitor == "loss":
        return [-entry.get("selection_nll", math.inf) for entry in entries]
    return [entry.get("selection_accuracy", -math.inf) for entry in entries]


def kept(recipe: Recipe, entries: Entries) -> int:
    """Position of the epoch that is kept so far: the first one of the best, or the last one."""
    return len(entries) - 1 if recipe.keep == "last" else _best(recipe, entries)


def is_over(recipe: Recipe, entries: Entries) -> bool:
    """Whether a stage has its epochs, or too many of them without a better one."""
    if len(entries) >= recipe.epochs:
        return True
    stale = len(entries) - 1 - _best(recipe, entries) if entries else 0
    return bool(recipe.early_stop) and stale >= recipe.early_stop


def _best(recipe: Recipe, entries: Entries) -> int:
    figures = monitored(recipe, entries)
    return max(range(len(figures)), key=lambda epoch: (figures[epoch], -epoch))
