"""``mien report``: one run or result as a single HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    reference: Annotated[
        str, typer.Argument(metavar="RUN|RESULT", help="A run folder, a result's json, or the first digits of its id.")
    ],
    out: Annotated[Path, typer.Option("--out", help="The HTML file.")] = Path("report.html"),
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the results; by default results and my-results.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="Folder of the runs.")] = Path("runs"),
    faces: Annotated[
        bool, typer.Option("--faces", help="Show the hardest faces as pictures, from the imported FER2013.")
    ] = False,
    system: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of a run trained with a Python file: that file. It is EXECUTED.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Curves, confusion matrix, recall, reliability, hardest faces, cost, recipe and environment on one page."""
    from mien.cli.common import print_json, stdout
    from mien.site import write_report

    written = write_report(reference, out, results=results, runs=runs, faces=faces, system=system)
    if json:
        print_json({"file": str(out), "bytes": written})
        return
    stdout.print(f"{out}, {written / 1e3:.0f} kB", soft_wrap=True, highlight=False, markup=False)
