"""Several results side by side: who is better, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import ResultError
from mien.results.protocols import Answers
from mien.results.schema import Result
from mien.results.statistics import (
    FEW,
    bootstrap_intervals,
    holm,
    mcnemar,
    paired_bootstraps,
    rank_intervals,
    wilson_interval,
)


@dataclass(frozen=True)
class Share:
    """A share of faces that were recognised, with its 95 % interval: by resampling, or of few faces Wilson's.

    Args:
        value: 0–1, mean over seeds.
        low: lower end.
        high: upper end.
        faces: number of faces it is about.
    """

    value: float
    low: float
    high: float
    faces: int


@dataclass(frozen=True)
class Row:
    """One system of a comparison: one result, or several that differ in their seed.

    Args:
        name: of the row, unique in the comparison.
        ids: of its results.
        accuracy: on the split that is compared.
        spread: standard deviation of the accuracy over seeds; None with one seed.
        rank: lowest and highest rank it may truly have; None where nothing is ranked.
        slices: ``clean@1`` and the like, also those that no result records (``clean@2``).
        recall: for each expression.
        metrics: mean over seeds of the other recorded metrics that are single numbers.
        extra_data: data beyond the protocol.
    """

    name: str
    ids: tuple[str, ...]
    accuracy: Share
    spread: float | None
    rank: tuple[int, int] | None
    slices: dict[str, Share]
    recall: dict[str, Share]
    metrics: dict[str, float]
    extra_data: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two rows of a comparison.

    Args:
        better: name of the row with the higher accuracy (the first one where they are equal).
        worse: name of the other.
        difference: of their accuracies, ≥ 0.
        low: lower end of its 95 % interval.
        high: upper end.
        test: ``exact McNemar`` for two single results, else ``paired bootstrap``. McNemar's test takes every face for
            a trial of its own, also exact copies; the interval draws copies together.
        p: p-value of "no difference".
        adjusted: the same after Holm over all pairs of the comparison.
        only_better: faces that only the better recognises; None with several seeds.
        only_worse: faces that only the worse recognises.
    """

    better: str
    worse: str
    difference: float
    low: float
    high: float
    test: str
    p: float
    adjusted: float
    only_better: int | None
    only_worse: int | None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; rows in falling order of accuracy.

    Args:
        protocol: of all results.
        split: ``test``, or ``selection`` where a result has no scores on the test split.
        faces: number of faces.
        rows: one per system.
        pairs: every two rows.
    """

    protocol: str
    split: str
    faces: int
    rows: tuple[Row, ...]
    pairs: tuple[Pair, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values for programs."""
        return asdict(self)


def compare(results: Sequence[Result], *, split: str | None = None) -> Comparison:
    """Compare results of one protocol on the same faces.

    Results that differ in nothing but seed and weights are one row.

    Args:
        results: at least one.
        split: ``test`` or ``selection``; by default the test split if every result has it.

    Raises:
        ResultError: no result, results of different protocols or other faces, or no scores on that split.
    """
    if not results:
        raise ResultError("there is nothing to compare: name at least one result")
    if len({result.protocol for result in results}) > 1:
        names = ", ".join(sorted({result.protocol for result in results}))
        raise ResultError(f"results of different protocols cannot be compared: {names}")
    if len({result.id for result in results}) < len(results):
        raise ResultError("a result is named twice; compare different ones")
    if split not in (None, "test", "selection"):
        raise ResultError(f"a comparison is of the test or the selection split, not of {split!r}")
    side = split or ("test" if all(result.test is not None for result in results) else "selection")
    answers = _common_answers(results, side)
    grouped = _group(results)
    correct = {name: np.stack([_correct(r, side) for r in members]) for name, members in grouped.items()}
    order = sorted(grouped, key=lambda name: -float(correct[name].mean()))
    pairs = _pairs(order, correct, answers)
    ranks = _ranks(order, correct, pairs) if side == "test" else {}
    shares = _shares([correct[name].mean(axis=0) for name in order], answers, results[0].labels)
    rows = tuple(
        _row(name, grouped[name], correct[name], found, side, ranks.get(name))
        for name, found in zip(order, shares, strict=True)
    )
    return Comparison(results[0].protocol, side, len(answers), rows, tuple(pairs))


def row_name(result: Result) -> str:
    """What sets a result apart from others, seeds aside, in words."""
    parts = [result.system]
    if result.kind != "run":
        parts.append(result.kind)
    if result.views not in ("one", "submitted"):
        parts.append(result.views)
    return " ".join(parts)


def group_by_system(results: Sequence[Result]) -> dict[tuple[str, ...], list[Result]]:
    """Results that differ in nothing but seed and weights, together, in order of appearance."""
    grouped: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        precision = str(result.environment.get("precision", ""))
        key: tuple[str, ...] = (
            result.protocol, result.system, result.kind, result.views, result.recipe_hash, precision,
            "|".join(sorted(result.extra_data)),
        )  # fmt: skip
        if result.seed is None:
            key = (*key, result.id)
        grouped.setdefault(key, []).append(result)
    for key, members in list(grouped.items()):
        seeds = [member.seed for member in members]
        if len(set(seeds)) < len(seeds):
            # The same seed twice is no second repetition: each result stands alone.
            del grouped[key]
            grouped |= {(*key, member.id): [member] for member in members}
    return grouped


def _group(results: Sequence[Result]) -> dict[str, list[Result]]:
    grouped = group_by_system(results)
    names = [row_name(members[0]) for members in grouped.values()]
    return {
        name if names.count(name) == 1 else f"{name} ({members[0].id[:6]})": members
        for name, members in zip(names, grouped.values(), strict=True)
    }


def _common_answers(results: Sequence[Result], side: str) -> Answers:
    found: Answers | None = None
    for result in results:
        answers = result.test if side == "test" else result.selection
        if answers is None:
            raise ResultError(f"result {result.id} of {result.system} has no scores on the {side} split")
        if found is not None and not (
            np.array_equal(found.rows, answers.rows) and np.array_equal(found.labels, answers.labels)
        ):
            raise ResultError(f"result {result.id} of {result.system} is about other faces than the first")
        found = found or answers
    assert found is not None
    return found


def _correct(result: Result, side: str) -> NDArray[np.bool_]:
    answers, scores = (
        (result.test, result.test_scores) if side == "test" else (result.selection, result.selection_scores)
    )
    assert answers is not None
    assert scores is not None
    correct: NDArray[np.bool_] = scores.argmax(axis=1) == answers.labels
    return correct


def _pairs(order: list[str], correct: dict[str, NDArray[np.bool_]], answers: Answers) -> list[Pair]:
    found: list[dict[str, Any]] = []
    spreads = paired_bootstraps([correct[name] for name in order], answers.groups)
    for (i, j), spread in spreads.items():
        better, worse = order[i], order[j]
        a, b = correct[better], correct[worse]
        single = len(a) == len(b) == 1
        found.append(
            {
                "better": better,
                "worse": worse,
                "difference": spread.difference,
                "low": spread.low,
                "high": spread.high,
                "test": "exact McNemar" if single else "paired bootstrap",
                "p": mcnemar(a[0], b[0]) if single else spread.p,
                "only_better": int((a[0] & ~b[0]).sum()) if single else None,
                "only_worse": int((b[0] & ~a[0]).sum()) if single else None,
            }
        )
    adjusted = holm([pair["p"] for pair in found])
    return [Pair(**pair, adjusted=float(p)) for pair, p in zip(found, adjusted, strict=True)]


def _ranks(order: list[str], correct: dict[str, NDArray[np.bool_]], pairs: list[Pair]) -> dict[str, tuple[int, int]]:
    at = {name: index for index, name in enumerate(order)}
    adjusted = {(at[pair.better], at[pair.worse]): pair.adjusted for pair in pairs}
    intervals = rank_intervals([float(correct[name].mean()) for name in order], adjusted)
    return dict(zip(order, intervals, strict=True))


def _row(
    name: str,
    results: list[Result],
    correct: NDArray[np.bool_],
    shares: dict[tuple[str, str], Share],
    side: str,
    rank: tuple[int, int] | None,
) -> Row:
    singles = [{key: value for key, value in result.metrics.items() if isinstance(value, float)} for result in results]
    wanted = [key for key in singles[0] if key.startswith("selection_") == (side == "selection")]
    return Row(
        name=name,
        ids=tuple(result.id for result in results),
        accuracy=shares["all", ""],
        spread=float(correct.mean(axis=1).std(ddof=1)) if len(results) > 1 else None,
        rank=rank,
        slices={key: share for (kind, key), share in shares.items() if kind == "slice"},
        recall={key: share for (kind, key), share in shares.items() if kind == "label"},
        metrics={key: float(np.mean([m[key] for m in singles])) for key in wanted if all(key in m for m in singles)},
        extra_data=results[0].extra_data,
    )


def _shares(
    per_face: list[NDArray[np.float64]], answers: Answers, label_set: Sequence[str]
) -> list[dict[tuple[str, str], Share]]:
    """For each row its shares of all faces, of every slice and of every expression, by kind and name.

    The faces of a part are resampled once for all rows.
    """
    slices = sorted({**answers.slices, **answers.shown_slices}.items())
    parts = {
        ("all", ""): np.ones(len(answers), dtype=bool),
        **{("slice", key): members for key, members in slices},
        **{("label", label): answers.labels == number for number, label in enumerate(label_set)},
    }
    found: list[dict[tuple[str, str], Share]] = [{} for _ in per_face]
    for part, members in parts.items():
        if not members.any():
            continue
        within, groups = np.stack([one[members] for one in per_face]), answers.groups[members]
        drawn = len(np.unique(groups))
        few = part != ("all", "") and drawn < FEW
        # What was never seen cannot be drawn: where all or none are right, every resample says the same.
        intervals = [
            list(wilson_interval(float(one.mean()), drawn)) if few or one.mean() in (0, 1) else drawn_interval
            for one, drawn_interval in zip(within, bootstrap_intervals(within, groups).tolist(), strict=True)
        ]
        for shares, one, (low, high) in zip(found, within, intervals, strict=True):
            shares[part] = Share(float(one.mean()), low, high, int(members.sum()))
    return found
