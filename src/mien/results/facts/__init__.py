"""Facts about data sets: class ids, splits, exact copies, votes. No pixels.

With them anybody can recompute every recorded number without having the images. The array of FER2013 is made by
``python -m mien.results.facts.generate`` and never edited.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import UnknownNameError
from mien.labels import FER2013, LabelSet
from mien.registry import suggestion
from mien.results.arrays import read_arrays

NONE = 255
"""Stands for "no label" where a vote gave none."""

FER2013_FINGERPRINT = "351bbeb8534d4052447c3bc99d1aa6affb812b326a98b39a8fb9547f74a3082d"
"""Fingerprint of the official FER2013 as a face set: its images, labels and splits in the order of its csv."""

FERPLUS_FINGERPRINT = "3836a03be840e27eef8625ae8ab83c585a036492244816e70f33b6867b8e68b0"
"""Fingerprint of the same faces with the majority labels of FER+ (`mien.datasets.ferplus`)."""

_MEMBERS = (
    "labels", "splits", "copies", "ferplus_plurality", "ferplus_clear", "ferplus_majority", "ferplus_no_face",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of each row of a data set, in the original order of its file.

    Args:
        name: of the data set.
        label_set: what ``labels`` mean.
        split_names: what ``splits`` mean.
        labels: uint8 (N,).
        splits: uint8 (N,), index into ``split_names``.
        groups: int32 (N,), numbered by first appearance; equal number = exactly equal image.
        ferplus_plurality: uint8 (N,), the FER2013 expression with the most of the ten FER+ votes; ties go to the
            lower id; 255 where nobody voted for any of the seven.
        ferplus_clear: bool (N,), that expression has more than half of all votes.
        ferplus_majority: uint8 (N,), id in the label set ``ferplus`` by that project's majority rule (single votes
            dropped, then more than half); 255 where the rule gives none of the eight expressions.
        ferplus_no_face: uint8 (N,), how many of the ten FER+ raters saw no face.
        photographs: int32 (P, 2), pairs of rows that are one photograph with other pixels: near copies, and other cuts
            of it. Of each group of exact copies the first row stands for all.
    """

    name: str
    label_set: LabelSet
    split_names: tuple[str, ...]
    labels: NDArray[np.uint8]
    splits: NDArray[np.uint8]
    groups: NDArray[np.int32]
    ferplus_plurality: NDArray[np.uint8]
    ferplus_clear: NDArray[np.bool_]
    ferplus_majority: NDArray[np.uint8]
    ferplus_no_face: NDArray[np.uint8]
    photographs: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.labels)

    def rows(self, split: str) -> NDArray[np.int64]:
        """Row numbers of a split, ascending, int64 (n,).

        Example:
            >>> len(load("fer2013").rows("PrivateTest"))
            3589
        """
        if split not in self.split_names:
            raise UnknownNameError(f"{self.name} has no split {split!r}; {suggestion(split, self.split_names)}")
        return np.flatnonzero(self.splits == self.split_names.index(split))

    def has_copy_in(self, *splits: str) -> NDArray[np.bool_]:
        """For each row, whether an exactly equal image lies in one of the named splits, bool (N,).

        Example:
            >>> facts = load("fer2013")
            >>> int(facts.has_copy_in("Training")[facts.rows("PrivateTest")].sum())
            288
        """
        there = np.zeros(int(self.groups.max()) + 1, dtype=bool)
        for split in splits:
            there[self.groups[self.rows(split)]] = True
        return there[self.groups]

    def has_photograph_in(self, *splits: str) -> NDArray[np.bool_]:
        """For each row, whether one of the named splits holds the same photograph: an exact copy, a near one, or
        another cut of it; bool (N,). What counts as one is what `mien data audit` found (correlation after alignment
        of at least 0.98).

        Example:
            >>> facts = load("fer2013")
            >>> int(facts.has_photograph_in("Training", "PublicTest")[facts.rows("PrivateTest")].sum())
            988
        """
        wanted = [self.split_names.index(split) for split in splits]
        there = np.zeros(int(self.groups.max()) + 1, dtype=bool)
        there[self.groups[np.isin(self.splits, wanted)]] = True
        found = there.copy()
        for one, two in (self.photographs.T, self.photographs.T[::-1]):
            found[self.groups[one[there[self.groups[two]]]]] = True
        result: NDArray[np.bool_] = found[self.groups]
        return result


@functools.cache
def load(name: str) -> Facts:
    """The facts of a data set; the arrays are read-only.

    Args:
        name: ``fer2013``.

    Raises:
        UnknownNameError: the package carries no facts of that data set.

    Example:
        >>> facts = load("fer2013")
        >>> len(facts), facts.split_names, facts.label_set[int(facts.labels[0])]
        (35887, ('Training', 'PublicTest', 'PrivateTest'), 'angry')
    """
    if name != "fer2013":
        raise UnknownNameError(f"there are no facts of a data set {name!r}; {suggestion(name, ['fer2013'])}")
    arrays = read_arrays(Path(__file__).with_name("fer2013.npz"), _MEMBERS)
    labels = arrays["labels"].astype(np.uint8)
    facts = Facts(
        name="fer2013",
        label_set=FER2013,
        split_names=("Training", "PublicTest", "PrivateTest"),
        labels=labels,
        splits=arrays["splits"].astype(np.uint8),
        groups=groups_from_copies(len(labels), arrays["copies"].astype(np.int32)),
        ferplus_plurality=arrays["ferplus_plurality"].astype(np.uint8),
        ferplus_clear=np.unpackbits(arrays["ferplus_clear"].astype(np.uint8), count=len(labels)).astype(bool),
        ferplus_majority=arrays["ferplus_majority"].astype(np.uint8),
        ferplus_no_face=arrays["ferplus_no_face"].astype(np.uint8),
        photographs=read_arrays(Path(__file__).with_name("fer2013_photographs.npz"), ("pairs",))["pairs"].astype(
            np.int32
        ),
    )
    for array in vars(facts).values():
        if isinstance(array, np.ndarray):
            array.setflags(write=False)
    return facts


def groups_from_copies(count: int, copies: NDArray[np.int32]) -> NDArray[np.int32]:
    """Group numbers from the list of later copies.

    Args:
        count: number of rows.
        copies: int32 (k, 2): a row, and the first row with exactly the same image.

    Returns:
        int32 (count,), numbered by first appearance.

    Example:
        >>> groups_from_copies(5, np.array([[3, 1]], np.int32)).tolist()
        [0, 1, 2, 1, 3]
    """
    first = np.arange(count)
    first[copies[:, 0]] = copies[:, 1]
    return np.unique(first, return_inverse=True)[1].astype(np.int32)
