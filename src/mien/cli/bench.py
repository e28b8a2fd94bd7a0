"""``mien bench``: how fast recognition is here, beside the recorded measurement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mien.bench.bench import Measure


def bench(
    model: Annotated[Path | None, typer.Option("--model", help="A bundle; by default the built-in one.")] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Values per row; the median counts.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure recognition on this machine (half a minute) and compare it with the recorded table."""
    from mien.bench.bench import machine, measure, recorded
    from mien.cli.common import print_json, progress

    there, before = recorded()
    with progress() as bar:
        task = bar.add_task("measuring", total=rounds)
        here = measure(model, rounds=rounds, on_progress=lambda done, _: bar.update(task, completed=done))
    if as_json:
        print_json(
            {
                "machine": machine(),
                "rows": [row.to_json() for row in here],
                "recorded": {**there, "rows": [row.to_json() for row in before]},
            }
        )
        return
    _print(machine(), here, there, before)


def _print(this: dict[str, Any], here: list[Measure], there: dict[str, Any], before: list[Measure]) -> None:
    from mien.cli.common import print_table, stdout

    known = {row.id: row for row in before}

    def cells(row: Measure) -> tuple[str, ...]:
        other = known.get(row.id)
        budget = "" if row.budget is None else f"{'≥' if row.more_is_better else '≤'} {row.budget:,.4g}"
        return (
            row.what,
            f"{row.median:,.3g} {row.unit}" if row.median < 1000 else f"{row.median:,.0f} {row.unit}",
            f"{min(row.values):,.4g}–{max(row.values):,.4g}",
            "" if other is None else f"{other.median:,.4g}",
            "" if other is None else f"{row.speed_over(other):.2f} ×",
            budget + ("" if row.met is None else " kept" if row.met else " missed"),
        )

    print_table(("what", "here", "range", "recorded", "speed here", "budget"), [cells(row) for row in here])
    for row in here:
        if row.steps:
            total = sum(row.steps.values())
            shares = ", ".join(f"{step} {ms:.1f} ms ({ms / total:.0%})" for step, ms in row.steps.items())
            stdout.print(f"steps: {shares}", soft_wrap=True, highlight=False, markup=False)
    stdout.print(
        f"here: {this['processor']}, {this['cores']} cores; recorded {there['date']} with mien {there['mien']} on "
        f"{there['machine']['processor']}, {there['machine']['cores']} cores",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
