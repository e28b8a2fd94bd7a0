"""Cross-validation: the networks of all folds → one result, each face scored by the network trained without it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.datasets import FaceSet, Split
from mien.errors import InputError, RunError
from mien.evaluation.parts import Part, folding, parts, subjects_of, suited
from mien.evaluation.subjects import Subject, check_unadapted, subject_of
from mien.results import Answers, Result, protocols
from mien.results.provenance import trained_together

FOLDS = "fer2013/folds@1"


def evaluate_folds(
    subjects: Sequence[Any],
    face_set: FaceSet,
    *,
    views: str = "one",
    protocol: str = FOLDS,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Measure the runs of all folds as one.

    Args:
        subjects: one finished run per fold, in any order, alike in everything but the fold.
        face_set: the data.
        views: name of the view.
        protocol: a protocol with folds.
        device: where the runs are evaluated.
        progress: called with (faces done, faces in all).

    Returns:
        The result, not yet saved. Its test split is what is cross-validated; no sealed split is opened.

    Raises:
        InputError: a fold is missing or there twice, the runs differ in recipe or seed, or were trained on other faces.
        RunError: an unfinished run, or scores that are not finite.
    """
    known = protocols.get(protocol)
    wanted = parts(face_set, protocol)
    if wanted[0].fold is None:
        raise InputError(f"protocol {protocol} has no folds; evaluate one run or bundle under it")
    for subject in subjects:
        if getattr(subject, "finished", True) is False:
            raise RunError(f"{subject.folder} is unfinished ({subject.state}); finish it with --resume first")
    ordered = _by_fold([subject_of(subject, device) for subject in subjects], wanted, protocol)
    first = ordered[0]
    known.check_view(views)
    if first.scores is not None and views != "one":
        raise InputError(f"{first.system} is no network: it knows the view one, not {views!r}")
    face_set = suited(known, face_set)
    whole, folds = folding(known, face_set)
    assert known.label_set is not None
    scores = np.empty((len(whole), len(known.label_set)), np.float32)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, len(whole))

    for part, subject in zip(wanted, ordered, strict=True):
        scores[folds == part.fold] = subject.measure(whole.subset(folds == part.fold), views, advance)
    weights = hashlib.sha256("".join(subject.weights_sha256 for subject in ordered).encode()).hexdigest()
    costs = [subject.cost for subject in ordered]
    totals = {key: sum(cost[key] for cost in costs) for key in ("seconds", "epochs") if all(key in c for c in costs)}
    return Result.build(
        protocol=protocol,
        views=views,
        data_fingerprint=face_set.fingerprint,
        **replace(
            first,
            weights_sha256=weights,
            cost={**first.cost, **totals, "networks": len(ordered)},
            trained=trained_together(subject.trained for subject in ordered),
        ).description,
        selection_scores=None,
        test_scores=scores,
        answers=None if known.answers else (None, _own_answers(whole, folds)),
    )


def _own_answers(whole: Split, folds: NDArray[np.uint8]) -> Answers:
    """What a result brings where the protocol has no facts; its groups are the subjects, which folds follow from."""
    return Answers(
        split=whole.name,
        rows=whole.rows,
        labels=np.asarray(whole.labels),
        groups=subjects_of(whole),
        fit=np.ones(len(whole), bool),
        folds=folds,
    )


def _by_fold(subjects: list[Subject], wanted: list[Part], protocol: str) -> list[Subject]:
    """The subjects in order of their folds; what they were trained on says which is which."""
    hashes = [part.train.rows_hash for part in wanted]
    found: dict[int, Subject] = {}
    for subject in subjects:
        check_unadapted(subject)
        if subject.trained_on != wanted[0].train.fingerprint or subject.train_rows not in hashes:
            raise InputError(
                f"one of the runs of {subject.system} was not trained on the faces of a fold of {protocol}: runs of "
                "several seeds are measured one by one, those of a cross-validation are trained with "
                f"`mien train {subject.system} --protocol {protocol} --fold all`"
            )
        fold = hashes.index(subject.train_rows)
        if fold in found:
            raise InputError(f"fold {fold} is there twice; give one run of each of the {len(wanted)} folds")
        found[fold] = subject
    if missing := [str(fold) for fold in range(len(wanted)) if fold not in found]:
        raise InputError(f"fold {', '.join(missing)} is missing; give one run of each of the {len(wanted)} folds")
    ordered = [found[fold] for fold in range(len(wanted))]
    for name in ("system", "source", "kind", "recipe_hash", "seed", "extra_data", "scores_kind"):
        values = {str(getattr(subject, name)) for subject in ordered}
        if len(values) > 1:
            raise InputError(f"the runs of the folds differ in {name}: {', '.join(sorted(values))}")
    return ordered
