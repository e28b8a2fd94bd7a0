"""FER+ votes as labels: the three ways in which its authors turn ten votes per face into a target.

Source: Barsoum, Zhang, Canton Ferrer and Zhang 2016, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", section 4, and the rules of its public code, which drops lone votes and faces whose
remaining votes say too little.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from mien.datasets.readers.records import read_lines, visible
from mien.datasets.readers.sources import open_source
from mien.errors import DataError, InputError
from mien.labels import FERPLUS
from mien.results import facts

Mode = Literal["majority", "probability", "multi-target"]
MODES: tuple[Mode, ...] = ("majority", "probability", "multi-target")
COLUMNS = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "unknown", "NF")
_HEADER = ("usage", "image name", *(name.lower() for name in COLUMNS))
_VOTES = 10


def read_votes(path: str | Path) -> npt.NDArray[np.uint8]:
    """The votes of ``fer2013new.csv``, one row per row of FER2013.

    Rows are joined by their place in the file. Image names are not used: they count other things than rows.

    Returns:
        uint8 (35887, 10): eight expressions in the order of `mien.labels.FERPLUS`, unknown, not a face.

    Raises:
        DataError: another table, or a row that cannot be; with the line.
    """
    source = open_source(Path(path))
    members = visible(source)
    tables = [member.name for member in members if member.name.lower().endswith("fer2013new.csv")]
    if not tables and len(members) == 1 and members[0].name.lower().endswith(".csv"):
        tables = [members[0].name]  # its content says whether it is that file
    if not tables:
        raise DataError("there is no fer2013new.csv in it; give that file of the FER+ project", file=path)
    lines, file = read_lines(source, tables[:1])[tables[0]], source.label(tables[0])
    header = tuple(field.strip().lower() for field in next(csv.reader(io.StringIO(lines[0][1] if lines else ""))))
    if header != _HEADER:
        raise DataError(f"the header is not that of fer2013new.csv ({', '.join(_HEADER)})", file=file, line=1)
    known = facts.load("fer2013")
    if len(lines) - 1 != len(known):
        raise DataError(
            f"it has {len(lines) - 1:,} rows, FER2013 has {len(known):,}, and rows are joined by their place; get the "
            "whole file",
            file=file,
        )
    votes = np.empty((len(known), _VOTES), np.uint8)
    for row, (number, text) in enumerate(lines[1:]):
        usage, _, *counts = next(csv.reader(io.StringIO(text)))
        if usage != known.split_names[known.splits[row]]:
            raise DataError(
                f"it says {usage!r}, FER2013 has another split there; get the file again", file=file, line=number
            )
        if len(counts) != _VOTES or not all(count.isdecimal() and int(count) <= _VOTES for count in counts):
            raise DataError(f"it holds no {_VOTES} counts from 0 to {_VOTES}", file=file, line=number)
        votes[row] = [int(count) for count in counts]
    return votes


def targets(votes: npt.NDArray[np.uint8], mode: Mode = "majority") -> npt.NDArray[np.float32]:
    """Targets from votes; a face whose votes say too little gets a row of zeros and takes no part.

    Votes that only one rater gave are dropped first. ``majority``: one expression with more than half of the rest.
    ``probability``: the most frequent answers, at most three (more only through ties, which disqualify), until they
    hold three quarters; an answer "unknown" or "not a face" ends the list. ``multi-target``: every expression with
    three tenths of the rest or more. All targets sum to 1 (a network trained on several targets asks which are not 0).

    Args:
        votes: uint8 (N, 10), as `read_votes` gives them.
        mode: see above.

    Returns:
        float32 (N, 8), rows sum to 1 or to 0.

    Example:
        >>> votes = np.array([[6, 3, 0, 0, 1, 0, 0, 0, 0, 0]], np.uint8)
        >>> [targets(votes, mode)[0, :2].astype(float).round(2).tolist() for mode in MODES]
        [[1.0, 0.0], [0.67, 0.33], [0.67, 0.33]]
    """
    if mode not in MODES:
        raise InputError(f"FER+ labels are of the modes {', '.join(MODES)}, not {mode!r}")
    if votes.ndim != 2 or votes.shape[1] != _VOTES:
        raise InputError(f"votes are (N, {_VOTES}), not {votes.shape}")
    counts = np.where(votes > 1, votes, 0).astype(np.int64)
    totals = counts.sum(axis=1, keepdims=True)
    if mode == "majority":
        chosen = np.where((counts == counts.max(axis=1, keepdims=True)) & (2 * counts > totals), counts, 0)
    elif mode == "multi-target":
        chosen = np.where(10 * counts >= 3 * totals, counts, 0)
    else:
        chosen = np.array([_most_frequent(row) for row in counts]).reshape(counts.shape)
    enough = 2 * chosen.sum(axis=1, keepdims=True) > totals
    chosen = np.where(enough, chosen, 0)
    # What is mostly no expression takes no part, and of the others only the expressions count.
    expressions = chosen[:, : len(FERPLUS)]
    usable = chosen.argmax(axis=1) < len(FERPLUS)
    sums = expressions.sum(axis=1, keepdims=True)
    shares = np.where(usable[:, None] & (sums > 0), expressions / np.where(sums > 0, sums, 1), 0)
    return shares.astype(np.float32)


def _most_frequent(counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    left, chosen, total = counts.copy(), np.zeros_like(counts), int(counts.sum())
    taken = number = 0
    expressions_only = True
    while 4 * taken < 3 * total and number < 3 and expressions_only:
        highest = int(left.max())
        for answer in np.flatnonzero(left == highest).tolist():
            chosen[answer], left[answer] = highest, 0
            taken += highest
            number += 1
            if answer >= len(FERPLUS):
                expressions_only = False
                if int(chosen.sum()) > highest:  # expressions came before it
                    chosen[answer] = 0
                    number -= 1
                break
    return np.zeros_like(counts) if number > 3 else chosen
