"""``mien data``: list, info, import, check, audit, sdafe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.data_audit import audit
from mien.cli.data_sdafe import sdafe

app = typer.Typer(help="Import data sets, look at them, check them.", no_args_is_help=True)
app.command("audit")(audit)
app.command("sdafe")(sdafe)

Name = Annotated[str, typer.Argument(help="Data set, e.g. fer2013; `mien data list` shows all.")]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]


@app.command("list")
def list_(json: Json = False) -> None:
    """The data sets that mien knows, and from where they were imported."""
    from rich.table import Table

    from mien.cli.common import print_json, stdout
    from mien.datasets.report import list_datasets

    entries = list_datasets()
    if json:
        print_json(entries)
        return
    table = Table("name", "what", "imported from")
    for entry in entries:
        sources = "\n".join(entry["imported"]) or ("not imported" if entry["needs_files"] else "needs no files")
        if entry["made_from"]:
            sources = f"made from {entry['made_from']}; votes: {', '.join(entry['imported']) or 'not imported'}"
        table.add_row(entry["name"], entry["title"], sources)
    stdout.print(table)


@app.command()
def info(name: Name, json: Json = False) -> None:
    """What is in a data set: splits, classes, duplicates, origin; what is published about it and how to get it."""
    from mien.datasets.report import info as describe

    _show(describe(name), json)


@app.command("import")
def import_(
    name: Name,
    path: Annotated[Path, typer.Argument(help="File, folder, zip or tar.gz.")],
    shards: Annotated[
        bool | None,
        typer.Option(
            "--shards/--no-shards",
            help="Store images compressed in shards instead of one array; by default only what exceeds 4 GiB.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Read a data set into the cache, where it opens in milliseconds from then on."""
    from mien.cli.common import complain, progress
    from mien.datasets import import_dataset
    from mien.datasets.readers import Bytes
    from mien.datasets.report import describe

    with progress() as bar:
        task = bar.add_task("reading", total=None)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, bytes=isinstance(total, Bytes))

        try:
            face_set = import_dataset(name, path, shards=shards, progress=show)
        except KeyboardInterrupt:
            complain("stopped; nothing was stored, and what was stored before is as it was")
            raise typer.Exit(130) from None
    try:
        _show(describe(face_set), json)
    except KeyboardInterrupt:
        complain(f"stopped, after the data set was stored: mien data info {name}")
        raise typer.Exit(130) from None


@app.command()
def check(
    name: Name,
    path: Annotated[Path | None, typer.Argument(help="Check this source without importing it.")] = None,
    json: Json = False,
) -> None:
    """Compare a copy with the published data set, image by image; exit status 1 if anything differs."""
    from mien.cli.common import print_json, stdout
    from mien.datasets.report import check as check_dataset

    report = check_dataset(name, path)
    if json:
        print_json(report)
    elif report["findings"]:
        for finding in report["findings"]:
            stdout.print(f"- {finding}", soft_wrap=True, highlight=False, markup=False)
    else:
        what = "count" if "card" in report else "image, label and split"
        stdout.print(f"{name}: every {what} is as published.", highlight=False)
    raise typer.Exit(1 if report["findings"] else 0)


def _show(report: dict[str, Any], json: bool) -> None:
    from rich.table import Table

    from mien.cli.common import print_json, stdout

    if json:
        print_json(report)
        return
    if card := report.get("card"):
        _show_card(card)
    if report.get("imported") is False:
        stdout.print(f"not imported yet: mien data import {report['name']} PATH", highlight=False)
        return
    counts: dict[str, dict[str, int]] = report["counts"]
    published: dict[str, dict[str, int]] = report.get("published", {})
    table = Table("", *(f"{split['name']}\n({split['role']})" for split in report["splits"]))
    for label in report["labels"]:
        names = [split["name"] for split in report["splits"]]
        table.add_row(
            label, *(_count(counts.get(name, {}).get(label), published.get(name, {}).get(label)) for name in names)
        )
    table.add_section()
    table.add_row("faces", *(f"{split['faces']:,}" for split in report["splits"]))
    table.add_row("copies of a face in another split", *(f"{s['copies_in_other_splits']:,}" for s in report["splits"]))
    stdout.print(table)
    official = "as published" if report.get("official_content") else "differs from the published data set"
    if missing := report.get("faces_missing"):
        official += f": {missing:,} of its {report['faces_published']:,} faces are missing"
    if file := report.get("official_file"):
        official += f"; the file is the published {file}, byte for byte"
    facts = {
        "faces": f"{report['faces']:,}, {report['distinct_images']:,} distinct images",
        "content": None if "official_content" not in report else official,
        "images that differ": None if "images_differ" not in report else f"{report['images_differ']:,}",
        "order of rows": report.get("order"),
        "format": report.get("format"),
        "source": report.get("source"),
        "votes": report.get("votes"),
        "fingerprint": report["fingerprint"],
        "stored in": report["folder"],
    }
    for what, value in facts.items():
        if value is not None:
            stdout.print(f"{what + ':':20}{value}", soft_wrap=True, highlight=False, markup=False)
    for name, values in report.get("attributes", {}).items():
        some = ", ".join(f"{value} {count:,}" for value, count in list(values.items())[:8])
        said = f"{len(values)} values: {some}" + (", …" if len(values) > 8 else "")
        stdout.print(f"{name + ':':20}{said}", soft_wrap=True, highlight=False, markup=False)
    for note in report.get("notes", ()):
        stdout.print(f"note: {note}", soft_wrap=True, highlight=False, style="yellow", markup=False)


def _show_card(card: dict[str, Any]) -> None:
    from mien.cli.common import stdout

    stdout.print(f"[bold]{card['title']}[/]", highlight=False)
    for what in ("paper", "licence", "obtain", "splits"):
        if card[what]:
            stdout.print(f"{what + ':':20}{card[what]}", soft_wrap=True, highlight=False, markup=False)
    for layout in card["layouts"]:
        stdout.print(f"{'reads:':20}{layout}", soft_wrap=True, highlight=False, markup=False)
    for split, classes in (card["counts"] or [{}])[0].items():
        said = ", ".join(f"{label} {count:,}" for label, count in classes.items())
        stdout.print(
            f"{'published:':20}{split}: {sum(classes.values()):,} faces ({said})", soft_wrap=True, highlight=False
        )


def _count(mine: int | None, published: int | None) -> str:
    if mine is None:
        return "sealed"
    return f"{mine:,}" if published in (None, mine) else f"{mine:,} (not {published:,})"
