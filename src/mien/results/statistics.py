"""Intervals and tests: how far a number can be trusted, and whether one system really beats another.

Exact copies of an image stand or fall together, so it is groups of equal images that are resampled, never rows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import InputError
from mien.results.randomness import integers

REPLICATES = 2000
SEED = 2013
_KEPT = 10_000_000
_TAIL = 5


def bootstrap_interval(
    correct: ArrayLike,
    groups: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over rows, resampling groups (Efron & Tibshirani 1993, chapter 13).

    Args:
        correct: (n,), usually bool: whether each face was recognised.
        groups: int (n,), equal number = exactly equal image.
        level: share of repetitions in which such an interval holds the truth.
        replicates: number of resamples.
        seed: of the resampling.

    Returns:
        Lower and upper end.

    Example:
        >>> low, high = bootstrap_interval([True] * 70 + [False] * 30, np.arange(100))
        >>> 0.58 < low < 0.64 and 0.76 < high < 0.82
        True
    """
    found = bootstrap_intervals(np.asarray(correct)[None], groups, level=level, replicates=replicates, seed=seed)
    return float(found[0, 0]), float(found[0, 1])


def bootstrap_intervals(
    correct: ArrayLike,
    groups: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> NDArray[np.float64]:
    """`bootstrap_interval` of several systems on the same faces, for little more than the price of one.

    Args:
        correct: (systems, n).
        groups: int (n,).
        level: of the intervals.
        replicates: number of resamples.
        seed: of the resampling.

    Returns:
        float64 (systems, 2), lower and upper ends.

    Example:
        >>> bootstrap_intervals([[True] * 20, [False] * 20], np.arange(20)).tolist()
        [[1.0, 1.0], [0.0, 0.0]]
    """
    drawn, sizes = _drawn(np.asarray(correct, dtype=np.float64), groups, replicates, seed)
    ends: NDArray[np.float64] = np.quantile(drawn / sizes, [(1 - level) / 2, (1 + level) / 2], axis=1).T
    return ends


FEW = 30
"""Faces under which resampling tells too little: none of five recognised would have an interval from 0 to 0."""


def wilson_interval(share: float, faces: int, *, level: float = 0.95) -> tuple[float, float]:
    """Interval of a share of few faces (Wilson 1927): it is wide where they are few, also where none or all are right.

    Args:
        share: of faces that were recognised, 0–1.
        faces: how many there are, copies of one counted once.
        level: as of `bootstrap_interval`.

    Returns:
        Lower and upper end.

    Example:
        >>> [round(end, 3) for end in wilson_interval(0, 5)]
        [0.0, 0.434]
    """
    squared = NormalDist().inv_cdf((1 + level) / 2) ** 2 / faces
    centre, half = share + squared / 2, math.sqrt(squared * (share * (1 - share) + squared / 4))
    return max(0.0, (centre - half) / (1 + squared)), min(1.0, (centre + half) / (1 + squared))


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> float:
    """Two-sided exact McNemar test of two results on the same faces (McNemar 1947): the p-value.

    Only faces that exactly one of the two recognises matter. If neither were better, each such face would be a fair
    coin; the p-value is the chance of a split at least as uneven. It is computed with whole numbers.

    Args:
        correct_a: bool (n,).
        correct_b: bool (n,).

    Example:
        >>> mcnemar([1] * 8 + [0] * 2, [0] * 8 + [1] * 2)
        0.109375
    """
    a, b = np.asarray(correct_a, dtype=bool), np.asarray(correct_b, dtype=bool)
    if a.shape != b.shape or a.ndim != 1:
        raise InputError(f"two results are compared on the same faces, not on {a.shape} and {b.shape}")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    flips = only_a + only_b
    term = tail = 1
    for k in range(min(only_a, only_b)):
        term = term * (flips - k) // (k + 1)
        tail += term
    p: float = 2 * tail / 2**flips
    return min(1.0, p)


@dataclass(frozen=True)
class Difference:
    """The difference of two systems' accuracies.

    Args:
        difference: first minus second, -1–1.
        low: lower end of its interval.
        high: upper end.
        p: two-sided p-value of "no difference".
    """

    difference: float
    low: float
    high: float
    p: float


def paired_bootstrap(
    correct_a: ArrayLike,
    correct_b: ArrayLike,
    groups: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> Difference:
    """Compare two systems on the same faces, over several seeds each: both groups and seeds are resampled.

    Each resample draws groups of equal images, the same for both systems, and takes each system's mean over its seeds
    on them; to that it adds the mean deviation of as many seeds, drawn from each system's own. Seeds differ partly
    because each errs on other faces of this sample, which resampling faces covers already, so that part is taken out
    of their deviations; and they are widened by √(s / (s - 1)), without which few seeds would seem to vary less than
    they do. A system with one seed counts as that very run. A p-value beyond what so many resamples can resolve is that
    of a normal distribution as wide as they are; without it a large table could show nothing after Holm.

    Args:
        correct_a: bool (seeds of A, n).
        correct_b: bool (seeds of B, n).
        groups: int (n,).
        level: of the interval.
        replicates: number of resamples.
        seed: of the resampling.

    Example:
        >>> a = np.ones((2, 50), bool); b = a.copy(); b[:, :5] = False
        >>> d = paired_bootstrap(a, b, np.arange(50))
        >>> round(d.difference, 3), d.low > 0, d.p < 0.05
        (0.1, True, True)
    """
    both = paired_bootstraps([correct_a, correct_b], groups, level=level, replicates=replicates, seed=seed)
    return both[0, 1]


def paired_bootstraps(
    correct: Sequence[ArrayLike],
    groups: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = REPLICATES,
    seed: int = SEED,
) -> dict[tuple[int, int], Difference]:
    """`paired_bootstrap` of every two of several systems: what is drawn once serves them all.

    A system's sum over a resample is taken once, and pairs are differences of such sums.

    Args:
        correct: one bool (seeds, n) per system.
        groups: int (n,).
        level: of the intervals.
        replicates: number of resamples.
        seed: of the resampling.

    Returns:
        The pairs ``(i, j)`` with i < j, first minus second.

    Example:
        >>> right = np.arange(50) < [[50], [45], [40]]
        >>> [round(d.difference, 3) for d in paired_bootstraps(list(right), np.arange(50)).values()]
        [0.1, 0.2, 0.1]
    """
    systems = [np.atleast_2d(np.asarray(one, dtype=np.float64)) for one in correct]
    for one in systems[1:]:
        if one.shape[1] != systems[0].shape[1]:
            raise InputError(
                f"two systems are compared on the same faces, not on {systems[0].shape[1]} and {one.shape[1]}"
            )
    # Sums over seeds are whole numbers, so no order of adding them up changes a bit.
    drawn, sizes = _drawn(np.stack([one.sum(axis=0) for one in systems]), groups, replicates, seed)
    drawn /= np.array([[len(one)] for one in systems])
    means = [float(one.mean()) for one in systems]
    seeds = [_seed_deviations(one, groups) for one in systems]

    @functools.cache
    def deviation(system: int, before: int) -> NDArray[np.float64]:
        """How far its mean over as many seeds would lie from this one; ``before``: how many seeds drew before it."""
        deviations, scale = seeds[system]
        if not (count := len(deviations)):
            return np.zeros(replicates)
        draw = integers(seed + 1)
        draw(1, replicates, before)
        moved: NDArray[np.float64] = deviations[draw(count, replicates, count)].mean(axis=1) * scale
        return moved

    found = {}
    for i in range(len(systems) - 1):
        later = range(i + 1, len(systems))
        spread = (drawn[i] - drawn[i + 1 :]) / sizes
        for row, j in enumerate(later):
            spread[row] += deviation(i, 0) - deviation(j, len(seeds[i][0]))
        ends = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2], axis=1)
        tails = np.minimum((spread <= 0).sum(axis=1), (spread >= 0).sum(axis=1))
        widths = spread.std(axis=1)
        for row, j in enumerate(later):
            difference, tail, width = means[i] - means[j], int(tails[row]), float(widths[row])
            p = min(1.0, 2 * (tail + 1) / (replicates + 1))
            if tail < _TAIL and width > 0:
                p = min(p, math.erfc(abs(difference) / width / math.sqrt(2)))
            found[i, j] = Difference(difference, float(ends[0, row]), float(ends[1, row]), p)
    return found


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Holm's adjustment (1979): p-values of a whole table that may each be held against 0.05.

    Example:
        >>> holm([0.01, 0.04, 0.03]).tolist()
        [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(scaled, 1)
    return adjusted


def rank_intervals(
    scores: Sequence[float], adjusted: dict[tuple[int, int], float], *, alpha: float = 0.05
) -> list[tuple[int, int]]:
    """For each row the ranks it may truly have: 1 + those proven better, to all but those proven worse.

    With p-values adjusted over the whole table all intervals hold together with probability ≥ 1 - ``alpha``
    (Mogstad et al. 2024, section 3).

    Args:
        scores: one per row, higher is better.
        adjusted: adjusted p-value of each pair ``(i, j)`` with i < j.
        alpha: level at which a difference counts as proven.

    Example:
        >>> rank_intervals([0.74, 0.73, 0.60], {(0, 1): 0.4, (0, 2): 0.001, (1, 2): 0.002})
        [(1, 2), (1, 2), (3, 3)]
    """
    better, worse = [0] * len(scores), [0] * len(scores)
    for (i, j), p in adjusted.items():
        if p < alpha and scores[i] != scores[j]:
            winner, loser = (i, j) if scores[i] > scores[j] else (j, i)
            worse[winner] += 1
            better[loser] += 1
    return [(1 + b, len(scores) - w) for b, w in zip(better, worse, strict=True)]


def _seed_deviations(correct: NDArray[np.float64], groups: ArrayLike) -> tuple[NDArray[np.float64], float]:
    """How far each seed lies from their mean, none where none does; and their scale, without the sample of faces."""
    seeds, faces = correct.shape
    deviation = correct.mean(axis=1) - correct.mean()
    variance = (deviation**2).sum() / (seeds - 1) if seeds > 1 else 0.0
    if variance == 0:
        return np.zeros(0), 1.0
    residual = correct - correct.mean(axis=0) - deviation[:, None]
    by_group, _ = _per_group(residual.T, groups)
    of_faces = (by_group**2).sum() / ((seeds - 1) * faces**2)
    return deviation, math.sqrt(max(0.0, 1 - of_faces / variance) * seeds / (seeds - 1))


def _drawn(
    values: NDArray[np.float64], groups: ArrayLike, replicates: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (k, replicates) of values (k, n) over each resample, and how many faces it draws (replicates,)."""
    sums = np.column_stack(_per_group(values.T, groups))
    # Whole numbers that stay below 2²⁴ are exact in single precision, which takes half the time.
    whole = len(sums) * np.abs(sums).max() < 1 << 24 and bool((sums == np.rint(sums)).all())
    sums = sums.astype(np.float32 if whole else np.float64)
    drawn = np.concatenate([counts.astype(sums.dtype) @ sums for counts in _resampled(len(sums), replicates, seed)]).T
    return np.ascontiguousarray(drawn[:-1], np.float64), drawn[-1].astype(np.float64)


def _per_group(values: NDArray[np.float64], groups: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (groups, k) and sizes (groups,) of the rows (n, k) of each group."""
    members = np.asarray(groups)
    if members.shape != values.shape[:1] or not len(members):
        raise InputError(f"one group per face, at least one face: {members.shape} groups, {values.shape[0]} faces")
    number, sizes = np.unique(members, return_inverse=True, return_counts=True)[1:]
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, number, values)
    return sums, sizes.astype(np.float64)


def _resampled(groups: int, replicates: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """How often each group is drawn in each resample: uint8 (some replicates, groups), chunk after chunk."""
    counts = _counts_kept(groups, replicates, seed) if groups * replicates <= _KEPT else None
    step = max(1, 2_000_000 // groups)
    draw = integers(seed)
    for start in range(0, replicates, step):
        rounds = min(step, replicates - start)
        yield _counts(draw, groups, rounds) if counts is None else counts[start : start + rounds]


@functools.lru_cache(maxsize=16)  # every slice and expression of a protocol, so that no table draws twice
def _counts_kept(groups: int, replicates: int, seed: int) -> NDArray[np.uint8]:
    """The draws depend on the number of groups alone, so all results of a protocol share them."""
    return _counts(integers(seed), groups, replicates)


def _counts(draw: Callable[..., NDArray[np.int64]], groups: int, replicates: int) -> NDArray[np.uint8]:
    counts = np.empty((replicates, groups), dtype=np.uint8)
    for row in counts:
        row[:] = np.minimum(np.bincount(draw(groups, groups), minlength=groups), 255)
    return counts
