"""Trained here, tested there: cross results as one table, a row per network and its data, a column per data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mien.results.schema import Result
from mien.results.tables import Table, percent


def crossed(results: Sequence[Result]) -> list[dict[str, Any]]:
    """The cross results among ``results``, one of each system, training and data set: view ``one`` first.

    Systems in order of their names, data sets likewise. Accuracies of two columns are not of the same expressions;
    ``labels`` says which, and figures of two rows may be set against each other where those agree.
    """
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if result.across is not None and "accuracy" in result.metrics:
            across = result.across
            key = (result.system, across["trained_on"], result.weights_sha256, across["tested_on"], across["split"])
            groups.setdefault(key, []).append(result)
    rows = []
    for _, several in sorted(groups.items(), key=lambda item: item[0]):
        best = min(several, key=lambda r: (r.views != "one", r.created, r.id))
        assert best.across is not None
        rows.append(
            {
                "id": best.id,
                "system": best.system,
                "kind": best.kind,
                "seed": best.seed,
                "weights_sha256": best.weights_sha256,
                "views": best.views,
                **best.across,
                "labels": list(best.labels),
                "faces": sum(map(sum, best.confusion)),
                "accuracy": best.metrics["accuracy"],
                "accuracy_ci95": best.metrics["accuracy_ci95"],
                "class_mean": best.metrics["balanced_accuracy"],
            }
        )
    return rows


def crossing_table(results: Sequence[Result]) -> Table:
    """The same for readers: accuracy, its interval, mean of the classes, and on how many expressions."""
    rows = crossed(results)
    columns = sorted({(row["tested_on"], row["split"]) for row in rows})
    lines: dict[tuple[str, ...], dict[tuple[str, str], str]] = {}
    for row in rows:
        seed = "–" if row["seed"] is None else str(row["seed"])
        line = lines.setdefault((row["system"], row["kind"], seed, row["weights_sha256"], row["trained_on"]), {})
        low, high = row["accuracy_ci95"]
        cell = (
            f"{percent(row['accuracy'])} [{100 * low:.1f}, {100 * high:.1f}], classes {percent(row['class_mean'])} "
            f"({len(row['labels'])} expressions, {row['faces']:,} faces)"
        )
        line.setdefault((row["tested_on"], row["split"]), cell)
    heads = [f"{name}, {split}" for name, split in columns]
    return Table(
        ("system", "kind", "seed", "weights", "trained on", *heads),
        tuple(
            (system, kind, seed, weights[:8] or "–", trained_on, *(line.get(column, "–") for column in columns))
            for (system, kind, seed, weights, trained_on), line in lines.items()
        ),
    )
