"""``mien results``: list, verify, diff, submit, withdraw, reproduce, docs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Recorded results: recompute them, compare them, submit your own.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="Folder with ledger.jsonl and the results.")]
Where = Annotated[
    Path | None,
    typer.Option(
        "--results",
        help="Folder with ledger.jsonl and the results; by default that of the path, else results and my-results.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]
Reference = Annotated[str, typer.Argument(help="Path of a result's json, or the first digits of its id.")]


@app.command("list")
def list_(
    folder: Annotated[
        Path | None,
        typer.Argument(help="Folder with ledger.jsonl and the results; by default results and my-results."),
    ] = None,
    json: Json = False,
) -> None:
    """What is recorded, and how often each system had the test split opened."""
    from collections import Counter

    from mien.cli.common import complain, print_json, print_table, stdout
    from mien.errors import InputError
    from mien.results import Ledger, load_all, tables
    from mien.results.folders import RECORDED, folders

    there = folders(folder)
    if not there:
        raise InputError(
            f"{folder or RECORDED} is no folder; run this in a checkout of mien, which holds its results, or name the "
            "folder that holds yours"
        )
    broken: list[str] = []
    found = [
        (each, load_all(each, lambda error: broken.append(str(error))), Ledger(each / "ledger.jsonl")) for each in there
    ]
    for error in broken:
        complain(error)
    if json:
        openings = sum((Counter(ledger.counts()) for _, _, ledger in found), Counter[str]())
        print_json(
            {
                "results": [one.to_json() for _, results, _ in found for one in results],
                "openings": dict(openings),
                "broken": broken,
            }
        )
        raise typer.Exit(1 if broken else 0)
    for each, results, ledger in found:
        for protocol in dict.fromkeys(result.protocol for result in results):
            stdout.print(f"[bold]{each}, {protocol}[/]", highlight=False)
            table = tables.list_table(result for result in results if result.protocol == protocol)
            print_table(table.columns, table.rows, keep=2)
        table = tables.openings(ledger)
        print_table(table.columns, table.rows)
    raise typer.Exit(1 if broken else 0)


@app.command()
def verify(
    folder: Folder = Path("results"),
    mend: Annotated[bool, typer.Option("--mend", help="Close a torn last line of the ledger first.")] = False,
    against: Annotated[
        str | None, typer.Option(metavar="REV", help="Also: nothing is gone or changed since this git revision.")
    ] = None,
    json: Json = False,
) -> None:
    """Recompute every metric of every result from its predictions; exit status 1 if anything does not hold."""
    from mien.cli.common import print_json, stdout
    from mien.results import Ledger
    from mien.results import verify as verify_folder
    from mien.systems import names
    from mien.systems.named_ensembles import members

    if mend:
        Ledger(folder / "ledger.jsonl").mend()
    found = verify_folder(folder, systems=names(), ensembles=members(), against=against)
    if json:
        print_json(found.to_json())
    else:
        for finding in found.findings:
            stdout.print(f"{finding.file}: {finding.message}", soft_wrap=True, highlight=False, markup=False)
        stdout.print(found.summary(), soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(0 if found.holds else 1)


@app.command()
def diff(a: Reference, b: Reference, results: Where = None, json: Json = False) -> None:
    """What differs between two results; exit status 1 if anything that was measured does."""
    from mien.cli.common import print_json, print_table, stdout
    from mien.results import difference, measured_differs, tables
    from mien.results.finding import find

    first = find(a, results)
    found = difference(first, find(b, results))
    if json:
        print_json({key: list(values) for key, values in found.items()})
    else:
        said = {
            (True, True): "Something that was measured differs:",
            (True, False): "What was measured is equal; what differs says how it came about:",
            (False, False): "The two are equal.",
        }[bool(found), measured_differs(found)]
        stdout.print(said, highlight=False)
        if found:
            table = tables.difference_table(found, (a, b), first.labels)
            print_table(table.columns, table.rows)
    raise typer.Exit(1 if measured_differs(found) else 0)


@app.command()
def submit(
    predictions: Annotated[Path, typer.Argument(help="csv with id and a column per expression, or npz (ids, scores).")],
    card: Annotated[Path, typer.Option("--card", help="TOML: who, what, protocol, extra data.")],
    results: Annotated[Path, typer.Option("--results", help="Folder with ledger.jsonl and the results.")] = Path(
        "results"
    ),
    json: Json = False,
) -> None:
    """Check your predictions, measure them under the protocol and record them as submitted."""
    from mien.cli.common import print_json, stdout
    from mien.results.submission import submit as submit_files
    from mien.systems import names

    result = submit_files(predictions, card, results, systems=names())
    if json:
        print_json(result.to_json())
        return
    stdout.print(f"{result}\n{result.path(results)}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def withdraw(
    reference: Reference,
    reason: Annotated[str, typer.Option("--reason", help="Why, for everybody to read.")],
    results: Where = None,
    json: Json = False,
) -> None:
    """Take a result out; the ledger keeps its openings and notes the reason."""
    from mien.cli.common import print_json, stdout
    from mien.results.withdrawal import withdraw as withdraw_result

    gone = withdraw_result(reference, results, reason)
    if json:
        print_json(gone)
        return
    stdout.print(f"{gone['id']} of {gone['system']} is withdrawn; its openings stay counted.", highlight=False)


@app.command()
def reproduce(
    reference: Reference,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    source: Annotated[Path | None, typer.Option("--from", help="Run folder or bundle to evaluate.")] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Train from the recorded recipe and seed, also a bundle.")
    ] = False,
    results: Where = None,
    json: Json = False,
) -> None:
    """Measure a result again; exit status 1 if something else comes out.

    A bundle is evaluated again, a run is trained again, what is no network is fitted again, and an ensemble is put
    together from its recorded members. A result of the test split opens it once more, and the ledger
    notes that.
    """
    from mien.cli.common import print_json, print_table, stdout
    from mien.results import difference, measured_differs
    from mien.results.finding import locate
    from mien.training import reproduce as measure_again

    recorded, where = locate(reference, results)
    found = difference(recorded, measure_again(recorded, data=path, source=source, retrain=retrain, results=where))
    if json:
        print_json({key: list(values) for key, values in found.items()})
    elif measured_differs(found):
        print_table(("field", "recorded", "now"), [(key, *map(str, values)) for key, values in found.items()])
    else:
        stdout.print(f"{recorded.id}: the same numbers come out.", highlight=False, markup=False)
    raise typer.Exit(1 if measured_differs(found) else 0)


@app.command()
def docs(
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit status 1 if a number is stale.")] = False,
    root: Annotated[Path, typer.Option("--root", help="Folder with README.md, docs/ and results/.")] = Path(),
    json: Json = False,
) -> None:
    """Fill the numbers of README and docs from the recorded results."""
    from mien.cli.common import print_json, stdout
    from mien.recognition.bundles import default_bundle
    from mien.results.documents import fill

    stale = fill(root, check=check, shipped={"default": default_bundle().card.sha256})
    if json:
        print_json([{"file": str(found.file), "line": found.line, "typed": found.typed} for found in stale])
    for found in stale if not json else ():
        state = "is stale; run `mien results docs`" if check else "filled"
        if found.typed:
            state = f"{found.typed} was typed; quote it in a block, or write a setting as code"
        stdout.print(f"{found.file}, line {found.line}: {state}", soft_wrap=True, highlight=False, markup=False)
    raise typer.Exit(1 if check and stale else 0)
