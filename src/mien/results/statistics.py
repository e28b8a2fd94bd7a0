"""Intervals and tests: how far a number can be trusted, and whether one system really beats another.

Exact copies of an image stand or fall together, so it is groups of equal images that are resampled, never rows.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

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
    sums = np.column_stack(_per_group(np.asarray(correct, dtype=np.float64)[:, None], groups))
    drawn = [counts @ sums for counts in _resampled(len(sums), replicates, seed)]
    parts = [sums_and_sizes[:, 0] / sums_and_sizes[:, 1] for sums_and_sizes in drawn]
    low, high = np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


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
    a, b = (np.atleast_2d(np.asarray(side, dtype=np.float64)) for side in (correct_a, correct_b))
    if a.shape[1] != b.shape[1]:
        raise InputError(f"two systems are compared on the same faces, not on {a.shape[1]} and {b.shape[1]}")
    sums = np.column_stack(_per_group((a.mean(axis=0) - b.mean(axis=0))[:, None], groups))
    drawn = np.concatenate([counts @ sums for counts in _resampled(len(sums), replicates, seed)])
    draw = integers(seed + 1)
    spread = drawn[:, 0] / drawn[:, 1]
    spread += _seed_deviation(a, groups, replicates, draw) - _seed_deviation(b, groups, replicates, draw)
    low, high = np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])
    tail = min(int((spread <= 0).sum()), int((spread >= 0).sum()))
    p = min(1.0, 2 * (tail + 1) / (replicates + 1))
    if tail < _TAIL and (sd := float(spread.std())) > 0:
        p = min(p, math.erfc(abs(float(a.mean() - b.mean())) / sd / math.sqrt(2)))
    return Difference(float(a.mean() - b.mean()), float(low), float(high), p)


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


def _seed_deviation(
    correct: NDArray[np.float64], groups: ArrayLike, replicates: int, draw: Callable[..., NDArray[np.int64]]
) -> NDArray[np.float64]:
    """How far a mean over as many seeds would lie from this one, for reasons other than the sample of faces."""
    seeds, faces = correct.shape
    deviation = correct.mean(axis=1) - correct.mean()
    variance = (deviation**2).sum() / (seeds - 1) if seeds > 1 else 0.0
    if variance == 0:
        return np.zeros(replicates)
    residual = correct - correct.mean(axis=0) - deviation[:, None]
    by_group, _ = _per_group(residual.T, groups)
    of_faces = (by_group**2).sum() / ((seeds - 1) * faces**2)
    scale = np.sqrt(max(0.0, 1 - of_faces / variance) * seeds / (seeds - 1))
    drawn: NDArray[np.float64] = deviation[draw(seeds, replicates, seeds)].mean(axis=1) * scale
    return drawn


def _per_group(values: NDArray[np.float64], groups: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums (groups, k) and sizes (groups,) of the rows (n, k) of each group."""
    members = np.asarray(groups)
    if members.shape != values.shape[:1] or not len(members):
        raise InputError(f"one group per face, at least one face: {members.shape} groups, {values.shape[0]} faces")
    number, sizes = np.unique(members, return_inverse=True, return_counts=True)[1:]
    sums = np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums, number, values)
    return sums, sizes.astype(np.float64)


def _resampled(groups: int, replicates: int, seed: int) -> Iterator[NDArray[np.float64]]:
    """How often each group is drawn in each resample: float64 (some replicates, groups), chunk after chunk."""
    counts = _counts_kept(groups, replicates, seed) if groups * replicates <= _KEPT else None
    step = max(1, 2_000_000 // groups)
    draw = integers(seed)
    for start in range(0, replicates, step):
        rounds = min(step, replicates - start)
        chunk = _counts(draw, groups, rounds) if counts is None else counts[start : start + rounds]
        yield chunk.astype(np.float64)


@functools.lru_cache(maxsize=16)  # every slice and expression of a protocol, so that no table draws twice
def _counts_kept(groups: int, replicates: int, seed: int) -> NDArray[np.uint8]:
    """The draws depend on the number of groups alone, so all results of a protocol share them."""
    return _counts(integers(seed), groups, replicates)


def _counts(draw: Callable[..., NDArray[np.int64]], groups: int, replicates: int) -> NDArray[np.uint8]:
    counts = np.empty((replicates, groups), dtype=np.uint8)
    for row in counts:
        row[:] = np.minimum(np.bincount(draw(groups, groups), minlength=groups), 255)
    return counts
