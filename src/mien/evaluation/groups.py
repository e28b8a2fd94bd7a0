"""How a result differs between groups of faces: gender, race, age, subject, whatever is known of each face."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.datasets.library import DATASETS, imported, load_dataset
from mien.datasets.relabel import relabelled
from mien.errors import InputError
from mien.labels import LabelSet
from mien.registry import suggestion
from mien.results import metrics as m
from mien.results import protocols
from mien.results.statistics import FEW, bootstrap_interval, wilson_interval

if TYPE_CHECKING:
    from mien.datasets import FaceSet
    from mien.datasets.faceset import Attribute
    from mien.results import Result


@dataclass(frozen=True)
class Group:
    """The faces of one group.

    Attributes:
        attribute: e.g. ``gender``.
        value: e.g. ``female``.
        faces: how many.
        accuracy: share, 0–1.
        accuracy_ci95: its 95 % interval over what belongs together in the result: by resampling, or
            Wilson's where it is small.
        recall: for each label of the result, None where the group has no such face.
        class_mean: mean of the recalls that there are.
        recall_gap: largest difference of a recall to that of the other faces, and the label it is of; None for neither.
        small: fewer than `mien.results.statistics.FEW` faces; recalls mean little.
    """

    attribute: str
    value: str
    faces: int
    accuracy: float
    accuracy_ci95: tuple[float, float]
    recall: tuple[float | None, ...]
    class_mean: float
    recall_gap: tuple[float, str] | None
    small: bool

    def to_json(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def by_attribute(result: Result, face_set: FaceSet, attribute: str) -> list[Group]:
    """The measured faces of a result in the groups of an attribute.

    Args:
        result: with scores on a test split.
        face_set: the data it was measured on.
        attribute: one of ``face_set.attributes``.

    Raises:
        InputError: no such attribute, other data, or a result whose test split stayed sealed.
    """
    known = check_attribute(face_set, attribute)
    faces, scores = result.test, result.test_scores
    if faces is None or scores is None:
        raise InputError("groups are told of measured faces, and this result's test split stayed sealed")
    if len(faces.rows) and int(faces.rows.max()) >= len(face_set):
        raise InputError(f"the result is about other faces than those of this copy of {face_set.name}")
    values, predicted = known.values[faces.rows], scores.argmax(axis=1)
    correct, classes = predicted == faces.labels, len(result.labels)
    found = []
    for value, name in enumerate(known.names):
        here = values == value
        if not here.any():
            continue
        recalls = m.per_class_recall(m.confusion_matrix(predicted[here], faces.labels[here], classes))
        others = m.per_class_recall(m.confusion_matrix(predicted[~here], faces.labels[~here], classes))
        gaps = np.abs(recalls - others)
        widest = None if np.isnan(gaps).all() else int(np.nanargmax(gaps))
        together = faces.groups[here]
        if len(np.unique(together)) == 1:  # one subject: what is drawn are its faces
            together = np.arange(len(together), dtype=np.int32)
        # Forty faces of two subjects are two things that can be drawn.
        faces_here, drawn = int(here.sum()), len(np.unique(together))
        small = drawn < FEW
        if small or correct[here].mean() in (0, 1):
            low, high = wilson_interval(float(correct[here].mean()), drawn)
        else:
            low, high = bootstrap_interval(correct[here], together)
        found.append(
            Group(
                attribute,
                name,
                faces_here,
                round(float(correct[here].mean()), 6),
                (round(float(low), 6), round(float(high), 6)),
                tuple(None if np.isnan(x) else round(float(x), 6) for x in recalls),
                round(float(np.nanmean(recalls)), 6),
                None if widest is None else (round(float(recalls[widest] - others[widest]), 6), result.labels[widest]),
                small,
            )
        )
    return found


def known_groups(result: Result, *, most: int = 12) -> tuple[list[Group], str]:
    """The groups of a result whose data set is imported.

    Args:
        result: any.
        most: attributes with more values than that are left out; ask for one of them with `by_attribute`.

    Returns:
        The groups of all attributes, and where there are none although the data set knows some, a sentence that says
        what to do.
    """
    name = result.across["tested_on"] if result.across is not None else protocols.get(result.protocol).face_set
    if name is None or result.test is None or name not in DATASETS:
        return [], ""
    entry = DATASETS[name]
    if entry.card is None or not entry.card.attributes:
        return [], ""
    told = f"Groups of faces ({', '.join(entry.card.attributes)}) are told where {name} is imported"
    if not imported(name):
        return [], f"{told}: mien data import {name} PATH."
    face_set = load_dataset(name)
    if set(result.labels) <= set(face_set.label_set.labels):
        same = relabelled(face_set, LabelSet("of the result", result.labels)).fingerprint == result.data_fingerprint
        same = same or face_set.fingerprint == result.data_fingerprint
    else:
        same = False
    if not same:
        return [], f"{told}; the copy that is imported is not the one that was measured."
    found = [
        group
        for attribute, its in face_set.attributes.items()
        if len(its.names) <= most
        for group in by_attribute(result, face_set, attribute)
    ]
    return found, ""


def check_attribute(face_set: FaceSet, attribute: str) -> Attribute:
    """What a face set knows of each face under a name; `InputError` if nothing."""
    if attribute not in face_set.attributes:
        raise InputError(
            f"{face_set.name} knows no {attribute!r} of its faces; {suggestion(attribute, face_set.attributes)}"
        )
    return face_set.attributes[attribute]


def group_rows(groups: list[Group]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows of a table for people."""
    columns: tuple[str, ...] = (
        "group",
        "faces",
        "accuracy",
        "95 % interval",
        "mean of classes",
        "widest gap of a recall",
    )
    rows: list[tuple[str, ...]] = []
    for group in groups:
        low, high = group.accuracy_ci95
        gap = "" if group.recall_gap is None else f"{100 * group.recall_gap[0]:+.1f} ({group.recall_gap[1]})"
        rows.append(
            (
                f"{group.attribute} {group.value}" + (" (few)" if group.small else ""),
                f"{group.faces:,}",
                f"{100 * group.accuracy:.1f} %",
                f"{100 * low:.1f} – {100 * high:.1f}",
                f"{100 * group.class_mean:.1f} %",
                gap,
            )
        )
    return columns, rows
