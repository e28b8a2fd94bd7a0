"""What a training is given besides the training split: published weights, a run to go on from, a teacher, images.

All of it is resolved before anything is written: the recipe gains the hash of each, the run's notes the data behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.datasets import ExtraImages, Split, read_manifest
from mien.datasets.lineage import Lineage, behind
from mien.errors import InputError, RunError
from mien.training.carrying import Carried
from mien.training.distillation import Teacher
from mien.training.recipe import Recipe, Start
from mien.training.run import Run
from mien.training.votes import Voted, voted
from mien.training.weights import hash_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.systems.card import Card

WEIGHT = 0.7
"""The teacher's share where the recipe does not give it one."""


@dataclass(frozen=True)
class Given:
    """The resolved things.

    Attributes:
        recipe: with their hashes filled in.
        published: published weights, by timm's names; None where the training does not start from them.
        state: weights of a run; likewise.
        carried: how they become those of a network that tells other expressions; None where it tells the same.
        teacher: likewise.
        extra: extra images; likewise.
        voted: targets from raters' votes; likewise.
        extra_data: names of all data behind them.
        notes: what the run notes of them.
        origin: the file that the weights lie in; empty where they were fetched.
    """

    recipe: Recipe
    published: dict[str, Tensor] | None = None
    state: dict[str, Tensor] | None = None
    carried: Carried | None = None
    teacher: Teacher | None = None
    extra: ExtraImages | None = None
    voted: Voted | None = None
    extra_data: list[str] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)
    origin: str = ""

    def faces(self, train: Split) -> tuple[list[NDArray[np.uint8]], NDArray[np.uint8]]:
        """All that is learnt from: images in parts, uint8 (n, H, W[, 3]) each, and the labels of all, uint8 (N,)."""
        images, labels = [train.images], [np.asarray(train.labels)]
        if self.voted is not None and len(self.voted.images):
            images.append(self.voted.images)
            labels.append(self.voted.labels)
        if self.extra is not None:
            images.append(self.extra.images)
            labels.append(self.extra.labels)
        return images, np.concatenate(labels)

    def shares(self, labels: NDArray[np.uint8], classes: int) -> Tensor | None:
        """Shares of the expressions, float (N, classes), where votes tell them; what has no votes has its label."""
        if self.voted is None:
            return None
        known = torch.from_numpy(self.voted.shares)
        rest = torch.from_numpy(np.array(labels[len(known) :])).long()
        return torch.cat([known, functional.one_hot(rest, classes).float()])


def resolve(
    recipe: Recipe,
    card: Card,
    train: Split,
    *,
    device: str,
    pretrained: str | Path | None = None,
    init: str | Path | Run | None = None,
    teacher: Any = None,
    extra_images: str | Path | ExtraImages | None = None,
    votes: NDArray[np.uint8] | None = None,
) -> Given:
    """Fetch what a training is given and fill its hashes into the recipe; arguments as of `mien.train`.

    Raises:
        InputError: something that the recipe needs is missing, does not fit, or is not what the recipe names; or a run,
            teacher or bundle learnt from faces that this training leaves out, or may have (`mien.datasets.lineage`).
        DataError: extra images whose sources must not be learnt from.
    """
    if pretrained is not None and init is not None:
        raise InputError("a training starts from published weights or from a run; give --pretrained or --init")
    if init is None and pretrained is None and recipe.start.kind == "pretrained":
        pretrained = "timm"
    given = Given(recipe)
    if pretrained is not None:
        given = _published(given, card, pretrained)
    elif init is not None:
        given = _from_run(given, init if isinstance(init, Run) else Run.open(init), train)
    elif recipe.start.kind == "run":
        raise InputError("the recipe starts from the weights of a run; give that run with --init")
    if teacher is not None:
        given = _taught(given, teacher, train, device)
    elif any(stage.distill.weight for stage in recipe.staged):
        raise InputError(
            "the recipe learns from a teacher; train it with `mien distill --teacher RUN|BUNDLE --student "
            f"{card.id}`, or without one: --set distill.weight=0"
        )
    if extra_images is not None:
        given = _illustrated(given, extra_images, train)
        if given.extra is not None and given.extra.unlabelled and recipe.loss.targets != "majority":
            raise InputError("images without a label have no votes either; --set loss.targets=majority")
    elif recipe.extra_images:
        raise InputError("the recipe learns from extra images; give their manifest with --extra-images")
    given = _rated(given, voted(train, recipe, votes))
    return replace(given, extra_data=list(dict.fromkeys(given.extra_data)))


def ingredients(recipe: Recipe) -> list[str]:
    """What a training of the recipe has to be given by its caller, in words; published weights can be fetched."""
    return [
        words
        for needed, words in (
            (recipe.start.kind == "run", "the run it started from"),
            (bool(recipe.distill.teacher), "its teacher"),
            (bool(recipe.extra_images), "its extra images"),
        )
        if needed
    ]


def _published(given: Given, card: Card, source: str | Path) -> Given:
    from mien.systems.weights import fetch, published

    recipe, wanted = given.recipe, published(card)
    if recipe.start.kind == "run":
        raise InputError("the recipe starts from the weights of a run; give that run with --init")
    state = fetch(card, source)
    if recipe.start.kind == "fresh":
        # A recipe for fresh weights says nothing of what published ones expect.
        size = wanted.size or recipe.input.size
        face = wanted.size and recipe.input.resize and round(wanted.size * recipe.input.resize / recipe.input.size)
        spec = replace(
            recipe.input,
            size=size,
            resize=face or recipe.input.resize,
            channels=len(wanted.mean),
            mean=wanted.mean,
            std=wanted.std,
        )
        recipe = recipe.with_(input=spec, system={**recipe.system, **wanted.options})
    recipe = recipe.with_(start=_filled(recipe, "pretrained", hash_weights(state)))
    notes = {"start": {"kind": "pretrained", "model": wanted.model, "weights_sha256": recipe.start.weights}}
    origin = "" if str(source) == "timm" else str(source)
    # Names and shapes say which network a file fits, and nothing of what it learnt from.
    taken = (*wanted.extra_data, f"a file given as {wanted.model}") if origin else wanted.extra_data
    return _with(given, recipe, taken, notes, published=state, origin=origin)


def _from_run(given: Given, run: Run, train: Split) -> Given:
    recipe = given.recipe
    if recipe.start.kind == "pretrained":
        raise InputError("the recipe starts from published weights; leave --init away, or --set start.kind=run")
    if not run.finished:
        raise RunError(f"{run.folder} is unfinished ({run.state}); finish it with --resume first")
    if run.system != recipe.system_id:
        raise InputError(f"{run.folder.name} is a run of {run.system}; {recipe.system_id} cannot start from it")
    same = run.label_set.labels == train.label_set.labels
    carried = None if same else Carried.of(run.recipe, run.label_set, train.label_set)
    recipe = recipe.with_(start=_filled(recipe, "run", str(run.info["weights_sha256"])))
    start = {"kind": "run", "name": run.folder.name, "weights_sha256": recipe.start.weights}
    notes: dict[str, Any] = {"start": {**start, **(carried.notes() if carried is not None else {})}}
    if "searched" in run.info:
        notes["searched"] = run.info["searched"]  # weights that were chosen by their luck bring it along
    state, origin = dict(run.module().state_dict()), str(run.folder / "weights.safetensors")
    return _with(given, recipe, _behind(run, train), notes, state=state, carried=carried, origin=origin)


def _taught(given: Given, source: Any, train: Split, device: str) -> Given:
    recipe = given.recipe
    teacher = source if isinstance(source, Teacher) else Teacher(source, device)
    teacher.check_labels(train.label_set)
    if not any(stage.distill.weight for stage in recipe.staged):
        recipe = recipe.with_(distill=replace(recipe.distill, weight=WEIGHT))
    _same("distill.teacher", recipe.distill.teacher, teacher.hash)
    recipe = recipe.with_(distill=replace(recipe.distill, teacher=teacher.hash))
    behind = [name for member in teacher.sources for name in _behind(member, train)]
    return _with(given, recipe, behind, {"teacher": teacher.info()}, teacher=teacher)


def _illustrated(given: Given, source: str | Path | ExtraImages, train: Split) -> Given:
    taught = all(stage.distill.weight for stage in given.recipe.staged)
    extra = source if isinstance(source, ExtraImages) else read_manifest(source, train.face_set, unlabelled=taught)
    if extra.unlabelled and not taught:
        raise InputError(
            f"{extra.unlabelled} extra images have no label, so only a teacher can tell what they show, in every "
            "stage: `mien distill --teacher RUN|BUNDLE --extra-images`"
        )
    if extra.label_set != train.label_set or extra.images.shape[1:] != train.images.shape[1:]:
        raise InputError("the extra images were read for another face set; read the manifest with that of the training")
    outside = extra.sources[(extra.sources >= 0) & ~np.isin(extra.sources, train.rows)]
    if len(outside):
        raise InputError(
            f"{len(outside)} extra images were made from faces outside of this training, row {outside[0]} first: under "
            "a protocol with folds they would show the fold that is left out"
        )
    _same("extra_images", given.recipe.extra_images, extra.fingerprint)
    recipe = given.recipe.with_(extra_images=extra.fingerprint)
    return _with(given, recipe, extra.names, {"extra_images": extra.info()}, extra=extra)


def _rated(given: Given, found: Voted | None) -> Given:
    if found is None:
        return given
    _same("votes", given.recipe.votes, found.hash)
    return _with(given, given.recipe.with_(votes=found.hash), found.extra_data, found.notes, voted=found)


def _with(given: Given, recipe: Recipe, behind: Iterable[str], notes: Mapping[str, Any], **found: Any) -> Given:
    """One more thing found: what it is, the recipe that names it, the data behind it and what the run notes of it."""
    return replace(
        given,
        recipe=recipe,
        extra_data=[*given.extra_data, *behind],
        notes={**given.notes, **notes},
        **found,
    )


def _filled(recipe: Recipe, kind: str, weights: str) -> Start:
    _same("start.weights", recipe.start.weights, weights)
    return Start(kind, weights)


def _same(what: str, named: str, found: str) -> None:
    if named and named != found:
        raise InputError(
            f"the recipe names {what} {named[:12]}…, and those given are {found[:12]}…; give the ones it names"
        )


def _behind(source: Any, train: Split) -> list[str]:
    """The data that a run or a bundle learnt from, as far as it is not what is learnt from here."""
    if isinstance(source, Run):
        info = source.info
        made = Lineage(source.folder.name, str(info["data"]), info["data_fingerprint"], info["train_rows"])
        return [*info.get("extra_data", ()), *behind(made, train)]
    return [*source.card.extra_data, *behind(Lineage.of_notes(source.card.name, source.card.notes), train)]
