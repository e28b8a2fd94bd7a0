"""Recipes: every training choice, frozen, hashed, and readable as TOML.

A recipe is a tree of frozen dataclasses. It starts from the defaults below, takes the nested mapping of a system's
card over them (`card.recipes["mien"]`), and then whatever the caller sets (``optim.lr=0.1``). Every field is part of
the hash, so two results with one recipe hash were trained alike. Fields that came later take part as soon as they
differ from their default (`mien.training.values.later`), so that recorded hashes stay what they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

from mien import systems
from mien.bundle import InputSpec
from mien.errors import RecipeError
from mien.registry import suggestion
from mien.systems.card import Card
from mien.training.bounds import check
from mien.training.settings import Augment, Distill, Loss, Optim, Schedule, Searched, Start
from mien.training.values import Written, assigned, frozen, later, merge, plain, unknown_field

__all__ = ["Augment", "Distill", "Loss", "Optim", "Recipe", "Schedule", "Searched", "Start"]


@dataclass(frozen=True)
class Recipe(Written):
    """Every choice of a training.

    Args:
        name: ``faithful``, ``mien``, or the caller's own.
        system_id: the architecture it trains.
        system: its architecture options.
        input: what the network is fed.
        epochs: upper bound on the passes over the training split.
        batch_size: faces per step.
        augment: how faces vary.
        optim: the optimiser.
        schedule: the learning rate over time.
        loss: what is minimised.
        ema: decay per step of the moving average of the weights that is evaluated and kept; 0 is off. Warms up.
        clip: largest norm of the gradient; 0 is off.
        early_stop: stop after this many epochs without a better selection accuracy; 0 is off.
        keep: ``best`` epoch by selection accuracy, or the ``last``.
        precision: ``bf16`` (autocast; on a CPU without vectors of it computed in fp32) or ``fp32``. On a GPU of
            NVIDIA, steps of a training in ``fp32`` compute convolutions as PyTorch does by default, in TF32 (factors of
            ten bits); looks at the selection split and evaluations compute them in single precision.
        channels_last: memory layout; changes the speed, and results only by rounding.
        compile: ``torch.compile``; likewise.
        monitor: the figure of the selection split that drives plateau, early stop and the kept epoch: ``accuracy``,
            or ``loss`` (mean negative log-likelihood).
        sampling: ``none`` shows each face once per epoch; ``balanced`` shows each class as often as the largest one,
            every face at least once.
        ema_every: steps between two updates of the moving average.
        trainable: beginnings of the names of the parameters that learn (``head``, ``trunk.layer4``); none means all.
            Parts that do not learn keep their running statistics as well.
        checkpoint_activations: compute activations anew instead of keeping them: less memory, more time, results
            equal but for rounding.
        sync_batch_norm: several processes normalise by the statistics of the whole batch, as one process does; without
            it each by those of its part.
        start: what the weights begin as.
        distill: what a teacher adds to the loss.
        extra_images: hash of the extra images that were learnt from, filled in when a training begins.
        votes: hash of the raters' votes that ``loss.targets`` takes, filled in likewise.
        searched: the search that it came from, if any.
        evaluate_every: epochs between two looks at the selection split; each stage ends with one.
        capture: on a GPU of NVIDIA, record the gradients of a step once as a CUDA graph and replay it, with the
            convolutions that are fastest when tried; changes the speed, and results by rounding, also those of a
            training that was stopped and resumed. Nothing elsewhere.
        clip_value: largest size of each single number of the gradient, before ``clip``; 0 is off.
        stages: trainings one after the other, each a name and what it sets differently: see `staged`.
    """

    name: str
    system_id: str
    input: InputSpec
    system: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 60
    batch_size: int = 128
    augment: Augment = field(default_factory=Augment)
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    loss: Loss = field(default_factory=Loss)
    ema: float = 0.0
    clip: float = 0.0
    early_stop: int = 0
    keep: str = "best"
    precision: str = "bf16"
    channels_last: bool = True
    compile: bool = False
    monitor: str = later("accuracy")
    sampling: str = later("none")
    ema_every: int = later(1)
    trainable: tuple[str, ...] = later(())
    checkpoint_activations: bool = later(False)
    sync_batch_norm: bool = later(False)
    start: Start = later(factory=Start)  # noqa: RUF009
    distill: Distill = later(factory=Distill)  # noqa: RUF009
    extra_images: str = later("")
    votes: str = later("")
    searched: Searched = later(factory=Searched)  # noqa: RUF009
    evaluate_every: int = later(1)
    capture: bool = later(False)
    clip_value: float = later(0.0)
    stages: tuple[Mapping[str, Any], ...] = later(())

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self)
        # As the stage's recipe has them, so that equal stages have equal hashes.
        whole = [plain(stage, everything=True) for stage in _staged(self)] if self.stages else []
        stages = tuple(frozen(_picked(tree, own)) for tree, own in zip(whole, self.stages, strict=True))
        object.__setattr__(self, "stages", stages)

    @classmethod
    def of(cls, system: str | Card, name: str = "mien") -> Recipe:
        """A named recipe of a system, which is given by its id or its card."""
        card = systems.card(system) if isinstance(system, str) else system
        systems.check_recipe(card.id, name, card.recipes)
        base = cls(name=name, system_id=card.id, input=card.input).to_dict()
        return cls.from_dict(merge(base, card.recipes[name]))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`; missing keys take their defaults, unknown ones raise `RecipeError`."""
        _check_crop(value)
        return super().from_dict(value)

    @property
    def staged(self) -> tuple[Recipe, ...]:
        """One recipe per stage, named after it; the recipe itself where there are no stages.

        A stage is a nested mapping over the recipe with a name: what it does not say is the recipe's own. It begins
        with the kept weights of the stage before and with a new optimiser, moving average and schedule; the outcome
        is what the last stage keeps.
        """
        return _staged(self) if self.stages else (self,)

    @property
    def planned_epochs(self) -> int:
        """Upper bound on the epochs of all stages together."""
        return sum(stage.epochs for stage in self.staged)

    def set(self, assignments: Iterable[str]) -> Recipe:
        """A recipe with some fields changed.

        Args:
            assignments: one or several ``key=value`` with dots for nesting and values as in TOML (bare words are
                strings). One stage is named: ``stages.fine.epochs=3``.

        Example:
            >>> from mien.systems import card
            >>> recipe = Recipe.of(card("compact")).set(["optim.lr=0.2", "loss.name=focal"])
            >>> recipe.optim.lr, recipe.loss.name
            (0.2, 'focal')
        """
        tree = plain(self, everything=True)
        for assignment in [assignments] if isinstance(assignments, str) else assignments:
            key, value = assigned(assignment, "optim.lr=0.1")
            _assign(tree, key, value)
        return type(self).from_dict(tree)

    def with_(self, **changes: Any) -> Recipe:
        """A copy with top-level fields replaced."""
        return replace(self, **changes)


# What a stage may set; the rest is about the whole training.
_STAGE = {
    *("name", "epochs", "batch_size", "augment", "optim", "schedule", "loss", "sampling", "monitor"),
    *("ema", "ema_every", "clip", "clip_value", "early_stop", "keep", "trainable", "distill", "evaluate_every"),
}
_STAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


def _staged(recipe: Recipe) -> tuple[Recipe, ...]:
    base = plain(recipe, everything=True) | {"stages": []}
    out, names = [], set()
    for number, own in enumerate(recipe.stages, 1):
        name = own.get("name")
        if not isinstance(name, str) or not _STAGE_NAME.fullmatch(name) or name in names:
            raise RecipeError(
                f"stage {number} needs a name of its own of letters, digits, '-' and '_', not {name!r}: name = 'head'"
            )
        names.add(name)
        for key in own:
            if key not in _STAGE:
                raise RecipeError(f"stage {name!r} cannot set {key!r}; {suggestion(key, _STAGE)}")
        if isinstance(own.get("distill"), Mapping) and "teacher" in own["distill"]:
            raise RecipeError(f"stage {name!r}: all stages have one teacher; set distill.teacher at the top")
        try:
            out.append(Recipe.from_dict(merge(base, plain(own))))
        except RecipeError as error:
            raise RecipeError(f"stage {name!r}: {error}") from None
    return tuple(out)


def _check_crop(tree: Mapping[str, Any]) -> None:
    """Refuse a size above the side it is cut from, and name what the system takes: the two are easily mixed up."""
    known = tree.get("input") if isinstance(tree, Mapping) else None
    if not isinstance(known, Mapping):
        return
    size, resize = known.get("size"), known.get("resize")
    if not (isinstance(size, int) and isinstance(resize, int) and 0 < resize < size <= 1024):
        return
    from mien import systems
    from mien.errors import MienError, MissingExtraError

    told = f"a size above {resize} px needs input.resize = 0 and a system that takes it"
    try:
        card, options = systems.card(tree["system_id"]), tree.get("system", {})
        MissingExtraError.check(card.id, "train", "torch")
        from mien.systems.sides import sides_taken

        if taken := sides_taken(card, size, channels=known.get("channels", card.input.channels), options=options):
            told = f"{card.id} takes {taken}" + (" with input.resize = 0" if taken == f"{size} px" else "")
    except MissingExtraError as error:
        told += f"; to say which sizes that one takes, {error}"
    except (MienError, KeyError, TypeError):
        pass  # what else is wrong is refused in its own place
    raise RecipeError(
        f"input.size = {size}: no crop of {size} px can be cut from faces of {resize} px, the recipe's input.resize; "
        f"{told}"
    )


def _picked(tree: Any, own: Any) -> Any:
    return {key: _picked(tree[key], item) for key, item in own.items()} if isinstance(own, Mapping) else tree


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    """Put ``value`` where the dotted ``key`` points to in the whole tree of a recipe."""
    *parents, leaf = key.split(".")
    known, branch = tree, tree
    if parents and parents[0] == "stages":
        names = {stage["name"]: stage for stage in tree["stages"]}
        if len(parents) < 2 or parents[1] not in names:
            others = suggestion(".".join(parents[1:2]), names) if names else "it is one training from start to end"
            raise RecipeError(f"the recipe has no stage of {key!r}; {others}")
        branch, parents = names[parents[1]], parents[2:]
    for parent in parents:
        _known(parent, known, key)
        known = known[parent]
        if not isinstance(known, dict):
            raise RecipeError(f"{key!r}: {parent!r} has no parts")
        branch = branch.setdefault(parent, {})
    if known is not tree.get("system"):
        _known(leaf, known, key)
        if isinstance(known[leaf], dict):
            one = f"{key}.{next(iter(known[leaf]))}=…" if known[leaf] else f"{key}.NAME=…, with an option of the system"
            more = f" (it has {', '.join(known[leaf])})" if known[leaf] else ""
            raise RecipeError(f"{key!r} is a group of settings; set one of them, for example {one}{more}")
        if leaf == "stages":
            raise RecipeError("stages stand in the recipe's file; change one by its name: stages.NAME.epochs=3")
    branch[leaf] = value


def _known(key: str, branch: Mapping[str, Any], whole: str) -> None:
    if key not in branch:
        raise unknown_field(whole[: whole.rindex(key)], key, branch)
