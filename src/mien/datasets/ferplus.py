"""FER+: the faces and splits of FER2013 with the majority label of ten raters, eight expressions.

Source: Barsoum et al. 2016, "Training deep networks for facial expression recognition with crowd-sourced label
distribution", section 4. The majority labels are packaged facts (`mien.results.facts`), so nothing has to be imported
for them but FER2013 itself. The votes behind them are in the project's ``fer2013new.csv``; imported, they are what the
other label modes learn from. Only those about Training are kept: nothing may learn from the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.card import Card
from mien.datasets.faceset import UNLABELLED, FaceSet, fingerprint
from mien.datasets.ferplus_votes import read_votes, targets
from mien.errors import DataError, InputError
from mien.labels import FERPLUS
from mien.results import facts
from mien.store import atomic_directory, cache_dir

WITHOUT_MAJORITY = "without majority"
"""The split of the faces that take no part. Its role is ``test``, so that nobody learns from them."""

LABELS = "FER+ labels"
"""What ``extra_data`` calls the votes where they are learnt from beside other labels."""

_COUNTS = {
    "Training": {"neutral": 8740, "happy": 7287, "surprise": 3149, "sad": 3014, "angry": 2100, "disgust": 119,
                 "fear": 532, "contempt": 119},
    "PublicTest": {"neutral": 1182, "happy": 865, "surprise": 415, "sad": 351, "angry": 287, "disgust": 24,
                   "fear": 62, "contempt": 13},
    "PrivateTest": {"neutral": 1090, "happy": 893, "surprise": 396, "sad": 384, "angry": 273, "disgust": 18,
                    "fear": 83, "contempt": 16},
}  # fmt: skip

CARD = Card(
    title="FER+: FER2013 with the labels of ten raters, eight expressions (2016)",
    paper='Barsoum, Zhang, Canton Ferrer and Zhang 2016, "Training deep networks for facial expression recognition '
    'with crowd-sourced label distribution", ICMI 2016',
    licence="of the labels MIT; the images are FER2013's, whose licence is unknown",
    obtain="FER2013 first; then fer2013new.csv of the project github.com/microsoft/FERPlus",
    layouts=("fer2013new.csv, or a folder or archive that holds it; its rows are joined to FER2013's by their place",),
    label_set=FERPLUS,
    counts=(_COUNTS,),
    splits=(
        "Those of FER2013. A face without an expression that more than half of its raters name takes no part in "
        "ferplus/majority@1. A training on votes (loss.targets = probability, crossentropy, multi-target) learns from "
        "the Training faces that its mode can use, as the authors do, and is selected and tested on the majority."
    ),
)


def ferplus(fer2013: FaceSet) -> FaceSet:
    """The same rows with FER+ labels; a row number means the same face in both.

    Args:
        fer2013: the official FER2013.

    Raises:
        DataError: another copy, whose rows the published votes may not be about.
    """
    if fer2013.fingerprint != facts.FER2013_FINGERPRINT:
        raise DataError(
            "the FER+ votes are about the rows of the official FER2013, and this copy differs from it; "
            "`mien data check fer2013` says how"
        )
    known = facts.load("fer2013")
    labels = np.where(known.ferplus_majority == facts.NONE, UNLABELLED, known.ferplus_majority).astype(np.uint8)
    splits = np.where(labels == UNLABELLED, 3, known.splits).astype(np.uint8)
    names = (*known.split_names, WITHOUT_MAJORITY)
    for array in (labels, splits):
        array.setflags(write=False)
    votes = stored_votes()
    return FaceSet(
        name="ferplus",
        label_set=FERPLUS,
        split_names=names,
        roles=("train", "selection", "test", "test"),
        fingerprint=fingerprint(fer2013._images, labels, splits, FERPLUS, names),
        splits=splits,
        groups=fer2013.groups,
        _images=fer2013._images,
        _labels=labels,
        info={
            "format": "FER2013 with the majority label of FER+",
            "source": fer2013.info.get("source"),
            "votes": "not imported" if votes is None else votes["source"],
        },
    )


def import_votes(path: str | Path) -> Mapping[str, Any]:
    """Read ``fer2013new.csv`` into the cache, where trainings find it; see `stored_votes`.

    Raises:
        DataError: another table, or votes that say something else than the published ones.
    """
    votes, known = checked_votes(path), facts.load("fer2013")
    kept = np.where((known.splits == known.split_names.index("Training"))[:, None], votes, 0).astype(np.uint8)
    meta = {"source": str(Path(path).resolve()), "sha256": hash_of(kept)}
    with atomic_directory(cache_dir("datasets", "ferplus", "votes")) as part:
        np.save(part / "votes.npy", kept, allow_pickle=False)
        (part / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")
    return meta


def checked_votes(path: str | Path) -> npt.NDArray[np.uint8]:
    """The votes at ``path``, uint8 (35887, 10), compared with what is published.

    Raises:
        DataError: another table, or votes that say something else than the published ones.
    """
    votes, known = read_votes(path), facts.load("fer2013")
    shares = targets(votes)
    majority = np.where(shares.any(axis=1), shares.argmax(axis=1), facts.NONE)
    if len(wrong := np.flatnonzero(majority != known.ferplus_majority)):
        raise DataError(
            f"its votes give {len(wrong):,} faces another majority than the published ones, row {wrong[0]} first (line "
            f"{wrong[0] + 2}); get the file of the FER+ project again",
            file=path,
        )
    return votes


def stored_votes() -> Mapping[str, Any] | None:
    """``source`` and ``sha256`` of the votes that were imported, or None."""
    try:
        meta: dict[str, Any] = json.loads(cache_dir("datasets", "ferplus", "votes", "meta.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return meta if {"source", "sha256"} <= set(meta) else None


def votes_of(face_set: FaceSet) -> npt.NDArray[np.uint8]:
    """The raters' votes about the Training faces of FER2013 or FER+, by row; zero for all others.

    Returns:
        uint8 (35887, 10), columns as `mien.datasets.ferplus_votes.COLUMNS`.

    Raises:
        InputError: other data, or votes that were not imported or were changed since.
    """
    if face_set.fingerprint not in (facts.FER2013_FINGERPRINT, facts.FERPLUS_FINGERPRINT):
        raise InputError(
            f"nothing is known of raters' votes about {face_set.name}; learn from the official fer2013 or ferplus, or "
            "give votes: mien.train(…, votes=array), uint8 (faces, 10)"
        )
    meta = stored_votes()
    if meta is None:
        raise InputError("the FER+ votes are not imported yet: run `mien data import ferplus fer2013new.csv`")
    try:
        votes = np.load(cache_dir("datasets", "ferplus", "votes", "votes.npy"), allow_pickle=False)
    except (OSError, ValueError, EOFError):
        votes = np.zeros((0, 0), np.uint8)
    if votes.shape != (len(face_set), 10) or votes.dtype != np.uint8 or hash_of(votes) != meta["sha256"]:
        raise InputError(
            "the stored FER+ votes were changed after the import: run `mien data import ferplus fer2013new.csv` again"
        )
    return np.asarray(votes)


def undecided(face_set: FaceSet) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """The Training faces of FER+ without a majority: row numbers, int64 (n,), and images, uint8 (n, 48, 48)."""
    known = facts.load("fer2013")
    rows = face_set.rows(WITHOUT_MAJORITY)
    rows = rows[known.splits[rows] == known.split_names.index("Training")]
    return rows, face_set._images[rows]


def hash_of(votes: npt.NDArray[np.uint8]) -> str:
    """SHA-256 (hex) of votes, uint8 (N, 10)."""
    return hashlib.sha256(np.ascontiguousarray(votes).data).hexdigest()
