"""What a person wants to know about a data set: what is imported, what is in it, what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mien.datasets.duplicates import copies_of
from mien.datasets.faceset import FaceSet, Split, fingerprint
from mien.datasets.ferplus import checked_votes, stored_votes, votes_of
from mien.datasets.library import DATASETS, imported, load_dataset
from mien.datasets.published import Comparison, compare
from mien.errors import InputError
from mien.store import cache_dir


def list_datasets() -> list[dict[str, Any]]:
    """Every data set with the sources it was imported from; the last is the one that opens without a path."""
    return [
        {
            "name": name,
            "title": entry.title,
            "needs_files": entry.read is not None,
            "imported": _imported(name),
            "folder": str(cache_dir("datasets", name)) if entry.read is not None else None,
            "made_from": None if entry.derive is None else entry.derive[0],
            "card": None if entry.card is None else entry.card.as_dict(),
        }
        for name, entry in DATASETS.items()
    ]


def _imported(name: str) -> list[str]:
    entry = DATASETS[name]
    if entry.derive is not None:
        votes = stored_votes() if imported(entry.derive[0]) else None
        return [] if votes is None else [votes["source"]]
    return [known["path"] for known in imported(name)] if entry.read is not None else []


def describe(face_set: FaceSet) -> dict[str, Any]:
    """Size, splits, exact duplicates and origin of a face set, JSON-able; nothing that its test split hides."""
    splits, counts = [], {}
    for name, role in zip(face_set.split_names, face_set.roles, strict=True):
        rows = face_set.rows(name)
        if role != "test":
            counts[name] = Split(face_set, name, role, rows).counts()
        others = face_set.groups[face_set.splits != face_set.split_names.index(name)]
        splits.append(
            {
                "name": name,
                "role": role,
                "faces": len(rows),
                "copies_in_other_splits": int(copies_of(face_set.groups[rows], others).sum()),
            }
        )
    return {
        "name": face_set.name,
        "faces": len(face_set),
        "distinct_images": len(np.unique(face_set.groups)),
        "image_shape": list(face_set.image_shape),
        "labels": list(face_set.label_set.labels),
        "splits": splits,
        "counts": counts,
        "attributes": {name: _values(face_set, name) for name in face_set.attributes},
        "fingerprint": face_set.fingerprint,
        "folder": None if face_set._folder is None else str(face_set._folder),
        **face_set.info,
        **_missing(face_set),
    }


def check(name: str, path: str | Path | None = None) -> dict[str, Any]:
    """Read a data set again and compare it with what was published.

    Args:
        name: one of `DATASETS`.
        path: a source to read without importing it; without it, the imported copy is verified.

    Returns:
        ``describe`` plus ``findings``: a list of sentences, empty when nothing is wrong.

    Raises:
        DataError: the source is broken.
        InputError: nothing is imported, or the data set has nothing to check.
    """
    entry = DATASETS[name]
    if entry.derive is not None:
        return _check_derived(name, path)
    if entry.read is None:
        raise InputError(f"{name} is made, not read: there is nothing to check")
    face_set = load_dataset(name) if path is None else entry.read(Path(path), None)
    findings = []
    images, labels, splits = face_set._images, face_set._labels, face_set.splits
    if fingerprint(images, labels, splits, face_set.label_set, face_set.split_names) != face_set.fingerprint:
        findings.append(f"The stored arrays were changed after the import: run `mien data import {name} PATH` again.")
    if entry.card is not None:
        findings += face_set.info.get("notes", ())
        return {**describe(face_set), "card": entry.card.as_dict(), "findings": findings}
    comparison = compare(face_set, face_set.info.get("md5"))
    if missing := (counted := _missing(face_set)).get("faces_missing"):
        findings.append(f"{missing:,} of the {counted['faces_published']:,} published faces are missing.")
    findings += _differences(comparison) + list(face_set.info.get("notes", ()))
    return {**describe(face_set), **comparison.as_dict(), "findings": findings}


def _check_derived(name: str, path: str | Path | None) -> dict[str, Any]:
    """FER+: its votes, those at ``path`` or the stored ones; its faces are the official FER2013's, or refused."""
    face_set, findings = load_dataset(name), []
    if path is not None:
        checked_votes(path)
    elif stored_votes() is None:
        findings.append(f"The votes are not imported: run `mien data import {name} fer2013new.csv`.")
    else:
        try:
            votes_of(face_set)
        except InputError as error:
            findings.append(f"{str(error)[:1].upper()}{str(error)[1:]}.")
    card = DATASETS[name].card
    return {**describe(face_set), "card": None if card is None else card.as_dict(), "findings": findings}


def info(name: str) -> dict[str, Any]:
    """The imported copy as `describe` tells it, and the card; of a data set that is not imported, the card alone.

    Raises:
        InputError: it is not imported, and there is no card either.
    """
    card = DATASETS[name].card
    if card is None:
        return describe(load_dataset(name))
    derive = DATASETS[name].derive
    told = (
        describe(load_dataset(name))
        if imported(name if derive is None else derive[0])
        else {"name": name, "imported": False}
    )
    return {**told, "card": card.as_dict()}


def _missing(face_set: FaceSet) -> dict[str, int]:
    """How many faces were published, and how many fewer these are; nothing where that is not known."""
    if "published" not in face_set.info:
        return {}
    published = sum(sum(classes.values()) for classes in face_set.info["published"].values())
    return {"faces_published": published, "faces_missing": max(0, published - len(face_set))}


def _values(face_set: FaceSet, name: str) -> dict[str, int]:
    names, values = face_set.attributes[name]
    return dict(zip(names, np.bincount(values, minlength=len(names)).tolist(), strict=True))


def _differences(comparison: Comparison) -> list[str]:
    if comparison.official_content:
        return []
    findings = []
    for split, classes in comparison.published.items():
        mine = comparison.counts.get(split)
        if mine is None:
            findings.append(f"There is no split {split} ({sum(classes.values()):,} faces as published).")
        elif mine != classes:
            wrong = [f"{mine.get(label, 0):,} {label} (not {n:,})" for label, n in classes.items() if mine[label] != n]
            findings.append(f"{split} has {', '.join(wrong) or 'faces without a label'}.")
    if comparison.images_differ:
        findings.append(f"{comparison.images_differ:,} images are not those that were published.")
    if not findings:
        findings.append("All counts and images are those published, but their order, labels or splits are not.")
    return findings
