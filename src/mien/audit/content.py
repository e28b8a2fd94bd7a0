"""Findings about single pictures and their labels: blank ones, no faces, conflicts, balance, other raters' votes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien.audit.finding import Entry, Finding, Table, face
from mien.audit.pictures import Pictures
from mien.datasets import UNLABELLED

_FAINT = 4.0
"""Grey levels of standard deviation under which hardly anything is to be seen."""
_MAJORITY = 5
"""More than this many of the ten FER+ votes."""


def blank(pictures: Pictures) -> list[Finding]:
    """Pictures of one colour, and pictures that nearly are."""
    flat = pictures.images.reshape(len(pictures), -1)
    constant = flat.max(axis=1) == flat.min(axis=1)
    spread = np.empty(len(flat), np.float32)
    for start in range(0, len(flat), 4096):
        spread[start : start + 4096] = flat[start : start + 4096].std(axis=1, dtype=np.float32)
    faint = np.flatnonzero((spread < _FAINT) & ~constant)
    faint = faint[np.argsort(spread[faint])]
    return [
        Finding(
            name="constant-images",
            title="Constant images",
            sentence="Every pixel has the same value: there is nothing to learn from them, and nothing to recognise.",
            weight="problem",
            entries=tuple(Entry((face(pictures, int(row)),)) for row in np.flatnonzero(constant)),
            counts=_per_split(pictures, constant),
        ),
        Finding(
            name="faint-images",
            title="Images with hardly any contrast",
            sentence=f"The pixels vary by less than {_FAINT:g} grey levels (standard deviation).",
            weight="remark",
            entries=tuple(Entry((face(pictures, int(row)),), round(float(spread[row]), 2)) for row in faint),
        ),
    ]


def conflicts(pictures: Pictures) -> Finding:
    """Identical pictures that carry different labels."""
    known = pictures.labels != UNLABELLED
    groups = pictures.groups
    low = np.full(int(groups.max()) + 1, 255)
    high = np.full(len(low), -1)
    np.minimum.at(low, groups[known], pictures.labels[known])
    np.maximum.at(high, groups[known], pictures.labels[known])
    entries = tuple(
        Entry(tuple(face(pictures, int(row)) for row in rows)) for rows in members(groups, np.flatnonzero(high > low))
    )
    return Finding(
        name="conflicting-labels",
        title="Identical faces with different labels",
        sentence="The same picture occurs with two or more labels, so at least one of them is wrong, "
        "whichever the classifier gives.",
        weight="problem",
        entries=entries,
        counts={"groups": len(entries)},
    )


def members(groups: NDArray[np.int32], chosen: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each chosen group, ascending.

    Example:
        >>> [rows.tolist() for rows in members(np.array([0, 1, 0, 2], np.int32), np.array([0, 2]))]
        [[0, 2], [3]]
    """
    order = np.argsort(groups, kind="stable")
    first = np.searchsorted(groups[order], chosen, "left")
    last = np.searchsorted(groups[order], chosen, "right")
    return [order[a:b] for a, b in zip(first, last, strict=True)]


def balance(pictures: Pictures) -> Table | None:
    """Faces per class and split, with the share of all that have a label; None where a split has none."""
    if not (pictures.labels != UNLABELLED).any():
        return None
    known = pictures.labels != UNLABELLED
    splits = range(len(pictures.split_names))
    seen = [bool(known[pictures.splits == split].any()) for split in splits]
    rows: list[tuple[str | int | float | None, ...]] = []
    for index, label in enumerate(pictures.label_names):
        of_class = pictures.labels == index
        counts = [int((of_class & (pictures.splits == split)).sum()) if seen[split] else None for split in splits]
        rows.append((label, *counts, int(of_class.sum()), round(float(of_class.sum() / known.sum()), 4)))
    totals = np.bincount(pictures.labels, minlength=256)[: len(pictures.label_names)]
    largest, smallest = int(totals.max()), int(totals.min())
    return Table(
        name="class-balance",
        title="Class balance",
        columns=("class", *pictures.split_names, "all", "share"),
        rows=tuple(rows),
        note=f"The largest class has {largest / max(smallest, 1):.1f} times the faces of the smallest.",
    )


def not_faces(pictures: Pictures) -> Finding | None:
    """Pictures in which most FER+ raters saw no face; None where there are no votes."""
    if pictures.facts is None:
        return None
    votes = pictures.facts.ferplus_no_face
    rows = np.flatnonzero(votes > _MAJORITY)
    rows = rows[np.argsort(-votes[rows].astype(int), kind="stable")]
    return Finding(
        name="not-a-face",
        title="Not a face, say the raters",
        sentence=f"More than {_MAJORITY} of the ten FER+ raters chose “not a face” (Barsoum et al. 2016).",
        weight="problem",
        entries=tuple(Entry((face(pictures, int(row)),), note=f"{votes[row]} of 10 votes") for row in rows),
        counts=_per_split(pictures, votes > _MAJORITY),
    )


def agreement(pictures: Pictures) -> tuple[Table, Finding] | None:
    """How often the FER+ raters see the expression of the label; None where there are no votes."""
    known = pictures.facts
    if known is None:
        return None
    equal = known.ferplus_plurality == known.labels
    rows: list[tuple[str | int | float | None, ...]] = []
    for index, label in enumerate((*known.label_set.labels, "all")):
        chosen = known.labels == index if label != "all" else np.ones(len(known), bool)
        shares = [float(equal[chosen & (known.splits == split)].mean()) for split in range(len(known.split_names))]
        rows.append((label, *(round(share, 4) for share in shares)))
    table = Table(
        name="ferplus-agreement",
        title="Agreement with the FER+ raters",
        columns=("class", *known.split_names),
        rows=tuple(rows),
        note="Share of faces whose label is the one of the seven expressions that most of ten raters chose. "
        "Ties go to the lower id; where nobody chose any of the seven, the label counts as missed.",
    )
    differ = np.flatnonzero(known.ferplus_clear & ~equal)
    finding = Finding(
        name="ferplus-disagrees",
        title="A clear majority of raters sees something else",
        sentence="More than half of all FER+ votes go to another expression than the label. "
        "Most are the noise of the search words with which FER2013 was collected.",
        weight="remark",
        entries=tuple(
            Entry(
                (face(pictures, int(row)),),
                note=f"raters: {known.label_set[int(known.ferplus_plurality[row])]}",
            )
            for row in differ
        ),
        counts=_per_split(pictures, known.ferplus_clear & ~equal),
    )
    return table, finding


def _per_split(pictures: Pictures, mask: NDArray[np.bool_]) -> dict[str, int | float]:
    return {name: int((mask & (pictures.splits == index)).sum()) for index, name in enumerate(pictures.split_names)}
