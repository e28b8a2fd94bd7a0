"""Protocols: which faces a number is about, what may be fitted on what, which views are allowed.

One file per protocol; a file that defines ``PROTOCOL`` in this folder is all it takes to add one. A protocol that
changes gets a new version (``@2``) in a new file: recorded results keep their meaning.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError, ResultError
from mien.labels import LabelSet
from mien.registry import Registry

VIEWS = ("one", "flip", "tencrop@40", "tencrop@44", "tencrop@224", "rot8", "rot10", "lhc60", "members", "submitted")
"""Views that results may name. ``members``: an ensemble whose members have their own; ``submitted``: not known here."""


@dataclass(frozen=True, eq=False)
class Answers:
    """What a protocol knows of the faces of one split: one row per face, in the order scores are recorded in.

    Args:
        split: name of the split.
        rows: int64 (n,), row numbers in the data set's file.
        labels: uint8 (n,), ids of the protocol's label set.
        groups: int32 (n,), equal number = exactly equal image, also across splits.
        fit: bool (n,), faces on which a temperature or a threshold may be fitted.
        slices: named subsets, bool (n,), that get a recorded number of their own.
        shown_slices: named subsets, bool (n,), that were thought of after the protocol was in use: their numbers are
            computed from the predictions wherever a result is shown, and are no part of it.
        folds: uint8 (n,) for cross-validation: the fold that tests the face; else None.
    """

    split: str
    rows: NDArray[np.int64]
    labels: NDArray[np.uint8]
    groups: NDArray[np.int32]
    fit: NDArray[np.bool_]
    slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    folds: NDArray[np.uint8] | None = None
    shown_slices: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Protocol:
    """A way to measure.

    Args:
        name: ``family/name@version``.
        title: one line for people.
        label_set: what labels and score columns mean; None where each result brings its own.
        face_set: name of the data set; None where each result brings its own.
        train_split: name of the split to train on.
        selection_split: where choices are made; None under cross-validation.
        test_split: what the number is about.
        sealed: the test split is opened only through the ledger.
        answers: gives the answers of selection (or None) and test; None where each result brings them.
        data_fingerprint: fingerprint of the only face set this protocol is about; None where any will do.
        views: names of the allowed views.
        subject_folds: of a cross-validation whose results bring their own labels: how many folds the subjects, which
            are the recorded groups, are dealt to; 0 elsewhere.
        class_mean: the field reports the mean of the classes' recalls beside overall accuracy.
    """

    name: str
    title: str
    label_set: LabelSet | None
    face_set: str | None
    train_split: str
    selection_split: str | None
    test_split: str
    sealed: bool
    answers: Callable[[], tuple[Answers | None, Answers]] | None
    data_fingerprint: str | None = None
    views: tuple[str, ...] = VIEWS
    subject_folds: int = 0
    class_mean: bool = False

    def check_view(self, name: str) -> None:
        """Refuse a view that the protocol does not allow (`InputError`); the message names those that can be asked for.

        Example:
            >>> get("rafdb/basic@1").check_view("tencrop@48")  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            ...
            mien.errors.InputError: protocol rafdb/basic@1 allows the views one, flip, ... not 'tencrop@48'
        """
        if name not in self.views:
            *most, last = (view for view in self.views if view not in ("members", "submitted"))
            raise InputError(f"protocol {self.name} allows the views {', '.join(most)} and {last}, not {name!r}")

    @functools.cached_property
    def selection(self) -> Answers | None:
        """The answers of the selection split, or None under cross-validation."""
        return self._answers()[0]

    @functools.cached_property
    def test(self) -> Answers:
        """The answers of the test split: facts that are public; using them for any choice breaks the protocol."""
        return self._answers()[1]

    def folds_of(self, groups: NDArray[np.int32]) -> NDArray[np.uint8] | None:
        """The fold of each face, uint8 (n,), from its subject, int32 (n,); None where there are no folds.

        Example:
            >>> get("ferg/characters@1").folds_of(np.array([4, 9, 4, 7], np.int32)).tolist()
            [0, 2, 0, 1]
        """
        if not self.subject_folds:
            return None
        ranks = np.unique(groups, return_inverse=True)[1].ravel()
        return (ranks % self.subject_folds).astype(np.uint8)

    def _answers(self) -> tuple[Answers | None, Answers]:
        if self.answers is None:
            raise ResultError(f"{self.name} is about your own data: its results bring their own labels")
        return self.answers()


def get(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        UnknownNameError: there is none; the message names the nearest.

    Example:
        >>> protocol = get("fer2013/private@1")
        >>> len(protocol.selection), int(protocol.selection.fit.sum()), len(protocol.test)
        (3589, 3309, 3589)
    """
    return _registry()[name]


def names() -> list[str]:
    """The names of all protocols.

    Example:
        >>> names()[-3:]
        ['jaffe/subjects@1', 'own/test@1', 'rafdb/basic@1']
    """
    return sorted(_registry())


@functools.cache
def _registry() -> Registry[Protocol]:
    registry = Registry[Protocol]("protocol")
    for module in pkgutil.iter_modules(__path__):
        protocol: Protocol = importlib.import_module(f"{__name__}.{module.name}").PROTOCOL
        registry.add(protocol.name, protocol)
    return registry
