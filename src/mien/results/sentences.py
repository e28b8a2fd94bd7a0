"""A comparison in words: one sentence for each number, for readers who never took a course in statistics."""

from __future__ import annotations

import math

from mien.results.comparison import Comparison, Pair, Row, Share

ALPHA = 0.05


def sentences(comparison: Comparison) -> list[str]:
    """What every number of a comparison means, in the order of its tables.

    Returns:
        Plain text, one sentence or two per entry.
    """
    where = "test" if comparison.split == "test" else "selection"
    said: list[str] = []
    if where == "selection":
        said.append(
            "These are figures of the selection split, on which choices were made: they are too good and never ranked."
        )
    for row in comparison.rows:
        said += _about(row)
    for pair in comparison.pairs:
        said.append(_about_pair(pair, len(comparison.pairs)))
    if len(comparison.rows) > 1:
        said += [_about_rank(row, len(comparison.rows)) for row in comparison.rows if row.rank is not None]
    return said


def _about(row: Row) -> list[str]:
    name, seeds = row.name, len(row.ids)
    runs = f"on average over {seeds} trainings, " if seeds > 1 else ""
    said = [
        f"{name}: {runs}{_of_100(row.accuracy)} faces get the expression they are labelled with. With other faces of "
        f"the same kind the figure would probably lie between {_number(row.accuracy.low)} and "
        f"{_number(row.accuracy.high)} (95 % interval)."
    ]
    if row.spread is not None:
        said.append(
            f"{name}: trained again with another seed, the accuracy typically moves by {100 * row.spread:.1f} points "
            f"(standard deviation over {seeds} seeds)."
        )
    for key, share in row.slices.items():
        said.append(_about_slice(name, key, share, row.accuracy))
    if row.recall:
        best = max(row.recall, key=lambda label: row.recall[label].value)
        worst = min(row.recall, key=lambda label: row.recall[label].value)
        said.append(
            f"{name}: it finds {_of_100(row.recall[best])} {best} faces but only {_of_100(row.recall[worst])} {worst} "
            f"faces (between {_number(row.recall[worst].low)} and {_number(row.recall[worst].high)}; there are "
            f"{row.recall[worst].faces})."
        )
    return said + _about_metrics(name, row.metrics)


def _about_slice(name: str, key: str, share: Share, whole: Share) -> str:
    change = 100 * (share.value - whole.value)
    compared = (
        "as on all faces"
        if abs(change) < 0.05
        else f"{abs(change):.1f} {'more' if change > 0 else 'fewer'} than on all"
    )
    what = {
        "clean@1": f"On the {share.faces:,} test faces that are no exact copy of a face seen before",
        "clean@2": f"On the {share.faces:,} test faces whose photograph was not seen before, in whatever cut",
        "ferplus-clear@1": f"On the {share.faces:,} faces where more than half of ten people agree on the expression",
    }.get(key, f"On the {share.faces:,} faces of {key}")
    return f"{name}: {what[0].lower()}{what[1:]}, {_of_100(share)} are right, {compared}."


def _about_metrics(name: str, metrics: dict[str, float]) -> list[str]:
    said = []
    if "balanced_accuracy" in metrics:
        said.append(
            f"{name}: if every expression were equally frequent, {_number(metrics['balanced_accuracy'])} of 100 faces "
            "would be right (balanced accuracy)."
        )
    macro = metrics.get("macro_f1", metrics.get("selection_macro_f1"))
    if macro is not None:
        said.append(
            f"{name}: macro-F1 is {_number(macro)} of 100: hits weighed against misses and false alarms, with every "
            "expression counting alike."
        )
    if "nll" in metrics:
        said.append(
            f"{name}: it typically gives the right expression a probability of {_number(math.exp(-metrics['nll']))} % "
            f"(NLL {metrics['nll']:.3f}; 0 would be certainty)."
        )
    if "brier" in metrics:
        said.append(
            f"{name}: its Brier score is {metrics['brier']:.3f}, where 0 is perfect and guessing all alike gives about "
            "0.86."
        )
    if "ece" in metrics:
        said.append(_about_calibration(name, metrics))
    return said


def _about_calibration(name: str, metrics: dict[str, float]) -> str:
    off, floor = 100 * metrics["ece"], 100 * metrics.get("ece_noise_floor", 0.0)
    text = f"{name}: its stated confidence is off by {off:.1f} points on average (ECE); "
    if off <= floor:
        text += (
            f"even perfect probabilities would seem off by up to {floor:.1f} with so few faces, so no fault is shown."
        )
    else:
        text += f"perfect probabilities would hardly seem off by more than {floor:.1f}, so the confidence is not exact."
    if "ece_raw" in metrics:
        text += f" Before calibration it was {100 * metrics['ece_raw']:.1f}."
    return text


def _about_pair(pair: Pair, pairs: int) -> str:
    if pair.difference == 0:
        return f"{pair.better} and {pair.worse} are right equally often."
    text = (
        f"{pair.better} is right on {100 * pair.difference:.1f} of 100 faces more than {pair.worse} (probably between "
        f"{100 * pair.low:+.1f} and {100 * pair.high:+.1f})."
    )
    if pair.only_better is not None:
        text += (
            f" {pair.only_better:,} faces only {pair.better} recognises, {pair.only_worse:,} only {pair.worse} (exact "
            "copies of a face count as faces of their own here, which makes the test a little too sure)."
        )
    text += f" If neither were better, so uneven a result would come up {_chance(pair.p)}"
    if pairs > 1:
        text += f" (counting that {pairs} pairs are compared: p = {_p(pair.adjusted)})"
    if pair.adjusted < ALPHA:
        return f"{text}, so the difference is significant at the {100 * ALPHA:.0f} % level."
    return f"{text}, so these faces do not show which is better."


def _about_rank(row: Row, rows: int) -> str:
    assert row.rank is not None
    low, high = row.rank
    if low == high:
        return f"{row.name}: place {low} of {rows}; each difference to the others is significant."
    return f"{row.name}: its true place is anywhere from {low} to {high} of {rows}."


def _chance(p: float) -> str:
    if p >= 0.095:
        return f"in {round(10 * p)} of 10 comparisons" if p < 0.95 else "nearly always"
    if p >= 0.0095:
        return f"in {round(100 * p)} of 100 comparisons"
    if p >= 0.00095:
        return f"in {round(1000 * p)} of 1,000 comparisons"
    return "in fewer than 1 of 1,000 comparisons"


def _p(p: float) -> str:
    return f"{p:.3f}" if p >= 0.001 else "below 0.001"


def _of_100(share: Share) -> str:
    return f"{_number(share.value)} of 100"


def _number(share: float) -> str:
    return f"{100 * share:.1f}"
