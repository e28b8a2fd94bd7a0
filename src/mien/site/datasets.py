"""What pages say of data sets: texts from ``datasets.toml``, numbers counted from the packaged facts."""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import UnknownNameError
from mien.registry import suggestion
from mien.results import facts
from mien.results.tables import Table, percent

FILE = Path(__file__).with_name("datasets.toml")


@dataclass(frozen=True)
class DataSet:
    """A data set as a page shows it. Empty fields are unknown, never guessed.

    Args:
        id: its name in claims and paths.
        title: its usual name.
        long: its name in full.
        year: of its introduction.
        modality: what it holds.
        licence: of its images.
        homepage: where it comes from.
        paper: id of the publication that introduced it, where claims know it.
        introduced: ``title`` and ``link`` of that publication, where claims do not know it.
        size: how many images or sequences it has, as its authors say.
        about: a sentence or two.
        classes: its expressions.
        get: how to get it.
        command: of mien, that imports it.
        variants: ``name``, ``text`` and perhaps ``link`` of each.
        corrections: ``said`` in its usual description, and what ``is``.
    """

    id: str
    title: str
    long: str = ""
    year: int | None = None
    modality: str = ""
    licence: str = ""
    homepage: str = ""
    paper: str = ""
    introduced: Mapping[str, str] = field(default_factory=dict)
    size: str = ""
    about: str = ""
    classes: tuple[str, ...] = ()
    get: str = ""
    command: str = ""
    variants: tuple[Mapping[str, str], ...] = ()
    corrections: tuple[Mapping[str, str], ...] = field(default_factory=tuple)


def datasets() -> Mapping[str, DataSet]:
    """Every data set by id.

    Example:
        >>> [c["is"] for c in datasets()["fer2013"].corrections if "600" in c["said"]]
        ['547 faces are labelled disgust, 55 of them in PrivateTest.']
    """
    return _read()


def dataset(name: str) -> DataSet:
    """One data set; an unknown name raises `UnknownNameError`."""
    if name not in _read():
        raise UnknownNameError(f"nothing is known of a data set {name!r}; {suggestion(name, _read())}")
    return _read()[name]


def class_counts() -> Table:
    """FER2013: faces of each expression in each split."""
    known = facts.load("fer2013")
    rows = []
    for number, label in enumerate(known.label_set.labels):
        counts = [int((known.labels[known.rows(split)] == number).sum()) for split in known.split_names]
        rows.append((label, *(f"{count:,}" for count in counts), f"{sum(counts):,}"))
    totals = [len(known.rows(split)) for split in known.split_names]
    rows.append(("all", *(f"{count:,}" for count in totals), f"{sum(totals):,}"))
    return Table(("expression", *known.split_names, "all"), tuple(rows))


def findings() -> list[str]:
    """FER2013: what counting says about copies and labels, one sentence each."""
    known = facts.load("fer2013")
    private, public = known.rows("PrivateTest"), known.rows("PublicTest")
    in_training = known.has_copy_in("Training")
    sizes = np.bincount(known.groups)
    groups = np.flatnonzero(sizes > 1)
    mixed = sum(len(np.unique(known.labels[known.groups == group])) > 1 for group in groups)
    rated = known.ferplus_plurality[private]
    agree = float((rated == known.labels[private]).mean())
    return [
        f"{len(sizes):,} of the {len(known):,} images are distinct: {len(groups):,} groups of exactly equal images "
        f"hold {int(sizes[groups].sum()):,} faces, and in {mixed} of these groups the labels differ.",
        f"{int(in_training[private].sum())} PrivateTest faces ({percent(float(in_training[private].mean()))}) and "
        f"{int(in_training[public].sum())} PublicTest faces are exact copies of a Training face. The slice clean@1 "
        "leaves out every PrivateTest face with a copy in the other two splits.",
        f"The expression that most of ten FER+ raters name is the label of FER2013 for {percent(agree)} of the "
        "PrivateTest faces.",
    ]


@functools.cache
def _read() -> dict[str, DataSet]:
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    counted = _counted()
    known = {entry.name for entry in fields(DataSet)}
    found = {}
    for entry in content["dataset"]:
        assert set(entry) <= known, f"{FILE.name} has a field {sorted(set(entry) - known)}"
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
        for key in ("variants", "corrections"):
            values[key] = tuple({k: t.format(**counted) for k, t in item.items()} for item in entry.get(key, ()))
        found[entry["id"]] = DataSet(**values)
    return found


def _counted() -> dict[str, str]:
    known = facts.load("fer2013")
    labels = known.label_set.labels
    counts = np.bincount(known.labels, minlength=len(labels))
    disgust = known.label_set.id("disgust")
    others = [k for k in range(len(labels)) if k != disgust]
    smallest, largest = min(others, key=lambda k: counts[k]), int(counts.argmax())
    private = known.rows("PrivateTest")
    numbers = {
        "faces": len(known),
        "training": len(known.rows("Training")),
        "public": len(known.rows("PublicTest")),
        "private": len(private),
        "two_tests": len(known.rows("PublicTest")) + len(private),
        "disgust": int(counts[disgust]),
        "disgust_private": int((known.labels[private] == disgust).sum()),
        "smallest_other": int(counts[smallest]),
        "largest": int(counts[largest]),
    }
    texts = {name: f"{number:,}" for name, number in numbers.items()}
    return {**texts, "smallest_other_name": labels[smallest], "largest_name": labels[largest]}
