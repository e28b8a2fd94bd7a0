"""``fer2013/folds@1``: five folds of Training, so that recipes can be compared without any test split.

Each Training face is scored by the network that was trained on the four folds without it. Exact copies lie in one
fold; every fold has the same share of each expression, as far as copies allow.
"""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from mien.labels import FER2013
from mien.results import facts
from mien.results.protocols import Answers, Protocol
from mien.results.randomness import permutation

FOLDS = 5
_SEED = 2013


@functools.cache
def folds() -> NDArray[np.uint8]:
    """The fold of each Training face, uint8 (28709,), 0–4, in row order. Fold k is the test of the k-th network.

    Example:
        >>> np.bincount(folds()).tolist()
        [5741, 5742, 5742, 5742, 5742]
    """
    known = facts.load("fer2013")
    rows = known.rows("Training")
    labels, groups = known.labels[rows], np.unique(known.groups[rows], return_inverse=True)[1]
    sizes = np.bincount(groups)
    members = np.split(np.argsort(groups, kind="stable"), np.cumsum(sizes)[:-1])
    # Large groups first, the rest in a drawn order; each goes to the fold that has the fewest of its labels.
    order = permutation(_SEED, len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    counts = np.zeros((FOLDS, len(known.label_set)), dtype=np.int64)
    totals = np.zeros(FOLDS, dtype=np.int64)
    result = np.empty(len(rows), dtype=np.uint8)
    for group in order:
        of_group = members[group]
        wanted = counts[:, labels[of_group]].sum(axis=1)
        fold = min(range(FOLDS), key=lambda k: (wanted[k], totals[k], k))
        result[of_group] = fold
        np.add.at(counts[fold], labels[of_group], 1)
        totals[fold] += len(of_group)
    result.setflags(write=False)
    return result


def _answers() -> tuple[None, Answers]:
    known = facts.load("fer2013")
    rows = known.rows("Training")
    return None, Answers(
        split="Training",
        rows=rows,
        labels=known.labels[rows],
        groups=known.groups[rows],
        fit=np.ones(len(rows), dtype=bool),
        slices={"ferplus-clear@1": known.ferplus_clear[rows]},
        folds=folds(),
    )


PROTOCOL = Protocol(
    name="fer2013/folds@1",
    title="FER2013: five-fold cross-validation on Training, exact copies together",
    label_set=FER2013,
    face_set="fer2013",
    train_split="Training",
    selection_split=None,
    test_split="Training",
    sealed=False,
    answers=_answers,
    data_fingerprint=facts.FER2013_FINGERPRINT,
)
