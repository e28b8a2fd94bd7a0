"""``mien systems``: list, info and check."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(help="The published systems that mien holds.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]

Results = Annotated[
    Path | None,
    typer.Option("--results", help="Folder with recorded results; by default what this release measured."),
]


def _measured(folder: Path | None) -> dict[str, dict[str, Any]] | None:
    """Of the results in a folder; None for what this release measured."""
    if folder is None:
        return None
    from mien.errors import InputError
    from mien.results import load_all
    from mien.site.listing import measured

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds the results, or leave --results out")
    return measured(load_all(folder))


@app.command("list")
def list_(
    results: Results = None,
    json: Json = False,
) -> None:
    """All systems: year, what is claimed, what we measured, parameters, multiply-accumulates, input, recipes.

    Where another network was measured than the card's, its input and its parameters stand beside the accuracy.
    """
    from mien.cli.common import print_json, print_table
    from mien.site.listing import COLUMNS, listing, rows

    entries = listing(_measured(results))
    if json:
        print_json(entries)
    else:
        print_table(COLUMNS, rows(entries))


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="Id of a system.")],
    recipe: Annotated[str | None, typer.Option(help="Show this recipe as TOML.")] = None,
    results: Results = None,
    json: Json = False,
) -> None:
    """What is known of a system: claim, our result, size, paper, code, deviations, recipes."""
    import dataclasses
    import re
    import tomllib

    from mien.cli.common import print_json, stdout
    from mien.errors import RecipeError
    from mien.registry import suggestion
    from mien.systems import check_name
    from mien.systems.described import described

    check_name(name)
    if name in described():
        about = dataclasses.asdict(described()[name])
    else:
        from mien.training.describe import entry

        about = entry(name)
    if recipe is not None:
        if recipe not in about["recipes"]:
            raise RecipeError(f"{name} has no recipe {recipe!r}; {suggestion(recipe, about['recipes'])}")
        text = about["recipes"][recipe]["toml"]
        if json:
            print_json(tomllib.loads(text))
        else:
            stdout.print(text, highlight=False, markup=False, soft_wrap=True)
        return
    if json:
        print_json(about)
        return
    from mien.site.listing import sheet

    # Where the text begins with the paper, the first line need not name it, too.
    named = re.match(r"Paper: (?!none\b)", about["text"])
    title = re.sub(r" \([^()]*\d{4}\)(?=\.?$)", "", about["about"]) if named else about["about"]
    lines = sheet(about, _measured(results)).items()
    told = [title, "\n".join(f"{what + ':':22}{value}" for what, value in lines), about["text"]]
    if about["deviations"]:
        told.append("Deviations:\n" + "\n".join(f"- {sentence}" for sentence in about["deviations"]))
    stdout.print("\n\n".join(part for part in told if part), highlight=False, markup=False, soft_wrap=True)


@app.command()
def check(
    what: Annotated[str, typer.Argument(metavar="FILE|ID", help="Python file with CARDS (it is run), or an id.")],
    only: Annotated[str | None, typer.Option(metavar="ID", help="Check this system of the file alone.")] = None,
    json: Json = False,
) -> None:
    """Hold a system against the contract of all systems; exit status 1 if a check fails."""
    import dataclasses

    from mien.cli.common import print_json, progress, stdout
    from mien.systems.elsewhere import find
    from mien.testing import SYSTEM_CHECKS, examine

    cards, outcomes = find(what, only=only), []
    with progress() as bar:
        task = bar.add_task(what, total=len(cards) * len(SYSTEM_CHECKS))
        for card in cards:
            for outcome in examine(card):
                outcomes.append(outcome)
                bar.update(task, advance=1, description=f"{card.id}: {outcome.check}")
    if json:
        print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        for o in outcomes:
            line = f"{o.system}  {'holds' if o.passed else 'FAILS'}  {o.check:<10} {o.seconds:5.1f} s  {o.message}"
            stdout.print(line.rstrip(), soft_wrap=True, highlight=False, markup=False)
        failed = sum(not o.passed for o in outcomes)
        summary = f"{failed} of {len(outcomes)} checks fail" if failed else f"all {len(outcomes)} checks hold"
        stdout.print(summary, highlight=False)
    raise typer.Exit(0 if all(o.passed for o in outcomes) else 1)
