"""A face set told in another label set: the same rows, those without a counterpart set aside."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np

from mien.datasets.faceset import UNLABELLED, FaceSet
from mien.errors import DataError
from mien.labels import LabelSet, mapping

ASIDE = "without counterpart"
"""The split of the faces whose label the other set does not know. Its role is ``test``, so that nobody learns from
them; where a face set has a test split, that one comes first and stays the one that is tested on."""


def relabelled(face_set: FaceSet, target: LabelSet) -> FaceSet:
    """The faces of ``face_set`` with the labels of ``target``; no image is copied and row numbers stay.

    Args:
        face_set: the faces.
        target: another label set. Every label of it must be one of the face set's.

    Raises:
        DataError: the face set does not know a label of ``target``.

    Example:
        >>> from mien.datasets import drawn_faces
        >>> two = relabelled(drawn_faces(count=70), LabelSet("moods", ("sad", "happy")))
        >>> len(two), len(two.train), two.train.counts()
        (70, 16, {'sad': 8, 'happy': 8})
    """
    if target.labels == face_set.label_set.labels:
        return face_set
    if unknown := [label for label in target.labels if label not in face_set.label_set.labels]:
        raise DataError(
            f"this copy of {face_set.name} has no faces labelled {', '.join(unknown)}, which the label set "
            f"{target.name!r} asks for; it tells {', '.join(face_set.label_set.labels)}"
        )
    table = np.full(256, UNLABELLED, np.uint8)
    for source, to in enumerate(mapping(face_set.label_set, target).ids()):
        table[source] = UNLABELLED if to is None else to
    labels = table[face_set._labels]
    names, roles = (*face_set.split_names, ASIDE), (*face_set.roles, "test")
    splits = np.where(labels == UNLABELLED, np.uint8(len(names) - 1), face_set.splits).astype(np.uint8)
    for array in (labels, splits):
        array.setflags(write=False)
    said = "\n".join(("mien relabelled 1", face_set.fingerprint, *target.labels))
    return replace(
        face_set,
        label_set=target,
        split_names=names,
        roles=roles,
        fingerprint=hashlib.sha256(said.encode()).hexdigest(),
        splits=splits,
        _labels=labels,
        info={**face_set.info, "relabelled_from": face_set.label_set.name},
        _folder=None,
    )
