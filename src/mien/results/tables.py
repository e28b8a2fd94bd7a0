"""Recorded results as tables for readers: Markdown, and rows of text for whoever draws them."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mien.errors import InputError
from mien.registry import suggestion
from mien.results import protocols
from mien.results.comparison import Comparison, Share, compare, group_by_system
from mien.results.ledger import Ledger
from mien.results.provenance import trained_with, training_words
from mien.results.schema import Result
from mien.results.scoring import METRICS
from mien.results.validation import KINDS

_MEASURES = {
    "views": "view",
    "accuracy": "accuracy on the test split",
    "accuracy_ci95": "95 %",
    "slice.clean@1": "clean@1",
    "slice.clean@2": "clean@2",
    "macro_f1": "macro-F1",
    "recall": "",
    "nll": "NLL",
    "ece": "ECE",
    "selection_accuracy": "accuracy on the selection split, not ranked",
    "recipe.name": "recipe",
    "start": "began from",
    "teacher": "taught by",
    "cost.epochs": "epochs, from there",
    "cost.input": "input",
    "cost.params": "parameters",
    "cost.macs": "multiply-accumulates",
    "weights": "weights",
    "trained": "trained with",
    "id": "result",
}
"""What `measured` shows of a result, as `value` names it, and how a reader knows it; ``recall`` is a row per label."""


@dataclass(frozen=True)
class Table:
    """A heading and rows of text.

    Args:
        columns: heading of each column.
        rows: as many texts each.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        r"""The table in Markdown; what could be markup in a text is escaped.

        Example:
            >>> print(Table(("system", "accuracy"), (("a|<b>", "70.0 %"),)).markdown())
            | system | accuracy |
            |---|---|
            | a\|&lt;b&gt; | 70.0 % |
        """
        lines = [self.columns, tuple("---" for _ in self.columns), *self.rows]
        text = ["| " + " | ".join(map(escape, line)) + " |" for line in lines]
        text[1] = text[1].replace(" ", "")
        return "\n".join(text)


def escape(text: str) -> str:
    r"""Text that Markdown and HTML show as it is.

    Example:
        >>> print(escape("<b>*x* [a](b)"))
        &lt;b&gt;\*x\* [a]\(b)
    """
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for special in "\\`*|":
        text = text.replace(special, "\\" + special)
    text = text.replace("](", "]\\(")
    return " ".join(text.split())


def comparison_table(comparison: Comparison) -> Table:
    """The rows of a comparison: accuracy, interval, spread over seeds, rank, slices, calibration."""
    slices = [key for key in comparison.rows[0].slices if all(key in row.slices for row in comparison.rows)]
    ranked = any(row.rank for row in comparison.rows)
    columns = ["rank"] * ranked + ["system", "accuracy", "95 %", "± seeds", *slices, "macro-F1", "NLL", "ECE", "noise"]
    rows = []
    for row in comparison.rows:
        macro = row.metrics.get("macro_f1", row.metrics.get("selection_macro_f1"))
        rows.append(
            (
                *([_range(row.rank)] if ranked else []),
                row.name,
                percent(row.accuracy.value),
                _interval(row.accuracy),
                "–" if row.spread is None else f"{100 * row.spread:.1f} ({len(row.ids)})",
                *(percent(row.slices[key].value) for key in slices),
                percent(macro),
                _decimal(row.metrics.get("nll")),
                percent(row.metrics.get("ece")),
                percent(row.metrics.get("ece_noise_floor")),
            )
        )
    return Table(tuple(columns), tuple(rows))


def recall_table(comparison: Comparison) -> Table:
    """Recall of each expression, with its interval."""
    labels = list(comparison.rows[0].recall)
    return Table(
        ("expression", "faces", *(row.name for row in comparison.rows)),
        tuple(
            (
                label,
                f"{comparison.rows[0].recall[label].faces:,}",
                *(f"{percent(row.recall[label].value)} {_interval(row.recall[label])}" for row in comparison.rows),
            )
            for label in labels
        ),
    )


def pair_table(comparison: Comparison) -> Table:
    """Every pair of rows: difference, interval, test, p-values."""
    return Table(
        ("better", "worse", "points", "95 %", "test", "p", "p (Holm)"),
        tuple(
            (
                pair.better,
                pair.worse,
                f"{100 * pair.difference:.1f}",
                f"[{100 * pair.low:.1f}, {100 * pair.high:.1f}]",
                pair.test,
                p_value(pair.p),
                p_value(pair.adjusted),
            )
            for pair in comparison.pairs
        ),
    )


def confusion_table(result: Result) -> Table:
    """Counts of a result: one line per label, one column per prediction, and the recall."""
    rows: list[tuple[str, ...]] = []
    for label, counts in zip(result.labels, result.confusion, strict=True):
        faces = sum(counts)
        recall = counts[len(rows)] / faces if faces else None
        rows.append((label, *(f"{count:,}" for count in counts), f"{faces:,}", percent(recall)))
    return Table(("label ↓ predicted →", *result.labels, "faces", "recall"), tuple(rows))


def difference_table(found: Mapping[str, tuple[Any, Any]], names: tuple[str, str], labels: Sequence[str]) -> Table:
    """What differs between two results, narrow enough for a terminal: one row per expression, hashes cut short.

    Args:
        found: of `difference`.
        names: of the two results, as headings.
        labels: expressions of the results.

    Example:
        >>> difference_table({"metrics.recall": ((0.5, 0.25), (0.5, 0.75))}, ("a", "b"), ("angry", "happy")).rows
        (('recall.happy', '0.25', '0.75'),)
    """
    rows: list[tuple[str, ...]] = []
    for key, values in found.items():
        name = key.removeprefix("metrics.")
        lists = [value for value in values if isinstance(value, list | tuple)]
        if len(lists) == 2 and all(len(one) == len(labels) for one in lists):
            rows += [
                (f"{name}.{label}", _cell(a), _cell(b)) for label, a, b in zip(labels, *lists, strict=True) if a != b
            ]
        else:
            rows.append((name, *map(_cell, values)))
    return Table(("field", *(name.rpartition("/")[2][:24] for name in names)), tuple(rows))


def _cell(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    said = str(value)
    return f"{said[:16]}…" if len(said) == 64 and not said.strip("0123456789abcdef") else said


def list_table(results: Iterable[Result]) -> Table:
    """One line per result of a protocol; one of the selection split alone says so, and is never ranked."""
    return Table(
        ("id", "system", "accuracy", "kind", "view", "seed", "macro-F1", "clean@1", "trained with", "measured with"),
        tuple(
            (
                r.id,
                r.system,
                _headline_accuracy(r),
                r.kind,
                r.views,
                "–" if r.seed is None else str(r.seed),
                percent(r.metrics.get("macro_f1")),
                percent(r.metrics.get("accuracy_clean")),
                r.training_words,
                training_words(trained_with({"commit": r.commit, "dirty": r.dirty})),
            )
            for r in results
        ),
    )


def _headline_accuracy(result: Result) -> str:
    split, of = ("", "") if result.test is not None else ("selection_", " on selection")
    low, high = result.metrics[f"{split}accuracy_ci95"]
    return f"{percent(result.metrics[f'{split}accuracy'])} [{100 * low:.1f}, {100 * high:.1f}]{of}"


def ranking(results: Sequence[Result], openings: Mapping[str, int], protocol: str) -> Table:
    """The results of a protocol on its test split, best first, with rank intervals and openings.

    ``›`` marks the system that the selection split prefers: the headline, chosen without the test split.
    """
    tested = [r for r in results if r.protocol == protocol and r.test is not None]
    columns = ("rank", "system", "view", "kind", "seeds", "accuracy", "95 %", "clean@1", "clean@2", "macro-F1", "NLL",
               "ECE", "extra data", "openings", "trained with")  # fmt: skip
    if not tested:
        return Table(columns, ())
    grouped = {tuple(sorted(r.id for r in members)): members for members in group_by_system(tested).values()}
    headline = _headline(grouped.values())
    rows = []
    for row in compare(tested, split="test").rows:
        members = grouped[tuple(sorted(row.ids))]
        first = members[0]
        accuracy = percent(row.accuracy.value)
        rows.append(
            (
                _range(row.rank),
                ("› " if members is headline else "") + first.system,
                first.views,
                first.kind,
                str(len(members)),
                accuracy if row.spread is None else f"{accuracy} ± {100 * row.spread:.1f}",
                _interval(row.accuracy),
                *(percent(row.slices[key].value) if key in row.slices else "–" for key in ("clean@1", "clean@2")),
                percent(row.metrics.get("macro_f1")),
                _decimal(row.metrics.get("nll")),
                percent(row.metrics.get("ece")),
                ", ".join(row.extra_data) or "none",
                str(openings.get(first.system, 0)),
                ", ".join(dict.fromkeys(member.training_words for member in members)),
            )
        )
    return Table(columns, tuple(rows))


def measured(results: Sequence[Result], protocol: str, system: str) -> Table:
    """What was measured of one system, one column per kind of result and recipe (of bundles, per view); ours alone.

    A column holds the result that the selection split prefers; a row that no column can fill is left out.
    """
    columns: dict[str, Result] = {}
    for kind in (kind for kind in KINDS if kind != "submitted"):
        of_kind = [r for r in results if (r.protocol, r.system, r.kind) == (protocol, system, kind)]
        recipes = {str(result.recipe.get("name", "")) for result in of_kind}
        alike: dict[str, list[Result]] = {}
        for result in of_kind:
            parts = [kind, str(result.recipe.get("name", "")) if len(recipes) > 1 else ""]
            heading = ", ".join(part for part in (*parts, result.views if kind == "bundle" else "") if part)
            alike.setdefault(heading, []).append(result)
        columns |= {heading: best for heading, of in alike.items() if (best := preferred(of)) is not None}
    labels = list(dict.fromkeys(label for best in columns.values() for label in best.labels))
    names = [*_MEASURES]
    names[names.index("recall") : names.index("recall") + 1] = [f"recall.{label}" for label in labels]
    rows = []
    for name in names:
        cells = [value(best, name) if _has(best, name) else "–" for best in columns.values()]
        if any(cell != "–" for cell in cells):
            rows.append((_MEASURES.get(name) or name.replace(".", ", "), *cells))
    return Table(("", *columns), tuple(rows))


def _has(result: Result, name: str) -> bool:
    group, _, key = name.partition(".")
    return {"cost": key in result.cost, "recipe": key in result.recipe}.get(group, True)


def selections(results: Sequence[Result], protocol: str) -> Table:
    """Figures of the selection split, labelled as such, in order of the systems' names."""
    chosen = [r for r in results if r.protocol == protocol and r.selection is not None]
    return Table(
        ("system", "view", "kind", "seed", "accuracy on selection", "95 %"),
        tuple(
            (
                r.system,
                r.views,
                r.kind,
                "–" if r.seed is None else str(r.seed),
                percent(r.metrics["selection_accuracy"]),
                "[{:.1f}, {:.1f}]".format(*(100 * x for x in r.metrics["selection_accuracy_ci95"])),
            )
            for r in sorted(chosen, key=lambda r: (r.system, r.kind, r.views, -1 if r.seed is None else r.seed))
        ),
    )


def openings(ledger: Ledger) -> Table:
    """How often each system had a sealed split opened."""
    counted: dict[tuple[str, str, str], int] = {}
    for opening in ledger.openings():
        key = (opening.protocol, opening.split, opening.system)
        counted[key] = counted.get(key, 0) + 1
    return Table(
        ("protocol", "split", "system", "openings"),
        tuple((*key, str(count)) for key, count in sorted(counted.items())),
    )


def protocol_table() -> Table:
    """All protocols and how many faces they are about."""
    rows = []
    for name in protocols.names():
        protocol = protocols.get(name)
        faces = "yours" if protocol.answers is None else f"{len(protocol.test):,}"
        sealed = "sealed" if protocol.sealed else "open"
        rows.append((name, protocol.title, faces, f"{protocol.test_split} ({sealed})"))
    return Table(("protocol", "what", "test faces", "tested on"), tuple(rows))


def preferred(results: Iterable[Result]) -> Result | None:
    """The result that the selection split prefers, the older one where two are level.

    Those whose test split stayed sealed come after all others: they have no figure to show.
    """

    def order(result: Result) -> tuple[bool, float, str, str]:
        return result.test is None, -result.metrics.get("selection_accuracy", -1.0), result.created, result.id

    return min(results, key=order, default=None)


def value(result: Result, name: str) -> str:
    """One number of a result as text: ``accuracy``, ``accuracy_ci95``, ``recall.happy``, ``cost.params``, ``system``.

    ``slice.clean@2`` is the accuracy on a slice of the test split, ``slice.clean@2.ci95`` its interval and
    ``slice.clean@2.faces`` its size, also of slices that no result records.
    ``weights`` are the first digits of their hash, ``start`` says what the training began from, and ``network`` how
    large the network was that was measured, which recipes may choose; ``training`` is the recipe and its epochs,
    ``teacher`` that of a distillation.

    Raises:
        InputError: no result has a number of that name.
    """
    if name.startswith("recall.") and (label := name.removeprefix("recall.")) in result.labels:
        shares = result.metrics.get("recall")
        return percent(shares[result.labels.index(label)]) if shares else "–"
    if name.startswith("slice."):
        return _slice(result, *name.removeprefix("slice.").partition(".")[::2])
    if name == "weights":
        return result.weights_sha256[:8] or "–"
    if name == "trained":
        return escape(result.training_words)
    if name == "start":
        return _start(result)
    if name == "teacher":
        taught = result.recipe.get("distill", {}).get("teacher", "")
        return f"weights {taught[:8]}" if taught else "nobody" if "params" in result.cost else "–"
    if name == "training":
        known = [str(result.recipe.get("name", "")), epochs_in_words(result)]
        known += [f"view {result.views}"] if result.views not in ("one", "members") else []
        return ", ".join(escape(text) for text in known if text) or "–"
    if name == "network":
        known = [f"{result.cost['params']:,} parameters"] if "params" in result.cost else []
        return ", ".join([*([value(result, "cost.input")] if "input" in result.cost else []), *known]) or "–"
    found: Any = result.metrics.get(name)
    if found is None and name in METRICS:
        return "–"
    if found is None:
        found = result.to_json()
        for part in name.split("."):
            if not isinstance(found, dict) or part not in found:
                known = [*METRICS, "id", "trained", "system", "seed", "views", *(f"cost.{key}" for key in result.cost)]
                raise InputError(f"result {result.id} has no {name!r}; {suggestion(name, known)}")
            found = found[part]
    last = name.split(".")[-1]
    if last == "input":
        return " × ".join(map(str, found))
    if isinstance(found, list) and len(found) == 2 and last.endswith("ci95"):
        return f"[{100 * found[0]:.1f}, {100 * found[1]:.1f}]"
    if isinstance(found, float) and any(word in last for word in ("accuracy", "f1", "ece", "coverage")):
        return percent(found)
    if found is None:
        return "–"
    if isinstance(found, bool) or not isinstance(found, int | float):
        return escape(", ".join(map(str, found)) if isinstance(found, list) else str(found))
    return f"{found:,}" if isinstance(found, int) else f"{found:.3f}"


def epochs_in_words(result: Result) -> str:
    """How many, and at which sizes where stages began with smaller faces.

    "more" is said where the training went on from other weights, which had epochs of their own; nothing of a result
    without epochs.
    """
    epochs = result.cost.get("epochs")
    if not epochs:
        return ""
    fresh = (result.recipe.get("start") or {"kind": "fresh"})["kind"] == "fresh"
    text = f"{epochs}{'' if fresh else ' more'} epoch{'s' * (epochs != 1)}"
    stages = result.recipe.get("stages") or []
    sizes = [{**result.recipe.get("augment", {}), **stage.get("augment", {})}.get("size") for stage in stages]
    own = result.recipe.get("input", {}).get("size")
    if not any(sizes) or sum(stage["epochs"] for stage in stages) != epochs:
        return text
    by_size = itertools.groupby(zip(stages, sizes, strict=True), key=lambda pair: pair[1] or own)
    parts = [f"{sum(stage['epochs'] for stage, _ in group)} at {size} px" for size, group in by_size]
    return f"{text} ({', '.join(parts)})"


def _start(result: Result) -> str:
    """What a network began from; recipes say it since one of them begins from another run."""
    start = result.recipe.get("start")
    if not start:
        return "random weights" if "params" in result.cost else "–"
    return {"run": f"weights {start.get('weights', '')[:8]} of an earlier run", "fresh": "random weights"}.get(
        start["kind"], f"{start['kind']} weights"
    )


@functools.lru_cache(maxsize=16)  # a page asks for the share, the interval and the faces of every slice
def _slices(result: Result) -> Mapping[str, Share]:
    return compare([result]).rows[0].slices


def _slice(result: Result, name: str, what: str) -> str:
    if result.test is None:
        return "–"
    known = _slices(result)
    if name not in known or what not in ("", "ci95", "faces"):
        raise InputError(f"result {result.id} has no slice {name!r}; {suggestion(name, known)}")
    return {"": percent(known[name].value), "ci95": _interval(known[name]), "faces": f"{known[name].faces:,}"}[what]


def percent(share: float | None) -> str:
    """A share as a percentage with one decimal.

    Example:
        >>> percent(0.7316), percent(None)
        ('73.2 %', '–')
    """
    return "–" if share is None else f"{100 * share:.1f} %"


def p_value(p: float) -> str:
    """A p-value with three decimals.

    Example:
        >>> p_value(0.0421), p_value(1e-9)
        ('0.042', '< 0.001')
    """
    return f"{p:.3f}" if p >= 0.001 else "< 0.001"


def _headline(groups: Iterable[list[Result]]) -> list[Result] | None:
    def preference(members: list[Result]) -> float:
        return float(np.mean([r.metrics.get("selection_accuracy", -1.0) for r in members]))

    own: Callable[[list[Result]], bool] = lambda members: members[0].kind != "submitted"  # noqa: E731
    return max(filter(own, groups), key=preference, default=None)


def _range(rank: tuple[int, int] | None) -> str:
    return "–" if rank is None else str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"


def _interval(share: Share) -> str:
    return f"[{100 * share.low:.1f}, {100 * share.high:.1f}]"


def _decimal(number: float | None) -> str:
    return "–" if number is None else f"{number:.3f}"
