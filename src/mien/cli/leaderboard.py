"""``mien leaderboard``: the board as static pages, and the tables that lie in the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    out: Annotated[Path | None, typer.Option("--out", help="Build the pages into this folder.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit status 1 if a committed table is stale.")
    ] = False,
    tables: Annotated[bool, typer.Option("--tables", help="Bring the committed tables up to date.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Folder with ledger.jsonl and the results.")] = Path(
        "results"
    ),
    runs: Annotated[Path | None, typer.Option("--runs", help="Folder of runs, for training curves.")] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="Show mistakes as pictures, from the imported FER2013; do not publish them.")
    ] = False,
    audit: Annotated[Path | None, typer.Option("--audit", help="A recorded audit of FER2013 (JSON).")] = None,
    url: Annotated[str, typer.Option("--url", help="Where the pages will lie, for the badges' links.")] = "",
    root: Annotated[Path, typer.Option("--root", help="Folder with docs/ and results/, for the tables.")] = Path(),
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Claims beside results: build the pages, or keep the committed tables up to date."""
    from mien.cli.common import print_json, progress, stdout
    from mien.errors import InputError
    from mien.site import build_site, recorded_speeds, stale_tables

    if (out is not None) + check + tables != 1:
        raise InputError("say one of --out FOLDER (build the pages), --tables (write the tables) or --check")
    if out is not None:
        from mien.bench.bench import recorded

        with progress() as bar:
            task = bar.add_task("pages", total=None)
            built = build_site(
                out,
                results,
                runs=runs,
                faces=faces,
                audit=audit,
                speeds=recorded_speeds(*recorded()),
                url=url,
                on_progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
        if json:
            print_json({"folder": str(built.folder), "pages": built.pages, "bytes": built.bytes})
            return
        said = f"{built.pages} pages, {built.bytes / 1e6:.1f} MB: open {built.folder / 'index.html'}"
        stdout.print(said, soft_wrap=True, highlight=False, markup=False)
        return
    stale = stale_tables(root, write=tables)
    if json:
        print_json([{"file": name} for name in stale])
    for name in stale if not json else ():
        state = "written" if tables else "is stale; run `mien leaderboard --tables`"
        stdout.print(f"{name} {state}", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(1 if check and stale else 0)
