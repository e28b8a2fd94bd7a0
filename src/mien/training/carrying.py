"""Going on from a run that tells other expressions: what both know is carried over by name, the rest begins fresh."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mien import systems
from mien.errors import InputError
from mien.labels import LabelSet

if TYPE_CHECKING:
    from mien.training.recipe import Recipe


@dataclass(frozen=True)
class Carried:
    """How the rows of the last layers of one run become those of another.

    Attributes:
        before: what the run tells.
        now: what is learnt here.
        axes: for each tensor that has an entry per expression the axis they lie on.
    """

    before: LabelSet
    now: LabelSet
    axes: Mapping[str, int]

    @classmethod
    def of(cls, recipe: Recipe, before: LabelSet, now: LabelSet) -> Carried:
        """Found by making the network for two numbers of expressions and comparing the shapes.

        Raises:
            InputError: fewer than two expressions in common, or a network whose tensors do not say which are whose.
        """
        common = [label for label in before.labels if label in now.labels]
        if len(common) < 2:
            raise InputError(
                f"the run tells {', '.join(before.labels)}, this data set {', '.join(now.labels)}: with fewer than two "
                "expressions in common there is nothing to go on from"
            )
        shapes = [_shapes(recipe, count) for count in (len(before), len(before) + 1)]
        axes: dict[str, int] = {}
        for name, shape in shapes[0].items():
            grown = shapes[1].get(name, ())
            if grown == shape:
                continue
            changed = [axis for axis, (a, b) in enumerate(zip(shape, grown, strict=False)) if a != b]
            if len(grown) != len(shape) or len(changed) != 1 or grown[changed[0]] - shape[changed[0]] != 1:
                raise InputError(
                    f"the network's {name} does not hold one entry per expression, so nothing says what could be "
                    "carried over; start from a run of the same labels in the same order"
                )
            axes[name] = changed[0]
        return cls(before, now, axes)

    def state(self, fresh: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights to begin with: ``old``, with its entries in the order of ``now`` and ``fresh`` ones between.

        Args:
            fresh: of the network that is trained here.
            old: of the run.
        """
        to = [place for place, label in enumerate(self.now.labels) if label in self.before.labels]
        source = [self.before.id(self.now[place]) for place in to]
        out = dict(old)
        for name, axis in self.axes.items():
            made = fresh[name].detach().clone()
            rows = old[name].to(made.device).index_select(axis, torch.tensor(source, device=made.device))
            out[name] = made.index_copy(axis, torch.tensor(to, device=made.device), rows.to(made.dtype))
        return out

    def notes(self) -> dict[str, Any]:
        """What the run says of it."""
        ours, theirs = self.now.labels, self.before.labels
        return {
            "carried": [label for label in ours if label in theirs],
            "fresh": [label for label in ours if label not in theirs],
            "dropped": [label for label in theirs if label not in ours],
        }


def said(start: Mapping[str, Any]) -> str:
    """A sentence about the beginning of a run, empty where its labels are those of the run that it goes on from.

    Example:
        >>> said({"name": "a", "carried": ["happy", "sad"], "fresh": ["contempt"], "dropped": []})
        'began from a: happy, sad carried over by name; contempt fresh'
    """
    if "carried" not in start:
        return ""
    parts = [f"{', '.join(start['carried'])} carried over by name"]
    parts += [f"{', '.join(start[what])} {what}" for what in ("fresh", "dropped") if start[what]]
    return f"began from {start['name']}: {'; '.join(parts)}"


def _shapes(recipe: Recipe, classes: int) -> dict[str, tuple[int, ...]]:
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        module = systems.create(recipe.system_id, classes=classes, channels=recipe.input.channels, **recipe.system)
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
