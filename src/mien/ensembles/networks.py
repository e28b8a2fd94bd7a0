"""Ensembles of bundles and runs: their networks run, and the mean of their probabilities is what is measured."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Bundle
from mien.datasets import copies_of
from mien.ensembles.choose import choose
from mien.ensembles.members import (
    Member,
    check_name,
    check_together,
    cost_of,
    extra_data_of,
    probabilities_of,
    recipe_of,
    weights_hash,
)
from mien.ensembles.recorded import log_mean
from mien.errors import InputError, RunError, SealedSplitError
from mien.evaluation import Subject, score, subject_of
from mien.evaluation.environment import environment
from mien.evaluation.parts import protocol_of
from mien.evaluation.subjects import no_logits
from mien.results import Answers, protocols
from mien.results.canonical import canonical_json
from mien.results.provenance import trained_together

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import SealedSplit, Split


@dataclass(frozen=True, eq=False)
class NetworkEnsemble:
    """Networks with their weights; `mien.evaluate` measures it under the view ``members``.

    Attributes:
        name: what it is called in results.
        sources: what was given: bundles and runs.
        subjects: the same as evaluation sees them.
        members: what the recipe says of them.
        weights: float64 (members,), they sum to 1.
        recipe: how it was made.
        views: the view of every member.
        trained_on: fingerprint of the face set that all were trained on.
        train_rows: of the split that all were trained on; where they differ one that is no split's; empty if unknown.
    """

    name: str
    sources: tuple[Any, ...]
    subjects: tuple[Subject, ...]
    members: tuple[Member, ...]
    weights: NDArray[np.float64]
    recipe: dict[str, Any]
    views: str
    trained_on: str
    train_rows: str

    @property
    def recipe_hash(self) -> str:
        """SHA-256 (hex) of the recipe."""
        return hashlib.sha256(canonical_json(self.recipe).encode()).hexdigest()

    @property
    def searched(self) -> str:
        """The search that a member is a trial of; empty where none is."""
        return next((subject.searched for subject in self.subjects if subject.searched), "")

    def scores(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logarithms of the weighted mean of calibrated probabilities, float32 (n, classes); uint8 faces."""
        probabilities = []
        taken = [index for index, weight in enumerate(self.weights) if weight > 0]
        for index in taken:
            subject, member = self.subjects[index], self.members[index]
            logits = score(images, subject.input, subject.logits, self.views)
            probabilities.append(_softmax(logits, member.temperature or 1.0))
        return log_mean(probabilities, self.weights[taken]).astype(np.float32)

    def subject(self, device: str = "cpu") -> Subject:
        """What `mien.evaluate` works with."""
        first = self.subjects[0]
        return Subject(
            system=self.name,
            kind="ensemble",
            label_set=first.label_set,
            input=first.input,
            logits=no_logits,
            scores=lambda split: self.scores(split.images),
            recipe=self.recipe,
            recipe_hash=self.recipe_hash,
            seed=None,
            weights_sha256=weights_hash(self.members),
            extra_data=extra_data_of(self.members),
            environment=environment("cpu", "fp32"),
            cost=cost_of(self.members, self.weights),
            trained=trained_together(subject.trained for subject in self.subjects),
            trained_on=self.trained_on,
            train_rows=self.train_rows,
            data=self.subjects[0].data,
            adapted=any(subject.adapted for subject in self.subjects),
            searched=self.searched,
            source=next((subject.source for subject in self.subjects if subject.source is not None), None),
        )


def network_ensemble(
    sources: Sequence[Any],
    split: Split | SealedSplit,
    *,
    name: str = "ensemble",
    how: str = "all",
    views: str = "one",
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> NetworkEnsemble:
    """Choose the weights of bundles and runs on the selection split.

    Args:
        sources: bundles, finished runs of networks, or paths of either.
        split: ``data.selection``; anything else is refused.
        name: what the ensemble is called in results.
        how: see `mien.ensembles.choose`.
        views: the view of every member.
        device: of runs; bundles run on the CPU.
        progress: called with (members scored, members in all).

    Raises:
        SealedSplitError: ``split`` is not the selection split.
        InputError: members of different labels, trained on different data, or that are no networks.
    """
    if split.role != "selection":
        raise SealedSplitError(
            f"members and weights are chosen on data.selection, never on {split.name!r}; give data.selection and let "
            "mien.evaluate measure the outcome"
        )
    face_set = split.face_set
    if not np.array_equal(split.rows, face_set.selection.rows):
        raise InputError("an ensemble is chosen on the whole selection split, not on a part of it")
    given = tuple(opened(source) for source in sources)
    subjects = tuple(subject_of(source, device) for source in given)
    answers = Answers(
        split=split.name,
        rows=face_set.selection.rows,
        labels=np.asarray(face_set.selection.labels),
        groups=np.asarray(face_set.selection.groups),
        fit=~copies_of(face_set.selection.groups, face_set.train.groups),
    )
    members = []
    for index, (source, subject) in enumerate(zip(sources, subjects, strict=True)):
        members.append(_member(source, subject, face_set.selection, answers, views, subjects[0]))
        if progress:
            progress(index + 1, len(subjects))
    check_together(members)
    check_name(name, members)
    known = protocols.get(protocol_of(face_set))
    chosen = choose([member.selection for member in members], answers, known, how)
    return NetworkEnsemble(
        name=name,
        sources=given,
        subjects=subjects,
        members=tuple(members),
        weights=chosen.weights,
        recipe=recipe_of(name, how, members, chosen.weights),
        views=views,
        trained_on=subjects[0].trained_on,
        train_rows=_rows_behind(subjects),
    )


def opened(source: Any) -> Any:
    """The bundle or run that lies at a path; anything else as it is.

    Raises:
        RunError: a run of a system in a Python file, which is not executed for it.
    """
    if not isinstance(source, str | Path):
        return source
    from mien.systems.brought import check_brought
    from mien.training.trained import open_trained

    run = open_trained(source)
    if isinstance(run, Bundle):
        return run
    try:
        check_brought(run.system, run.source, run.folder)
    except RunError as error:
        raise RunError(f"{error}; an ensemble takes the bundle that `mien export` writes of it") from None
    return run


def _member(source: Any, subject: Subject, selection: Split, answers: Answers, views: str, first: Subject) -> Member:
    name = source.card.name if isinstance(source, Bundle) else str(getattr(source, "folder", source))
    if subject.scores is not None:
        raise InputError(f"{name} is no network; average its recorded result instead, if it gives probabilities")
    if subject.label_set.labels != selection.label_set.labels:
        raise InputError(
            f"{name} tells {', '.join(subject.label_set.labels)}; the faces are labelled "
            f"{', '.join(selection.label_set.labels)}"
        )
    if subject.trained_on != first.trained_on:
        raise InputError(
            f"{name} was trained on other data than the first member: their fingerprints differ, so one may have "
            "learnt faces that the other is measured on"
        )
    logits = score(selection.images, subject.input, subject.logits, views)
    probabilities, temperature = probabilities_of("logits", logits, answers, name)
    about = {
        "system": subject.system,
        "kind": subject.kind,
        "seed": subject.seed,
        "views": views,
        "recipe_hash": subject.recipe_hash,
        "weights_sha256": subject.weights_sha256,
    }
    return Member(
        name, about, subject.label_set.labels, probabilities, temperature, tuple(subject.extra_data), subject.cost
    )


def _rows_behind(subjects: Sequence[Subject]) -> str:
    """One hash for the training rows of all: of networks of different folds it is none that a protocol asks for."""
    known = sorted({subject.train_rows for subject in subjects} - {""})
    return known[0] if len(known) == 1 else hashlib.sha256("\n".join(known).encode()).hexdigest() if known else ""


def _softmax(logits: NDArray[np.float32], temperature: float) -> NDArray[np.float64]:
    from mien.results import metrics

    return metrics.softmax(logits, temperature)
