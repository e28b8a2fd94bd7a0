"""What a protocol lets a training see: the split to learn from and the split to choose on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.datasets import FaceSet, SealedSplit, Split, copies_of
from mien.datasets.faceset import ROLES, SUBJECT
from mien.datasets.relabel import ASIDE, relabelled
from mien.errors import DataError, InputError
from mien.results import protocols
from mien.results.folders import OWN


@dataclass(frozen=True)
class Part:
    """The faces of one training.

    Args:
        protocol: name of the protocol under which the outcome can be measured.
        fold: the fold that is left out; None where there are none.
        train: faces to learn from.
        selection: faces to choose the epoch on; none of them is measured, and none is a copy of a left-out face.
    """

    protocol: str
    fold: int | None
    train: Split
    selection: Split

    @property
    def name(self) -> str:
        """What sets it apart in a run's name: ``fold3``, ``ferplus``, ``jaffe-subjects-fold3``.

        Empty for all of FER2013 and for own data.
        """
        family, _, rest = self.protocol.partition("@")[0].partition("/")
        if self.fold is not None:
            fold = f"fold{self.fold}"
            return f"{family}-{rest}-{fold}" if rest and family != "fer2013" else fold
        return "" if family in ("fer2013", "own") else family if family == "ferplus" else f"{family}-{rest}"


def parts(face_set: FaceSet, protocol: str | None = None, fold: int | None = None) -> list[Part]:
    """The trainings that a protocol asks for: one, or one per fold.

    Under cross-validation of a split that has a selection split beside it no fold chooses anything: the epoch is chosen
    there, without the faces that have an exact copy in the split that is cross-validated. Where folds are made of
    subjects, the fold after the one that is left out chooses.

    Args:
        face_set: the data.
        protocol: name; by default the one that is about this face set.
        fold: only the training that leaves out this fold.

    Raises:
        InputError: a fold that does not exist, or of a protocol without folds.
        DataError: a face set that is not the one the protocol is about.

    Example:
        >>> from mien.datasets import load_dataset
        >>> [(part.protocol, part.fold, len(part.train)) for part in parts(load_dataset("drawn", count=70))]
        [('own/test@1', None, 56)]
    """
    known = protocols.get(protocol or protocol_of(face_set))
    check_data(known, face_set)
    face_set = suited(known, face_set)
    if known.subject_folds:
        return _subject_parts(known, face_set, fold)
    folds = None if known.answers is None or known.selection_split else known.test.folds
    if folds is None:
        if fold is not None:
            raise InputError(f"protocol {known.name} has no folds; leave the fold away")
        return [Part(known.name, None, face_set.train, face_set.selection)]
    count = int(folds.max()) + 1
    if fold is not None and not 0 <= fold < count:
        raise InputError(f"protocol {known.name} has the folds 0 to {count - 1}, not {fold}")
    whole = face_set.train
    if not np.array_equal(whole.rows, known.test.rows):
        raise DataError(f"{face_set.name} does not hold exactly the faces that protocol {known.name} is about")
    selection = face_set.selection
    selection = selection.subset(~copies_of(selection.groups, whole.groups))
    chosen = range(count) if fold is None else (fold,)
    return [Part(known.name, k, whole.subset(folds != k), selection) for k in chosen]


def check_split(given: Any, instead: str) -> None:
    """Refuse what is no split (`InputError`): most often the whole face set, or its images."""
    if isinstance(given, Split | SealedSplit):
        return
    what = "the whole face set" if isinstance(given, FaceSet) else f"a {type(given).__name__}"
    raise InputError(f"{what} was given in the place of a split; give {instead} of data = mien.load_dataset(…)")


def check_data(known: protocols.Protocol, face_set: FaceSet) -> None:
    """Refuse a face set that is not the one the protocol is about."""
    if known.face_set is not None and known.data_fingerprint is None and known.face_set != face_set.name:
        raise DataError(f"protocol {known.name} is about {known.face_set}, not about {face_set.name}")
    if known.data_fingerprint is not None and known.data_fingerprint != face_set.fingerprint:
        raise DataError(
            f"protocol {known.name} is about the official {known.face_set}; this copy differs from it "
            f"(`mien data check {face_set.name}` says how); leave out the protocol to measure on it as your own data"
        )


def suited(known: protocols.Protocol, face_set: FaceSet) -> FaceSet:
    """The face set in the labels of a protocol that is about it, e.g. without contempt."""
    if known.label_set is None or known.data_fingerprint is not None or known.face_set != face_set.name:
        return face_set
    return relabelled(face_set, known.label_set)


def folding(known: protocols.Protocol, face_set: FaceSet) -> tuple[Split, NDArray[np.uint8]]:
    """What a cross-validation is about: all its faces, and for each the fold that tests it, uint8 (n,).

    Raises:
        DataError: nothing says who is shown, or too few subjects are.
    """
    if not known.subject_folds:
        folds = known.test.folds
        assert folds is not None
        return face_set.train, folds
    whole = face_set.train
    folds = known.folds_of(subjects_of(whole))
    assert folds is not None
    if int(folds.max()) < 2:
        raise DataError(
            f"protocol {known.name} leaves out subjects and needs three or more; this copy of {face_set.name} shows "
            f"{int(folds.max()) + 1}; get the whole data set"
        )
    return whole, folds


def subjects_of(split: Split) -> NDArray[np.int32]:
    """Who is shown, int32 (n,), in the order of the subjects' names.

    Raises:
        DataError: nothing says so.
    """
    known = split.face_set.attributes.get(SUBJECT)
    if known is None:
        raise DataError(f"{split.face_set.name} does not say who is shown, so it cannot be split by subject")
    return known.values[split.rows].astype(np.int32)


def _subject_parts(known: protocols.Protocol, face_set: FaceSet, fold: int | None) -> list[Part]:
    whole, folds = folding(known, face_set)
    count = int(folds.max()) + 1
    if fold is not None and not 0 <= fold < count:
        raise InputError(f"protocol {known.name} has the folds 0 to {count - 1}, not {fold}")
    found = []
    for k in range(count) if fold is None else (fold,):
        # The rows keep their face set and its fingerprint; only what they may be used for is the fold's.
        splits = np.full(len(face_set), len(ROLES), np.uint8)
        splits[whole.rows] = np.where(folds == k, 2, np.where(folds == (k + 1) % count, 1, 0))
        splits.setflags(write=False)
        dealt = replace(face_set, splits=splits, split_names=(*ROLES, ASIDE), roles=(*ROLES, "test"), _folder=None)
        found.append(Part(known.name, k, dealt.train, dealt.selection))
    return found


def protocol_of(face_set: FaceSet) -> str:
    """The protocol that is about exactly this face set; cross-validation only where there is no selection split."""
    for name in protocols.names():
        candidate = protocols.get(name)
        if candidate.data_fingerprint is None:
            about = candidate.face_set == face_set.name
        else:
            about = candidate.data_fingerprint == face_set.fingerprint
        splits = candidate.selection_split is not None or "selection" not in face_set.roles
        if about and splits and candidate.label_set == face_set.label_set:
            return name
    return OWN
