"""Whether somebody's training pictures contain test faces, also renamed, re-encoded, resized, flipped, turned, cropped.

Each picture is compared with every test face as a coarse vector, over a set of flips, turns and cuts; the nearest
candidates are laid on the picture and compared pixel by pixel. Only pixels are used, no label of any test face.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.audit.copies import SAME_PHOTOGRAPH, verify
from mien.audit.finding import Entry, Face, Finding, Table, face
from mien.audit.geometry import Float, placement
from mien.audit.neighbours import Progress, nearest
from mien.audit.pictures import Pictures
from mien.errors import InputError

LEAKED = SAME_PHOTOGRAPH
"""Correlation after alignment from which a picture counts as a test face."""
_NEIGHBOURS = 4

PLACES: tuple[Float, ...] = tuple(
    place
    for mirrored in (False, True)
    for place in (
        *(placement(angle, mirrored=mirrored) for angle in (-12, -4, 4, 12)),
        *(
            placement(angle, 1.12, right, down, mirrored=mirrored)
            for angle in (-8, 0, 8)
            for right in (-0.06, 0.06)
            for down in (-0.06, 0.06)
        ),
    )
)
"""How a test face may have been changed, roughly; alignment finds the rest."""

Stage = Callable[[str], Progress]
"""Gives the progress of a stage that is about to begin."""


@dataclass(frozen=True, eq=False)
class Matches:
    """For each picture the face that it fits best.

    Args:
        references: int64 (N,), positions.
        scores: float32 (N,), correlation after alignment; −1 where nothing came near.
    """

    references: NDArray[np.int64]
    scores: Float


def match(
    images: NDArray[np.uint8], references: NDArray[np.uint8], *, stage: Stage | None = None, name: str = "faces"
) -> Matches:
    """Find for each picture the reference of which it is most likely a copy.

    Args:
        images: uint8 (N, 48, 48), grey.
        references: uint8 (M, 48, 48), grey.
        stage: told how far the search is.
        name: of the references, in ``stage``.

    Example:
        >>> from mien.datasets import load_dataset
        >>> faces = load_dataset("drawn", count=70).train.images
        >>> found = match(faces[3:5, :, ::-1], faces)
        >>> found.references.tolist(), bool((found.scores > 0.99).all())
        ([3, 4], True)
    """
    blank = references.reshape(len(references), -1).std(axis=1) < 1
    candidates = nearest(
        images, references, PLACES, _NEIGHBOURS, progress=stage(f"searching {name}") if stage else None
    )
    scores = verify(images, references, candidates, PLACES, progress=stage(f"comparing {name}") if stage else None)
    scores[blank[candidates.references]] = -1
    best = scores.argmax(axis=1)[:, None]
    return Matches(np.take_along_axis(candidates.references, best, 1)[:, 0], np.take_along_axis(scores, best, 1)[:, 0])


def leaks(
    training: Pictures, against: Pictures, *, threshold: float = LEAKED, stage: Stage | None = None
) -> tuple[list[Finding], Table]:
    """The test faces among somebody's training pictures.

    A picture that fits one of the data set's own training faces at least as well is told apart: FER2013 has faces in
    Training that are copies of test faces, and whoever trains on Training has those without doing anything.

    Args:
        training: the pictures that somebody trains on.
        against: a data set with selection and test splits besides its training split.
        threshold: correlation after alignment from which a picture counts as a copy.
        stage: told how far the search is.

    Raises:
        InputError: the data set has but one split.
    """
    train_names = ("training", "train")
    is_train = np.isin(against.splits, [i for i, name in enumerate(against.split_names) if name.lower() in train_names])
    tests, own = np.flatnonzero(~is_train), np.flatnonzero(is_train)
    if not len(tests):
        raise InputError(f"this copy of {against.name} has no faces besides Training; there is nothing to leak")
    unique, back = np.unique(training.groups, return_index=True, return_inverse=True)[1:]
    found = match(training.images[unique], against.images[tests], stage=stage, name="test faces")
    hit = np.flatnonzero(found.scores >= threshold)
    twin = np.full(len(unique), -1, np.float32)
    if len(hit) and len(own):
        twin[hit] = match(training.images[unique[hit]], against.images[own], stage=stage, name="training faces").scores
    leaked = found.scores[back] >= threshold
    excused = leaked & (twin[back] >= np.minimum(found.scores[back], 0.999))
    reference = tests[found.references[back]]
    scores = found.scores[back]
    findings = []
    for name, title, sentence, chosen in (
        (
            "test-faces",
            f"Test faces of {against.name} among the training pictures",
            "These pictures are test faces, or the same photographs. A score on that test, after training on them, "
            "says how well they were learnt by heart.",
            leaked & ~excused,
        ),
        (
            "test-faces-also-in-training",
            f"Faces that {against.name} has in Training and in a test split",
            f"These pictures fit a face of {against.name}'s own Training split at least as well as the test face. "
            "Nobody took them from the test; the data set has copies across its splits (see clean@1).",
            excused,
        ),
    ):
        rows = np.flatnonzero(chosen)
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        findings.append(
            Finding(
                name=name,
                title=title,
                sentence=sentence,
                weight="leak" if name == "test-faces" else "remark",
                entries=tuple(_pair(training, int(row), against, int(reference[row]), scores[row]) for row in rows),
                counts={
                    "pictures": len(rows),
                    **{
                        f"different_faces_of_{split}": len(
                            np.unique(reference[rows][against.splits[reference[rows]] == index])
                        )
                        for index, split in enumerate(against.split_names)
                        if (~is_train & (against.splits == index)).any()
                    },
                },
            )
        )
    return findings, _by_split(training, against, reference, leaked, excused, tests)


def _by_split(
    training: Pictures,
    against: Pictures,
    reference: NDArray[np.int64],
    leaked: NDArray[np.bool_],
    excused: NDArray[np.bool_],
    tests: NDArray[np.int64],
) -> Table:
    rows: list[tuple[str | int | float, ...]] = []
    for index in np.unique(against.splits[tests]):
        of_split = against.splits[reference] == index
        size = int((against.splits == index).sum())
        faces = len(np.unique(against.groups[reference[leaked & ~excused & of_split]]))
        rows.append(
            (
                against.split_names[index],
                size,
                int((leaked & ~excused & of_split).sum()),
                faces,
                round(faces / size, 4),
                int((excused & of_split).sum()),
            )
        )
    return Table(
        name="leaks",
        title=f"Pictures of {training.name} that are test faces of {against.name}",
        columns=(
            "split",
            "its faces",
            "pictures that leak",
            "different faces",
            "share of the split",
            "also in Training",
        ),
        rows=tuple(rows),
        note=f"{len(training):,} pictures were compared with {len(tests):,} test faces.",
    )


def _pair(training: Pictures, row: int, against: Pictures, reference: int, score: np.float32) -> Entry:
    there = Face(
        f"{against.name}:{against.ids[reference]}",
        against.images[reference],
        f"{against.split_names[against.splits[reference]]} {against.ids[reference]}",
        own=False,
    )
    return Entry((face(training, row), there), round(float(score), 4))
