"""What every verb shares: where output goes, JSON, tables, progress bars."""

from __future__ import annotations

import json
import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text


def _first() -> bool:
    from mien.store.launch import rank

    return rank() == 0


# Of several processes that torchrun started the first one speaks.
_silent = not _first()
stdout = Console(quiet=_silent)
stderr = Console(stderr=True, quiet=_silent)


def complain(sentence: str) -> None:
    """One clear sentence to standard error, wrapped by the terminal and not by us; of several processes the first."""
    from mien.store.launch import launched

    if launched():
        from mien.evaluation.processes import first_to_say

        if not first_to_say(sentence):
            time.sleep(1)  # torchrun ends all when one has ended: let the other one finish its sentence
            return
    Console(stderr=True).print(f"[bold red]mien:[/] {_escape(sentence)}", soft_wrap=True, highlight=False)


def print_json(value: Any) -> None:
    """JSON to standard output, for programs: no colours, no wrapping, NaN refused."""
    if not _silent:
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))  # noqa: T201


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], keep: int = 0) -> None:
    """A table of plain text to standard output; brackets in a cell are brackets, not markup.

    Args:
        columns: names.
        rows: cells.
        keep: with it, a table that is wider than the terminal is printed in parts, which repeat that many columns.
    """
    rows = list(rows)
    for part in _parts(columns, rows, keep):
        table = Table(*(_escape(columns[column]) for column in part))
        for row in rows:
            table.add_row(*(_escape(row[column]) for column in part))
        # Figures are never cut off: a table that is wider than the terminal is printed in full and left to it.
        natural = Measurement.get(stdout, stdout.options.update(max_width=1000), table).maximum
        Console(width=max(natural, stdout.width), quiet=_silent).print(table, highlight=False, crop=False)


WIDTH = 100
"""Columns that running text takes at most: longer lines are hard to read."""


def print_paragraphs(paragraphs: Iterable[str]) -> None:
    """Running text to standard output, wrapped, with blank lines between; items (``- …``) follow their heading."""
    before = ""
    for text in paragraphs:
        item = text.startswith("- ")
        if before and not (item and before.startswith("- ")) and not before.endswith(":"):
            stdout.print()
        _hang("", text, "  " if item else "")
        before = text


def print_pairs(pairs: Mapping[str, str]) -> None:
    """Names and what is said of each to standard output, wrapped beside the names; a line of a text is a line."""
    widest = max((len(name) for name in pairs), default=0) + 2
    for name, text in pairs.items():
        for number, line in enumerate(text.split("\n")):
            _hang(f"{'' if number else name + ':':{widest}}", line, " " * (widest + 2))


def _hang(label: str, text: str, indent: str) -> None:
    """Text behind a label, whose further lines are indented; words are never cut, they may be addresses."""
    width = min(stdout.width, WIDTH)
    lines = textwrap.fill(
        text, width, initial_indent=label, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    stdout.print(lines, highlight=False, markup=False, soft_wrap=True)


def _parts(columns: Sequence[str], rows: Sequence[Sequence[str]], keep: int) -> list[list[int]]:
    """Which columns are printed together."""
    if not keep:
        return [list(range(len(columns)))]
    # A cell has a blank on either side, and a line behind it.
    widths = [
        3 + max(len(line) for cell in (name, *(row[column] for row in rows)) for line in cell.split("\n"))
        for column, name in enumerate(columns)
    ]
    kept = list(range(keep))
    parts = [[*kept]]
    for column in range(keep, len(columns)):
        if 1 + sum(widths[other] for other in (*parts[-1], column)) > stdout.width and len(parts[-1]) > keep:
            parts.append([*kept])
        parts[-1].append(column)
    return parts


def progress() -> Progress:
    """A progress bar with ETA on standard error; silent when that is no terminal.

    A task whose amounts are bytes says so with ``update(…, bytes=True)``.
    """
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Amount(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=stderr,
        disable=_silent or not stderr.is_terminal,
        transient=True,
    )


class _Amount(MofNCompleteColumn):
    """How much is done of how much; in MB where the task's field ``bytes`` says that it is counted in bytes."""

    def render(self, task: Task) -> Text:
        if not task.fields.get("bytes"):
            return super().render(task)
        return Text(f"{task.completed / 1e6:,.0f}/{(task.total or 0) / 1e6:,.0f} MB", style="progress.download")


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
