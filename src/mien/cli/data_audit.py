"""``mien data audit``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def audit(
    data: Annotated[str, typer.Argument(help="A data set (fer2013), or a folder, zip, tar, npz or csv of faces.")],
    against: Annotated[
        str | None, typer.Option("--against", help="Only look for test faces of this data set among the pictures.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for report.html, report.json and lists of ids.")
    ] = None,
    noise: Annotated[
        Path | None,
        typer.Option(metavar="RESULT", help="A result of fer2013/folds@1 (path or id), or an npz: finds label noise."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit status 1 if a leak or a problem is found.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Look for copies, leaks, blank pictures and doubtful labels, or for test faces in training pictures."""
    from mien.audit import audit as run
    from mien.cli.common import print_json, print_table, progress, stdout

    with progress() as bar:

        def stage(name: str) -> Callable[[int, int], None]:
            task = bar.add_task(name, total=None)
            return lambda done, total: bar.update(task, completed=done, total=total)

        report = run(data, against=against, noise=noise, stage=stage)
    page = report.write(out) if out is not None else None
    if json:
        print_json(report.to_json())
    else:
        for table in report.tables:
            stdout.print(f"\n{table.title}", markup=False, highlight=False)
            print_table(table.columns, [[_cell(cell) for cell in row] for row in table.rows])
        stdout.print()
        print_table(
            ("", "finding", "entries", "faces"),
            [
                (
                    finding.weight if finding.entries else "",
                    finding.title,
                    f"{len(finding.entries):,}",
                    f"{finding.faces:,}",
                )
                for finding in report.findings
            ],
        )
        for note in report.notes:
            stdout.print(note, markup=False, highlight=False, soft_wrap=True)
        where = f"Report: {page}" if page else "With --out FOLDER the faces can be looked through in a report."
        stdout.print(where, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if check and report.found else 0)


def _cell(value: str | int | float | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.4f}"
    return value if isinstance(value, str) else f"{value:,}"
