"""Trained on one data set, measured on another: the label sets intersected, and nothing fitted on the new faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.datasets import DATASETS, SealedSplit, Split
from mien.datasets.faceset import SUBJECT
from mien.datasets.lineage import image_source
from mien.datasets.relabel import relabelled
from mien.errors import DataError, InputError
from mien.evaluation.parts import protocol_of, subjects_of, suited
from mien.evaluation.subjects import check_unadapted, subject_of
from mien.labels import shared
from mien.results import Answers, Result, protocols

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import FaceSet
    from mien.evaluation.subjects import Subject

OPEN, TEST = "cross/open@1", "cross/test@1"


@dataclass(frozen=True)
class Crossing:
    """How the labels of a system and those of other data meet.

    Attributes:
        labels: the expressions that both tell.
        only_system: those that the system tells and the data do not; their scores are dropped.
        only_data: those that the data tell and the system does not; their faces are left out.
    """

    labels: tuple[str, ...]
    only_system: tuple[str, ...]
    only_data: tuple[str, ...]

    def __str__(self) -> str:
        said = f"measured on the {len(self.labels)} expressions that both tell: {', '.join(self.labels)}"
        if self.only_data:
            said += f"; faces labelled {', '.join(self.only_data)} are left out"
        if self.only_system:
            said += f"; scores for {', '.join(self.only_system)} are dropped"
        return said


def crossing(system: tuple[str, ...], data: tuple[str, ...]) -> Crossing:
    """How two label sets meet.

    Example:
        >>> print(crossing(("happy", "sad", "neutral"), ("sad", "contempt", "happy")))
        measured on the 2 expressions that both tell: happy, sad; faces labelled contempt are left out; scores for \
neutral are dropped
    """
    return Crossing(
        tuple(label for label in system if label in data),
        tuple(label for label in system if label not in data),
        tuple(label for label in data if label not in system),
    )


def said(result: Result, subject: Any, face_set: FaceSet) -> str:
    """The sentence about the labels under which a system was measured on other data; empty for other results."""
    if result.protocol not in (OPEN, TEST):
        return ""
    return str(crossing(subject_of(subject).label_set.labels, face_set.label_set.labels))


def own_protocol(prepared: Subject, face_set: FaceSet) -> str | None:
    """The protocol about ``face_set`` that the system was trained under, or None if it was trained on other data."""
    first = protocol_of(face_set)
    for name in (first, *protocols.names()):
        known = protocols.get(name)
        if known.face_set != face_set.name or known.data_fingerprint is not None:
            continue
        if known.label_set is not None and not set(known.label_set.labels) <= set(face_set.label_set.labels):
            continue
        if prepared.trained_on == suited(known, face_set).fingerprint:
            return name
    return None


def is_across(prepared: Subject, face_set: FaceSet) -> bool:
    """Whether a system meets data that it was not made for, and no protocol was asked for."""
    if prepared.kind == "submitted" or face_set.name not in DATASETS or DATASETS[face_set.name].make is not None:
        return False
    if prepared.label_set.labels != face_set.label_set.labels:
        return own_protocol(prepared, face_set) is None
    # FER2013 and what is made from it travel in copies: there it is another copy, which its own protocols refuse.
    return image_source(face_set.name) != "fer2013" and prepared.trained_on != face_set.fingerprint


def evaluate_across(
    prepared: Subject,
    split: Split | SealedSplit,
    *,
    views: str = "one",
    results: str | Path | None = None,
    protocol: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Measure a system on data that it was not trained on.

    Args:
        prepared: the system.
        split: ``data.test``, whose opening the ledger notes; ``data.selection``; or ``data.train`` where the data set
            has nothing else.
        views: name of the view.
        results: folder of the ledger.
        protocol: ``cross/open@1`` or ``cross/test@1``; by default the one that fits the split.
        progress: called with (faces done, faces in all).

    Returns:
        The result, not yet saved; its labels are those that both know.

    Raises:
        InputError: fewer than two labels in common, a part of a split, a protocol that does not fit the split.
        DataError: the system was trained on these data, on another copy of them, or on what nobody knows.
    """
    sealed = isinstance(split, SealedSplit)
    known = protocols.get(protocol or (TEST if sealed else OPEN))
    if known.name != (TEST if sealed else OPEN):
        raise InputError(f"{known.name} does not fit the split {split.name!r}; use {TEST if sealed else OPEN}")
    face_set = split.face_set
    if split.role == "test" and not sealed:
        raise InputError("give data.test as it is, sealed; the evaluation opens it and the ledger notes that")
    if split.role == "train" and set(face_set.roles) != {"train"}:
        raise InputError(
            f"{face_set.name} keeps faces to test on; give data.test or data.selection, not those others learn from"
        )
    if not np.array_equal(split.rows, face_set.rows(split.name)):
        raise InputError(f"a result is about all faces of {split.name}, not about a part of them")
    if prepared.trained_on == face_set.fingerprint or own_protocol(prepared, face_set):
        raise DataError(
            f"{prepared.system} was trained on {face_set.name}; measure it under a protocol of that data set "
            f"({', '.join(n for n in protocols.names() if protocols.get(n).face_set == face_set.name) or 'own/test@1'})"
        )
    _check_source(prepared, face_set)
    common = shared(prepared.label_set, face_set.label_set)
    columns = [prepared.label_set.id(label) for label in common.labels]
    data = relabelled(face_set, common)
    opening = None
    if sealed:
        taken: Split | SealedSplit = data.test
        if taken.name != split.name:
            raise DataError(f"no face of {split.name} has a label that {prepared.system} tells")
        opening = prepared.note_opening(data.test, known.name, views, results)
        faces = data.test.open(opening)
    else:
        faces = Split(data, split.name, split.role, data.rows(split.name))
    return Result.build(
        protocol=known.name,
        views=views,
        data_fingerprint=data.fingerprint,
        **prepared.description,
        selection_scores=None,
        test_scores=_scores(prepared, faces, columns, views, progress),
        opening=opening,
        label_set=common,
        answers=(None, _answers(faces)),
        across={"trained_on": _trained_on(prepared), "tested_on": face_set.name, "split": split.name},
    )


def _trained_on(prepared: Subject) -> str:
    """Names of all data behind a system; of a submission as far as it declares them."""
    names = dict.fromkeys([prepared.data, *prepared.extra_data])
    return ", ".join(name for name in names if name) or "unknown"


def _check_source(prepared: Subject, face_set: FaceSet) -> None:
    """Refuse what may have learnt these faces: only a known training set of other images cannot hold them."""
    if prepared.kind == "submitted":
        return  # a submission declares its data, and is marked as what it is
    check_unadapted(prepared)
    if not prepared.data or not prepared.trained_on:
        raise DataError(
            f"nothing says what {prepared.system} was trained on, so it may have learnt faces of {face_set.name}; "
            "measure it as somebody else's network, --onnx FILE --adapter FILE, which declares its data"
        )
    source = image_source(face_set.name)
    if seen := [name for name in (prepared.data, *prepared.extra_data) if image_source(name) == source]:
        raise DataError(
            f"{prepared.system} learnt from {seen[0]}, another copy of these images; this protocol is "
            f"about data that it never saw. Train it on this {face_set.name}, or measure it under own/test@1"
        )


def _scores(
    prepared: Subject, faces: Split, columns: list[int], views: str, progress: Callable[[int, int], None] | None
) -> NDArray[np.floating[Any]]:
    done = 0

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress(done, len(faces))

    found: NDArray[np.floating[Any]] = prepared.measure(faces, views, advance)
    found = found[:, columns]
    if prepared.scores_kind == "probabilities":
        totals = found.sum(axis=1, keepdims=True)
        found = np.where(totals > 0, found / np.where(totals > 0, totals, 1), 1 / len(columns))
    return found


def _answers(faces: Split) -> Answers:
    """Labels of the faces; they belong together by subject where that is known, else by equal images."""
    return Answers(
        split=faces.name,
        rows=faces.rows,
        labels=np.asarray(faces.labels),
        groups=subjects_of(faces) if SUBJECT in faces.face_set.attributes else np.asarray(faces.groups),
        fit=np.ones(len(faces), bool),
    )
