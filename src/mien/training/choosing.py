"""What the selection split decides: which epoch is kept, and when a stage stops early."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional

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
    module: nn.Module, selection: Split, recipe: Recipe, epoch: int, processes: Processes, *, precision: str, last: bool
) -> dict[str, float]:
    """A look at the selection split: what the log says of it.

    A stage that learns from smaller faces than the input's is judged on faces of that size, as long as another stage
    follows: what a network learnt from small faces shows little on large ones before it has seen those.

    Args:
        module: what is evaluated.
        selection: the faces to choose on.
        recipe: of the stage.
        epoch: its number, from 0.
        processes: those that train together.
        precision: of the computation.
        last: whether no other stage follows.

    Raises:
        RunError: scores are infinite or no numbers.
    """
    size = recipe.augment.size
    smaller = not last and 0 < size < recipe.input.size
    shown = _Smaller(module, size) if smaller else module
    logits = torch_logits(shown, precision=precision, channels_last=recipe.channels_last)
    scores = score(selection.images, recipe.input, logits, processes=processes)
    if not np.isfinite(scores).all():
        raise RunError(f"the scores became infinite in epoch {epoch}; lower optim.lr or set clip, and train again")
    labels = np.asarray(selection.labels)
    return {
        "selection_accuracy": metrics.accuracy(scores.argmax(axis=1), labels),
        "selection_nll": float(metrics.nll(metrics.softmax(scores), labels)),
        **({"selection_size": size} if smaller else {}),
    }


class _Smaller(nn.Module):
    """A network that sees faces as small as a stage shows them: pixels looked up as augmentation does."""

    def __init__(self, module: nn.Module, size: int) -> None:
        super().__init__()
        self.module, self.size = module, size
        self.train(module.training)

    def forward(self, images: Tensor) -> Tensor:
        small = functional.interpolate(images, (self.size, self.size), mode="bilinear", align_corners=False)
        logits: Tensor = self.module(small)
        return logits


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
