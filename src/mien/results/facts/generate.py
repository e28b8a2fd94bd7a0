"""Make the packaged array of facts from FER2013 and its FER+ votes.

    python -m mien.results.facts.generate fer2013.npz

reads ``images`` uint8 (35887, 48, 48), ``labels``, ``usage`` (0 Training, 1 PublicTest, 2 PrivateTest) and ``votes``
(35887, 10; columns of ``fer2013new.csv``) in the original order, and writes ``fer2013.npz`` beside this module.
Equal input gives equal bytes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.labels import FERPLUS, FERPLUS_TO_FER2013
from mien.results.arrays import Array, write_arrays
from mien.results.facts import NONE


def main(argv: list[str] | None = None) -> None:
    """Read the file named on the command line, write the facts."""
    parser = argparse.ArgumentParser(description="Make the packaged facts of FER2013.")
    parser.add_argument("source", type=Path, help="npz with images, labels, usage and votes")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("fer2013.npz"))
    arguments = parser.parse_args(argv)
    with np.load(arguments.source, allow_pickle=False) as data:
        facts = make(data["images"], data["labels"], data["usage"], data["votes"])
    write_arrays(arguments.out, facts)


def make(
    images: NDArray[np.uint8], labels: NDArray[np.uint8], usage: NDArray[np.uint8], votes: NDArray[np.uint8]
) -> dict[str, Array]:
    """The arrays of the packaged file.

    Args:
        images: uint8 (N, H, W), used for equality only.
        labels: uint8 (N,), ids of FER2013.
        usage: uint8 (N,), split ids.
        votes: uint8 (N, 10), FER+ votes: its eight expressions, unknown, not a face.
    """
    plurality, clear = seven_expression_plurality(votes)
    return {
        "labels": labels.astype(np.uint8),
        "splits": usage.astype(np.uint8),
        "copies": exact_copies(images),
        "ferplus_plurality": plurality,
        "ferplus_clear": np.packbits(clear),
        "ferplus_majority": ferplus_majority(votes),
        "ferplus_no_face": votes[:, 9].astype(np.uint8),
    }


def exact_copies(images: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Later copies of an image: int32 (k, 2), a row and the first row with exactly the same pixels, ascending."""
    flat = np.ascontiguousarray(images).reshape(len(images), -1)
    _, first, group = np.unique(flat.view(f"V{flat.shape[1]}").ravel(), return_index=True, return_inverse=True)
    original = first[group]
    rows = np.flatnonzero(original != np.arange(len(images)))
    return np.column_stack([rows, original[rows]]).astype(np.int32)


def seven_expression_plurality(votes: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The FER2013 expression most raters saw (uint8 (N,), 255: none), and whether more than half of all saw it."""
    counts = np.zeros((len(votes), 7), dtype=np.int64)
    for column, target in enumerate(FERPLUS_TO_FER2013.ids()):
        if target is not None:
            counts[:, target] = votes[:, column]
    best = counts.max(axis=1)
    plurality = np.where(best > 0, counts.argmax(axis=1), NONE).astype(np.uint8)
    return plurality, 2 * best > votes.sum(axis=1, dtype=np.int64)


def ferplus_majority(votes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The label of FER+'s majority mode (Barsoum et al. 2016, and its public code), uint8 (N,), 255: none.

    Votes that stand alone are dropped as outliers; the label needs more than half of what is left; faces whose
    majority is "unknown" or "not a face" have no label.
    """
    kept = np.where(votes > 1, votes, 0).astype(np.int64)
    best = kept.argmax(axis=1)
    majority = (2 * kept.max(axis=1) > kept.sum(axis=1)) & (best < len(FERPLUS))
    return np.where(majority, best, NONE).astype(np.uint8)


if __name__ == "__main__":
    main()
