"""``mien compare``: results side by side, with intervals, tests and a sentence for each number."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    results: Annotated[
        list[str] | None, typer.Argument(metavar="RESULT...", help="Paths of results, or first digits of ids.")
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option("--results", help="Folder in which ids are looked up; by default results and my-results."),
    ] = None,
    split: Annotated[str | None, typer.Option("--split", help="test or selection; test where all have it.")] = None,
    across: Annotated[
        bool, typer.Option("--across", help="Instead: trained here, tested there; all recorded cross results.")
    ] = False,
    diagram: Annotated[Path | None, typer.Option("--diagram", help="Write a reliability diagram to this PNG.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Compare results on the same faces: who is better, by how much, and how sure that is."""
    from mien.cli.common import print_json, print_table, stdout
    from mien.errors import InputError
    from mien.results import tables
    from mien.results.comparison import compare as compare_results
    from mien.results.crossing import crossed, crossing_table
    from mien.results.diagram import reliability_diagram
    from mien.results.finding import find, load_recorded
    from mien.results.sentences import sentences

    if across == bool(results):
        raise InputError("give results to compare, or --across for the table of all recorded cross results")
    if across:
        recorded = load_recorded(folder)
        table = crossing_table(recorded)
        if json:
            print_json(crossed(recorded))
        elif table.rows:
            print_table(table.columns, table.rows)
        else:
            stdout.print("no cross results yet: mien evaluate RUN --data OTHER records one", highlight=False)
        return
    found = [find(reference, folder) for reference in results or []]
    comparison = compare_results(found, split=split)
    if diagram is not None:
        reliability_diagram(found, diagram)
    if json:
        print_json({**comparison.to_json(), "sentences": sentences(comparison)})
        return
    stdout.print(f"{comparison.protocol}, {comparison.split} split, {comparison.faces:,} faces", highlight=False)
    figures = tables.comparison_table(comparison)
    print_table(figures.columns, figures.rows, keep=1 + figures.columns.index("system"))
    for table in [tables.recall_table(comparison), *([tables.pair_table(comparison)] if comparison.pairs else [])]:
        print_table(table.columns, table.rows, keep=2)
    for sentence in sentences(comparison):
        stdout.print(f"- {sentence}", highlight=False, markup=False)
