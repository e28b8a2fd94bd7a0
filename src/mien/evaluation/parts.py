"""What a protocol lets a training see: the split to learn from and the split to choose on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mien.datasets import FaceSet, Split, copies_of
from mien.errors import DataError, InputError
from mien.results import protocols

OWN = "own/test@1"


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
        """What sets it apart in a run's name: ``fold3``, ``ferplus``; empty for all of FER2013 and for own data."""
        if self.fold is not None:
            return f"fold{self.fold}"
        family = self.protocol.partition("/")[0]
        return "" if family in ("fer2013", "own") else family


def parts(face_set: FaceSet, protocol: str | None = None, fold: int | None = None) -> list[Part]:
    """The trainings that a protocol asks for: one, or one per fold.

    Under cross-validation no fold chooses anything: the epoch is chosen on the face set's own selection split, without
    the faces that have an exact copy in the split that is cross-validated.

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


def check_data(known: protocols.Protocol, face_set: FaceSet) -> None:
    """Refuse a face set that is not the one the protocol is about."""
    if known.data_fingerprint is not None and known.data_fingerprint != face_set.fingerprint:
        raise DataError(
            f"protocol {known.name} is about the official {known.face_set}; this copy differs from it "
            f"(`mien data check {face_set.name}` says how); leave out the protocol to measure on it as your own data"
        )


def protocol_of(face_set: FaceSet) -> str:
    """The first protocol with a selection split that is about exactly this face set."""
    for name in protocols.names():
        candidate = protocols.get(name)
        about = candidate.data_fingerprint == face_set.fingerprint
        if about and candidate.selection_split and candidate.label_set == face_set.label_set:
            return name
    return OWN
