"""Run a run or a bundle over a split under a named view. The only code that opens a test split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.datasets import DATASETS, SealedSplit, Split, copies_of
from mien.errors import DataError, InputError, RunError
from mien.evaluation.across import OPEN, TEST, evaluate_across, is_across, own_protocol
from mien.evaluation.adapters import check_steady
from mien.evaluation.folds import FOLDS, evaluate_folds
from mien.evaluation.parts import check_data, check_split, protocol_of, suited
from mien.evaluation.processes import joined, own_device
from mien.evaluation.subjects import Subject, check_unadapted, subject_of
from mien.faces.views import get_view
from mien.recognition.bundles import open_bundle
from mien.results import Answers, Result, protocols
from mien.results.folders import OWN
from mien.results.submission import check_against_labels

if TYPE_CHECKING:
    from mien.datasets import FaceSet


def evaluate(
    subject: Any,
    split: Split | SealedSplit,
    *,
    views: str = "one",
    results: str | Path | None = None,
    protocol: str | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
    timeout: float | None = None,
) -> Result:
    """Measure a run or a bundle. Processes that torchrun started share the faces; all of them return one result.

    What was trained on other data than the split's is measured by `mien.evaluation.across`, on the expressions that
    both tell.

    Given ``data.selection``, only that split is scored and the test split stays sealed. Given ``data.test``, the
    ledger notes the opening first; then both are scored, because temperature and ensembles are fitted on selection.

    Args:
        subject: a `mien.Run`, a `mien.bundle.Bundle`, or the path or name of a bundle; under cross-validation a list of
            runs, one per fold.
        split: ``data.selection`` or ``data.test``; under cross-validation ``data.train``.
        views: name of the view.
        results: folder of the ledger; ``result.save(results)`` puts the result there. By default ``results``, and
            ``my-results`` for faces of your own or drawn ones, which no published protocol is about, and for systems
            of your own.
        protocol: name; by default the one that the face set's fingerprint belongs to, else ``own/test@1``.
        device: of a run; bundles run on the CPU.
        progress: called with (faces done, faces in all).
        timeout: seconds that one of several processes waits for another, 600 by default.

    Returns:
        The result, not yet saved.

    Raises:
        InputError: another label set, a view that the protocol does not allow, an unknown protocol.
        DataError: a face set that is not the one the protocol is about.
        RunError: an unfinished run.
        SealedSplitError: the test split for a trial of a search.
        ProcessError: one of several processes is lost, or was given something else than the others.
    """
    processes = joined(timeout)
    result = _measured(subject, split, views, results, protocol, own_device(device), progress)
    return processes.on_first(lambda: result)  # the same in all of them, with one time of creation


def _measured(
    subject: Any,
    split: Split | SealedSplit,
    views: str,
    results: str | Path | None,
    protocol: str | None,
    device: str,
    progress: Callable[[int, int], None] | None,
) -> Result:
    if isinstance(subject, str | Path):
        if Path(subject).is_dir():
            raise InputError(f"{subject} is a folder; open a run with mien.Run.open({str(subject)!r}) and give that")
        subject = open_bundle(subject)
    check_split(split, "data.selection or data.test")
    if isinstance(subject, list | tuple):
        if split.role != "train":
            raise InputError("the runs of all folds are measured on the split they share: give data.train")
        return evaluate_folds(
            subject,
            split.face_set,
            views=views,
            protocol=protocol or folds_of(split.face_set),
            device=device,
            progress=progress,
        )
    if getattr(subject, "finished", True) is False:
        raise RunError(f"{subject.folder} is unfinished ({subject.state}); finish it with --resume first")
    face_set = split.face_set
    if protocol in (OPEN, TEST) or (protocol is None and (face_set.name in DATASETS)):
        prepared = subject_of(subject, device)
        if protocol is not None or is_across(prepared, face_set):
            return evaluate_across(prepared, split, views=views, results=results, protocol=protocol, progress=progress)
        protocol = own_protocol(prepared, face_set)
    if split.role == "train":
        raise InputError("an evaluation is of the selection or the test split; give data.selection or data.test")
    known = protocols.get(protocol or protocol_of(face_set))
    check_data(known, face_set)
    if (told := suited(known, face_set)) is not face_set:
        face_set, split = told, told.test if isinstance(split, SealedSplit) else told.selection
    view = get_view(views) if views != "members" else None
    known.check_view(views)
    prepared = subject_of(subject, device)
    if prepared.label_set.labels != face_set.label_set.labels:
        raise InputError(
            f"the labels differ: {prepared.system} tells {', '.join(prepared.label_set.labels)}; "
            f"{face_set.name} has {', '.join(face_set.label_set.labels)}"
        )
    if prepared.scores is not None:
        its_own = "members" if prepared.kind == "ensemble" else "one"
        if views != its_own:
            raise InputError(f"{prepared.system} is no single network: it knows the view {its_own}, not {views!r}")
    elif view is None:
        raise InputError(f"{prepared.system} is no ensemble; choose a view of one network")
    elif prepared.kind in ("bundle", "submitted") and view.size not in (0, prepared.input.size):
        raise InputError(
            f"view {views} feeds {view.size} px and this network takes {prepared.input.size} px; choose another view"
        )
    _check_training(known, face_set, prepared)
    if isinstance(split, SealedSplit):
        prepared.check_unsearched()
    selection = face_set.selection
    _check_faces(known, face_set, split)

    total = len(selection) + (len(split) if isinstance(split, SealedSplit) else 0)
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, total)

    # Whatever can go wrong goes wrong on the selection split, before the test split is opened for nothing.
    selection_scores = prepared.measure(selection, views, advance)
    if prepared.kind == "submitted":
        check_steady(prepared, selection.images, selection_scores, views)
    opening, test = None, None
    if isinstance(split, SealedSplit):
        opening = prepared.note_opening(split, known.name, views, results)
        test = split.open(opening)
    test_scores = prepared.measure(test, views, advance) if test else None
    if test_scores is not None and prepared.kind == "submitted" and known.answers is not None:
        check_against_labels(test_scores, known)

    return Result.build(
        protocol=known.name,
        views=views,
        data_fingerprint=face_set.fingerprint,
        **prepared.description,
        selection_scores=selection_scores,
        test_scores=test_scores,
        opening=opening,
        label_set=face_set.label_set if known.label_set is None else None,
        answers=_own_answers(face_set, test) if known.answers is None else None,
    )


def folds_of(face_set: FaceSet) -> str:
    """The cross-validation that several runs on this face set are measured under."""
    name = protocol_of(face_set)
    return name if protocols.get(name).subject_folds else FOLDS


def _check_training(known: protocols.Protocol, face_set: FaceSet, prepared: Subject) -> None:
    """Refuse what was trained on other faces than the protocol's; own data is nobody's business but its owner's."""
    if known.face_set is None or prepared.kind == "submitted":
        return  # a submission declares its data, and is marked as what it is
    check_unadapted(prepared)
    if not prepared.trained_on:
        raise DataError(
            f"nothing says what {prepared.system} was trained on; measure it as somebody else's network, --onnx FILE "
            f"--adapter FILE, which declares its data, or under the protocol {OWN}"
        )
    if prepared.trained_on != face_set.fingerprint:
        # Declaring extra data is no excuse: that list says what came on top of the protocol's training split.
        other = f"{OWN} ({OPEN} if it learnt from another data set)" if known.data_fingerprint else TEST
        raise DataError(
            f"{prepared.system} was trained on another copy of the data, which may hold test faces; train on this "
            f"{face_set.name}, or measure it under the protocol {other}"
        )
    elif prepared.train_rows and prepared.train_rows != face_set.train.rows_hash:
        raise DataError(
            f"{prepared.system} was trained on a part of {face_set.train.name} only; a run of one fold is measured "
            f"together with the others under {FOLDS}"
        )


def _check_faces(known: protocols.Protocol, face_set: FaceSet, split: Split | SealedSplit) -> None:
    """Refuse a split that is not whole, and faces or labels that are not the protocol's."""
    if split.role == "test" and not isinstance(split, SealedSplit):
        raise InputError("give data.test as it is, sealed; the evaluation opens it and the ledger notes that")
    whole = face_set.test.rows if split.role == "test" else face_set.selection.rows
    if not np.array_equal(split.rows, whole):
        raise InputError(f"a result is about all {len(whole)} faces of {split.name}, not about a part of them")
    if known.selection_split is None:
        raise InputError(f"protocol {known.name} is a cross-validation; give it the runs of all its folds")
    if known.label_set is not None and known.label_set.labels != face_set.label_set.labels:
        raise InputError(f"protocol {known.name} tells {', '.join(known.label_set.labels)}; {face_set.name} does not")
    if known.answers is not None:
        assert known.selection is not None
        sides = [(face_set.selection.rows, known.selection.rows)]
        sides += [(face_set.test.rows, known.test.rows)] if split.role == "test" else []
        if not all(np.array_equal(ours, theirs) for ours, theirs in sides):
            raise DataError(f"{face_set.name} does not hold exactly the faces that protocol {known.name} is about")
    elif (np.asarray(face_set.selection.labels) >= len(face_set.label_set)).any():
        raise DataError(f"faces of {face_set.selection.name} have no label; import {face_set.name} without them")
    elif isinstance(split, SealedSplit) and not split.labelled:
        raise DataError(f"faces of {split.name} have no label; import {face_set.name} without them")


def _own_answers(face_set: FaceSet, test: Split | None) -> tuple[Answers, Answers | None]:
    train, selection = face_set.train, face_set.selection

    def answers(split: Split, *before: Split) -> Answers:
        return Answers(
            split=split.name,
            rows=split.rows,
            labels=np.asarray(split.labels),
            groups=np.asarray(split.groups),
            fit=~copies_of(split.groups, np.concatenate([other.groups for other in before])),
        )

    return answers(selection, train), answers(test, train) if test else None
