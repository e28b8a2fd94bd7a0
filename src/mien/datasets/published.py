"""The published FER2013, as facts: checksums of its images, counts of its classes, MD5 of its files. No pixels.

With them a copy in any format is compared image by image, and put back into the order of the published rows where
its own order was lost.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.faceset import UNLABELLED, FaceSet
from mien.datasets.readers import FaceTable
from mien.results import facts

FILES = {
    "f8428a1edbd21e88f42c73edd2a14f95": "fer2013.csv",
    "b114b9e04e6949e5fe8b6a98b3892b1d": "icml_face_data.csv",
    "3f0dfb3d3fd99c811a1299cb947e3131": "train.csv",
    "b02c2298636a634e8c2faabbf3ea9a23": "test.csv",
}
"""MD5 of the published files."""

FINGERPRINT = "351bbeb8534d4052447c3bc99d1aa6affb812b326a98b39a8fb9547f74a3082d"
"""Fingerprint of the face set that the published files give."""


@dataclass(frozen=True)
class Comparison:
    """How a copy compares with the published data set.

    Attributes:
        official_content: every image, label and split in its published row; nothing else.
        official_file: the published file that was read byte for byte, or None.
        images_differ: images whose pixels are not those of the published row, or, where rows cannot be told apart,
            that the data set does not hold.
        counts: faces per split and expression, ``None`` as expression for those without a label.
        published: the same of the published data set.
    """

    official_content: bool
    official_file: str | None
    images_differ: int
    counts: dict[str, dict[str, int]]
    published: dict[str, dict[str, int]]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))


def checksums(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint32]:
    """CRC-32 of each image, uint32 (N,). No two different images of FER2013 share one.

    Example:
        >>> checksums(np.zeros((1, 2, 2), np.uint8)).tolist()
        [558161692]
    """
    return np.fromiter((zlib.crc32(image.data) for image in np.ascontiguousarray(images)), np.uint32, len(images))


@functools.cache
def published_checksums() -> npt.NDArray[np.uint32]:
    """`checksums` of the published images in their order, uint32 (35887,).

    The file holds one of each group of equal images, in the order of their first appearance:
    ``np.save(path, checksums(images)[np.unique(groups, return_index=True)[1]])``; a test makes all of them again where
    the data set is at hand.
    """
    distinct = np.asarray(np.load(Path(__file__).with_name("fer2013_checksums.npy"), allow_pickle=False))
    return distinct[facts.load("fer2013").groups]


def restore_order(table: FaceTable) -> tuple[FaceTable, str]:
    """Put the rows into the published order, if that can be known.

    Returns:
        The table, and how its rows are ordered, in words.
    """
    if table.rows is not None:
        order = np.argsort(table.rows, kind="stable")
        if (table.rows < len(facts.load("fer2013"))).all():
            return _taken(table, order), "as published, by the row numbers in the file names"
    matched = _match_content(table)
    if matched is None:
        published = table.format.startswith("folders")
        return table, "by split, class and file name, not as published" if published else "as in the file"
    order, splits = matched
    if table.split_names == facts.load("fer2013").split_names and bool((np.diff(order) == 1).all()):
        return table, "as published"
    restored = replace(
        _taken(table, order),
        splits=splits,
        split_names=facts.load("fer2013").split_names,
        roles=("train", "selection", "test"),
        notes=tuple(note for note in table.notes if "merged" not in note),
    )
    return restored, "as published, restored by comparing every image with the published checksums"


def compare(face_set: FaceSet, md5: str | None = None) -> Comparison:
    """Compare a copy with the published data set.

    Args:
        face_set: the copy.
        md5: of the file that it was read from.
    """
    known = facts.load("fer2013")
    official = face_set.fingerprint == FINGERPRINT
    return Comparison(
        official_content=official,
        official_file=FILES.get(md5 or ""),
        images_differ=0 if official else _images_differ(face_set),
        counts=_counts(face_set._labels, face_set.splits, face_set.split_names),
        published=_counts(known.labels, known.splits, known.split_names),
    )


def _counts(
    labels: npt.NDArray[np.uint8], splits: npt.NDArray[np.uint8], split_names: tuple[str, ...]
) -> dict[str, dict[str, int]]:
    label_set = facts.load("fer2013").label_set
    table: dict[str, dict[str, int]] = {}
    for index, name in enumerate(split_names):
        counts = np.bincount(labels[splits == index], minlength=256)
        table[name] = {label: int(counts[position]) for position, label in enumerate(label_set.labels)}
        if counts[UNLABELLED]:
            table[name]["unlabelled"] = int(counts[UNLABELLED])
    return table


def _images_differ(face_set: FaceSet) -> int:
    known, want, got = facts.load("fer2013"), published_checksums(), checksums(face_set._images)
    if len(got) == len(want) and bool((face_set._labels == known.labels).all()):
        return int((got != want).sum())
    values, counts = np.unique(want, return_counts=True)
    mine, how_often = np.unique(got, return_counts=True)
    place = np.searchsorted(values, mine).clip(max=len(values) - 1)
    available = np.where(values[place] == mine, counts[place], 0)
    return int((how_often - np.minimum(how_often, available)).sum())


def _match_content(table: FaceTable) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]] | None:
    """The order that makes the table the published one, and the published splits; None unless every row matches."""
    known = facts.load("fer2013")
    if table.lossy or len(table.images) != len(known):
        return None
    training = table.splits == table.split_names.index("Training") if "Training" in table.split_names else None
    if training is None:
        return None
    if table.split_names == known.split_names:
        mine, theirs = table.splits, known.splits
    else:
        mine, theirs = training.astype(np.uint8), (known.splits == 0).astype(np.uint8)
    got: tuple[npt.NDArray[Any], ...] = (checksums(table.images), table.labels, mine)
    want: tuple[npt.NDArray[Any], ...] = (published_checksums(), known.labels, theirs)
    from_order, to_order = np.lexsort(got), np.lexsort(want)
    if not all(bool((g[from_order] == w[to_order]).all()) for g, w in zip(got, want, strict=True)):
        return None
    order = np.empty(len(known), np.int64)
    order[to_order] = from_order
    return order, known.splits


def _taken(table: FaceTable, order: npt.NDArray[np.int64]) -> FaceTable:
    return replace(
        table,
        images=table.images[order],
        labels=table.labels[order],
        splits=table.splits[order],
        rows=None if table.rows is None else table.rows[order],
    )
