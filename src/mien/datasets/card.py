"""What is known of a published data set: its counts, its licence, how to get it, and how papers split it. No pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.labels import LabelSet

if TYPE_CHECKING:
    from mien.datasets.faceset import FaceSet

Counts = Mapping[str, Mapping[str, int]]
"""Faces per split of the authors and expression."""

POOL = "all"
"""The only split of a data set whose authors give none."""


@dataclass(frozen=True)
class Card:
    """A data set as its authors publish it.

    Attributes:
        title: one line for people.
        paper: authors, year, title.
        licence: what its terms allow, in short; its own text decides.
        obtain: from where and how.
        layouts: the forms that mien reads.
        label_set: the expressions in the order of the authors' ids.
        counts: faces per split of the authors and expression, one table per edition; empty where nobody published any.
        faces: faces in all, where that is all that is published.
        subjects: people (or characters); None where they are not told.
        splits: which faces are for what here, and what papers did instead.
        attributes: what is known of each face besides its expression.
    """

    title: str
    paper: str
    licence: str
    obtain: str
    layouts: tuple[str, ...]
    label_set: LabelSet
    splits: str
    counts: tuple[Counts, ...] = ()
    faces: int | None = None
    subjects: int | None = None
    attributes: tuple[str, ...] = field(default=())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **{key: value for key, value in vars(self).items() if key not in ("label_set", "counts")},
            "labels": list(self.label_set.labels),
            "counts": [{split: dict(classes) for split, classes in table.items()} for table in self.counts],
        }


def differences(face_set: FaceSet, card: Card) -> list[str]:
    """Where a copy differs from what is published, one sentence each; of several editions, from the nearest.

    Args:
        face_set: the copy, its test labels included.
        card: what is published. Faces that were set apart for selection count in the split they were taken from.
    """
    found = authors_counts(face_set)
    said: list[str] = []
    if card.counts:
        told = set(face_set.label_set.labels)
        alike = [table for table in card.counts if {label for classes in table.values() for label in classes} == told]
        said = _compare(found, min(alike or card.counts, key=lambda table: _distance(found, table)))
    total = sum(sum(classes.values()) for classes in found.values())
    if card.faces is not None and total != card.faces:
        said.append(f"There are {total:,} faces, {card.faces:,} are published.")
    empty = [label for label in face_set.label_set.labels if not any(c.get(label) for c in found.values())]
    if empty:
        said.append(f"No face is labelled {', '.join(empty)}.")
    subjects = face_set.attributes.get("subject")
    if card.subjects is not None and subjects is not None and len(subjects.names) != card.subjects:
        said.append(f"It shows {len(subjects.names)} subjects, {card.subjects} are published.")
    return said


def authors_counts(face_set: FaceSet) -> dict[str, dict[str, int]]:
    """Faces per split of the authors and expression."""
    counts: dict[str, dict[str, int]] = {}
    for index, name in enumerate(face_set.split_names):
        split = face_set.info.get("taken_from", {}).get(name, name)
        table = counts.setdefault(split, dict.fromkeys(face_set.label_set.labels, 0))
        numbers = np.bincount(face_set._labels[face_set.splits == index], minlength=256)
        for label, number in zip(face_set.label_set.labels, numbers.tolist(), strict=False):
            table[label] += number
    return counts


def _distance(found: Counts, published: Counts) -> int:
    return sum(
        abs(found.get(split, {}).get(label, 0) - published.get(split, {}).get(label, 0))
        for split in {*found, *published}
        for label in {*found.get(split, {}), *published.get(split, {})}
    )


def _compare(found: Counts, published: Counts) -> list[str]:
    said = []
    for split, classes in published.items():
        mine = found.get(split)
        if mine is None:
            said.append(f"There is no split {split!r} ({sum(classes.values()):,} faces as published).")
            continue
        wrong = [
            f"{mine.get(label, 0):,} {label} (not {n:,})" for label, n in classes.items() if mine.get(label, 0) != n
        ]
        wrong += [f"{n:,} {label} (not 0)" for label, n in mine.items() if n and label not in classes]
        if wrong:
            name = "The data set" if split == POOL else f"Split {split!r}"
            said.append(f"{name} has {', '.join(wrong)}.")
    said += [f"There is a split {split!r} that is not published." for split in found if split not in published]
    return said
