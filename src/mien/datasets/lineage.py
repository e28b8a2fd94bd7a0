"""What a network learnt from, against what a training may see: weights carry faces from one into the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.datasets.faceset import Split
from mien.datasets.library import DATASETS
from mien.datasets.relabel import ASIDE
from mien.errors import InputError


@dataclass(frozen=True)
class Lineage:
    """What is known of the faces behind a network.

    Attributes:
        name: of the network, for messages.
        data: name of the data set; empty if unknown.
        fingerprint: of the face set; empty if unknown.
        rows: `Split.rows_hash` of its training faces; empty if unknown.
        adapted: whether it was adapted to crops that nobody else has seen.
    """

    name: str
    data: str = ""
    fingerprint: str = ""
    rows: str = ""
    adapted: bool = False

    @classmethod
    def of_notes(cls, name: str, notes: Mapping[str, Any]) -> Lineage:
        """From the notes on a bundle's card.

        Example:
            >>> Lineage.of_notes("a", {"training": {"data": "fer2013"}}).data
            'fer2013'
        """
        said = notes.get("training", {})
        data, fingerprint, rows = (str(said.get(key) or "") for key in ("data", "data_fingerprint", "train_rows"))
        return cls(name, data, fingerprint, rows, adapted="adaptation" in notes)


def behind(source: Lineage, train: Split) -> list[str]:
    """Names of the data behind a network, as far as they are not what is learnt from here.

    Args:
        source: the network whose weights, answers or features a training is given.
        train: what that training learns from.

    Raises:
        InputError: the network learnt from another copy of the same images, which may hold the faces that are tested;
            from the fold that is left out here, or may have; or was adapted to crops that may be such faces.
    """
    face_set = train.face_set
    if source.adapted:
        raise InputError(
            f"{source.name} was adapted to crops, and nothing says that no test face is among them; give the bundle "
            "that it was adapted from"
        )
    whole = np.array_equal(train.rows, face_set.train.rows) and ASIDE not in face_set.split_names
    if source.fingerprint == train.fingerprint:
        if source.rows == train.rows_hash or (whole and not source.rows):
            return []
        if whole:
            return [f"other training rows of {source.data or face_set.name}"]
        raise InputError(
            f"{source.name} learnt from other faces of {face_set.name} than this training, which leaves some out: it "
            "would carry them in; give one that was trained on the same part"
        )
    if source.data and image_source(source.data) == image_source(face_set.name):
        if source.data == face_set.name:
            raise InputError(
                f"{source.name} learnt from another copy of {face_set.name}, which may hold faces that are tested "
                "here; train it on this copy"
            )
        if not whole:
            raise InputError(
                f"{source.name} learnt from {source.data}, whose faces are those of {face_set.name}, also the ones "
                "that this training leaves out; give one that was trained on the same part"
            )
    return [source.data or f"the training data of {source.name}"]


def image_source(name: str) -> str:
    """The data set whose images a data set shows.

    Example:
        >>> image_source("ferplus"), image_source("jaffe")
        ('fer2013', 'jaffe')
    """
    if name in DATASETS and (derived := DATASETS[name].derive) is not None:
        return image_source(derived[0])
    return name
