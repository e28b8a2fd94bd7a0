"""What every verb shares: where output goes, JSON, tables, progress bars."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """A table of plain text to standard output; brackets in a cell are brackets, not markup."""
    table = Table(*map(_escape, columns))
    for row in rows:
        table.add_row(*map(_escape, row))
    # Figures are never cut off: a table that is wider than the terminal is printed in full and left to it.
    natural = Measurement.get(stdout, stdout.options.update(max_width=1000), table).maximum
    Console(width=max(natural, stdout.width), quiet=_silent).print(table, highlight=False, crop=False)


def progress() -> Progress:
    """A progress bar with ETA on standard error; silent when that is no terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        console=stderr,
        disable=_silent or not stderr.is_terminal,
        transient=True,
    )


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
