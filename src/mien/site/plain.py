"""Rows of a board as plain values: what the page's script reads, and what stands in the CSV and in the tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from mien.results.tables import Table, percent
from mien.site.board import Board, Row
from mien.store.cells import text_cell

COLUMNS = (
    "name", "system", "listed_rank", "claimed", "measured", "low", "high", "spread", "seeds", "rank_low", "rank_high",
    "view", "kind", "protocol", "clean", "macro_f1", "balanced_accuracy", "nll", "brier", "ece", "ece_noise_floor",
    "parameters", "macs", "faces_per_second", "openings", "extra_data", "split", "classes", "date", "year", "paper",
    "paper_url", "authors", "code", "notes", "result",
    "trained_with",
)  # fmt: skip
"""Of the CSV; the recall of each expression follows as ``recall_<label>``."""


def columns(board: Board) -> list[str]:
    """Names of the CSV's columns."""
    return [*COLUMNS, *(f"recall_{label}" for label in board.labels)]


def row_values(row: Row, board: Board) -> dict[str, Any]:
    """One row. Claimed values are per cent, as stated; measured ones are shares, 0–1."""
    claim, it = row.claim, row.measured
    paper = claim.paper if claim else None
    metrics = it.metrics if it else {}
    return {
        "key": row.key,
        "name": row.name,
        "system": row.system,
        "listed_rank": claim.rank if claim else None,
        "claimed": claim.value if claim else None,
        "measured": _short(it.accuracy.value) if it else None,
        "low": _short(it.accuracy.low) if it else None,
        "high": _short(it.accuracy.high) if it else None,
        "spread": _short(it.spread) if it else None,
        "seeds": len(it.results) if it else None,
        "rank_low": it.rank[0] if it and it.rank else None,
        "rank_high": it.rank[1] if it and it.rank else None,
        "view": it.first.views if it else "",
        "kind": it.first.kind if it else "",
        "protocol": board.protocol if it else "",
        "clean": _short(it.clean.value) if it and it.clean else None,
        **{
            name: _short(metrics.get(name))
            for name in ("macro_f1", "balanced_accuracy", "nll", "brier", "ece", "ece_noise_floor")
        },
        "recall": {label: _short(share.value) for label, share in it.recall.items()} if it else None,
        "parameters": row.parameters,
        "macs": row.macs,
        "faces_per_second": it.speed.faces_per_second if it and it.speed else None,
        "openings": it.openings if it else None,
        "extra_data": list(row.extra_data),
        "split": claim.split if claim else "",
        "classes": claim.classes if claim else len(board.labels) or None,
        "date": row.date,
        "year": row.year,
        "paper": paper.title if paper else "",
        "paper_url": paper.url if paper else "",
        "authors": list(claim.authors) if claim else [],
        "code": [repository.url for repository in claim.code] if claim else [],
        "notes": [note.text for note in claim.notes] if claim else [],
        "result": it.first.id if it else "",
        "trained_with": it.trained if it else "",
    }


def csv_text(board: Board) -> str:
    r"""Headline rows as CSV.

    A text that a spreadsheet would take for a formula is kept a text by an apostrophe: names come from outside.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = columns(board)
    writer.writerow(names)
    for row in board.rows:
        values = row_values(row, board)
        recall = values["recall"] or {}
        found = [recall.get(name[7:]) if name.startswith("recall_") else values[name] for name in names]
        writer.writerow([cell(value) for value in found])
    return out.getvalue()


def cell(value: Any) -> str:
    """A value as a cell.

    Example:
        >>> cell("=1+1"), cell(["a", "b"]), cell(None), cell(-0.5)
        ("'=1+1", 'a; b', '', '-0.5')
    """
    if value is None:
        return ""
    text = "; ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return text if isinstance(value, int | float) else text_cell(text)


def script_values(board: Board) -> dict[str, Any]:
    """Everything the page's script needs: rows, tested pairs, expressions.

    Rows are lists in the order of ``fields``, pairs are (better, worse, difference, low, high, adjusted, test) with
    systems and tests as places in ``systems`` and ``tests``: of many systems there are very many pairs.
    """
    rows = []
    for row in (*board.rows, *board.further):
        values = row_values(row, board)
        further = any(row is other for other in board.further)
        key = f"{row.key}-{values['result'][:6]}" if further else row.key
        rows.append({**values, "key": key, "further": further})
    named = [
        (board.names.get(pair.better, pair.better), board.names.get(pair.worse, pair.worse)) for pair in board.pairs
    ]
    systems = list(dict.fromkeys(name for both in named for name in both))
    tests = list(dict.fromkeys(pair.test for pair in board.pairs))
    at = {name: place for place, name in enumerate(systems)}
    pairs = [
        [at[better], at[worse]]
        + [round(float(getattr(pair, name)), 4) for name in ("difference", "low", "high", "adjusted")]
        + [tests.index(pair.test)]
        for pair, (better, worse) in zip(board.pairs, named, strict=True)
    ]
    fields = list(rows[0]) if rows else []
    return {
        "columns": columns(board),
        "fields": fields,
        "rows": [[row[name] for name in fields] for row in rows],
        "systems": systems,
        "tests": tests,
        "pairs": pairs,
        "labels": list(board.labels),
        "file": board.slug,
    }


def board_table(board: Board) -> Table:
    """The board as a table for Markdown: claimed and measured side by side."""
    rows = []
    for row in board.rows:
        claim, it = row.claim, row.measured
        rows.append(
            (
                rank_text(it.rank) if it else "",
                row.name,
                f"{claim.value:.2f}" if claim and claim.value is not None else "",
                str(claim.rank) if claim and claim.rank else "",
                percent(it.accuracy.value) if it else "",
                f"[{100 * it.accuracy.low:.1f}, {100 * it.accuracy.high:.1f}]" if it else "",
                percent(it.clean.value) if it and it.clean else "",
                percent(it.metrics.get("macro_f1")) if it else "",
                it.first.views if it else "",
                it.trained_as if it else "",
                str(it.openings) if it else "",
                f"{row.parameters:,}" if row.parameters else "",
                ", ".join(row.extra_data) or "none",
                str(row.date or row.year or ""),
                it.trained if it else "",
                ", ".join(dict.fromkeys(note.kind for note in claim.notes)) if claim else "",
            )
        )
    names = ("rank", "system", "claimed, %", "listed", "measured", "95 %", "clean@1", "macro-F1", "view", "with recipe",
             "openings", "parameters", "extra data", "date", "commit", "notes on the claim")  # fmt: skip
    return Table(names, tuple(rows))


def rank_text(rank: tuple[int, int] | None) -> str:
    """A rank interval.

    Example:
        >>> rank_text((1, 3)), rank_text((2, 2)), rank_text(None)
        ('1–3', '2', '–')
    """
    return "–" if rank is None else str(rank[0]) if rank[0] == rank[1] else f"{rank[0]}–{rank[1]}"


def system_rows(boards: Iterable[Board]) -> Mapping[str, list[Row]]:
    """Rows by system over all boards, each board's headline before its further views."""
    found: dict[str, list[Row]] = {}
    for board in boards:
        for row in (*board.rows, *board.further):
            if row.system:
                found.setdefault(row.system, []).append(row)
    return found


def _short(value: float | None) -> float | None:
    return None if value is None else round(float(value), 6)
