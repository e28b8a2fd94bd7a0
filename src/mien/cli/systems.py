"""``mien systems``: list, info and check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.results import Result
    from mien.systems.described import Described

app = typer.Typer(help="The published systems that mien holds.", no_args_is_help=True)
Json = Annotated[bool, typer.Option("--json", help="JSON for programs.")]

Results = Annotated[
    Path | None,
    typer.Option("--results", help="Folder of recorded results; by default what this release measured."),
]


def _recorded(folder: Path | None) -> list[Result] | None:
    """The results in a folder; None for what this release measured."""
    if folder is None:
        return None
    from mien.errors import InputError
    from mien.results import load_all

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds the results, or leave --results out")
    return load_all(folder)


@app.command("list")
def list_(
    results: Results = None,
    sort: Annotated[
        str | None, typer.Option(help="By id, year, claimed, measured, parameters or macs; the registry's by default.")
    ] = None,
    json: Json = False,
) -> None:
    """All systems: year, what is claimed, what we measured and with which recipe, parameters, multiply-accumulates.

    Parameters, multiply-accumulates (MMACs: millions for one face) and input are those of the recipe faithful, else of
    the first one; beside what we measured stand the recipe, its epochs and its input, which may be smaller.
    """
    import dataclasses

    from mien.cli.common import complain, print_json, print_table, stdout
    from mien.site.listing import COLUMNS, legend, listing, measured, rows
    from mien.training.plug_ins import described_plugins

    recorded = _recorded(results)
    plug_ins, unusable = described_plugins()
    entries = listing(None if recorded is None else measured(recorded), further=plug_ins, sort=sort)
    if json:
        print_json([*entries, *map(dataclasses.asdict, unusable)])
        return
    print_table(COLUMNS, rows(entries), keep=1)
    stdout.print(legend(entries), highlight=False)
    for entry in unusable:
        complain(entry.error)


@app.command()
def info(
    name: Annotated[str, typer.Argument(help="Id of a system.")],
    recipe: Annotated[
        str | None, typer.Option(help="Show this recipe as TOML; with --results also that of a result, by its id.")
    ] = None,
    results: Results = None,
    json: Json = False,
) -> None:
    """What is known of a system: claim, our results, size, paper, code, deviations, recipes."""
    import dataclasses
    import re
    import tomllib

    from rich.markup import escape

    from mien.cli.common import print_json, print_pairs, print_paragraphs, stdout
    from mien.site.listing import measured, sheet, shipped
    from mien.systems import check_name
    from mien.systems.described import described, paragraphs

    check_name(name)
    if name in described():
        about = described()[name]
    else:
        from mien.training.plug_ins import described_plugin

        about = described_plugin(name)
    if recipe is not None:
        text = _recipe(about, recipe, results)
        if json:
            print_json(tomllib.loads(text))
        else:
            stdout.print(text, highlight=False, markup=False, soft_wrap=True)
        return
    recorded = _recorded(results)
    known = shipped() if recorded is None else measured(recorded)
    if json:
        print_json(
            {
                **dataclasses.asdict(about),
                "file": Path(about.file).name,
                "macs": about.macs,
                "meanings": about.meanings,
                "measured": known.get(name, []),
            }
        )
        return
    # Where the text begins with the paper, the first line need not name it, too.
    named = re.match(r"Paper: (?!none\b)", about.text)
    if not about.about.startswith(about.title):  # of a family the text is about all
        stdout.print(f"[bold]{escape(about.title)}[/]\n", highlight=False)
    print_paragraphs([re.sub(r" \([^()]*\d{4}\)(?=:|\.?$)", "", about.about) if named else about.about])
    stdout.print()
    print_pairs(sheet(about, known))
    stdout.print()
    deviations = [f"- {sentence}" for sentence in about.deviations]
    print_paragraphs([*paragraphs(about.text), *(["Deviations:", *deviations] if deviations else [])])


def _recipe(about: Described, name: str, results: Path | None) -> str:
    """The TOML of a recipe of the system, or of the one that a recorded result of it was made with."""
    from mien.errors import InputError, RecipeError
    from mien.results.finding import find, is_reference
    from mien.site.listing import recorded_recipe
    from mien.store.toml import toml_lines
    from mien.systems import check_recipe

    if name in about.recipes:
        text: str = about.recipes[name]["toml"]
        return text
    if results is None or not is_reference(name):
        where = "; of a recorded result name the folder, too: --results results" if is_reference(name) else ""
        try:
            check_recipe(about.id, name, about.recipes)
        except RecipeError as error:
            raise RecipeError(f"{error}{recorded_recipe(about.id, name) or where}") from None
    result = find(name, results)
    if result.system != about.id:
        raise InputError(f"{result.id} is a result of {result.system}, not of {about.id}")
    return "\n".join(toml_lines(result.recipe))


@app.command()
def check(
    what: Annotated[str, typer.Argument(metavar="FILE|ID", help="Python file with CARDS (it is run), or an id.")],
    only: Annotated[str | None, typer.Option(metavar="ID", help="Check this system of the file alone.")] = None,
    json: Json = False,
) -> None:
    """Hold a system against the contract of all systems; exit status 1 if a check fails."""
    import dataclasses

    from mien.cli.common import print_json, progress, stdout
    from mien.errors import MissingExtraError, UnknownNameError
    from mien.systems.elsewhere import file_of, find

    MissingExtraError.check("checking a system", "train", "torch")
    from mien.testing import SYSTEM_CHECKS, examine

    try:
        cards, outcomes = find(what, only=only), []
    except UnknownNameError as error:
        own = "" if file_of(what) or "did you mean" in str(error) else "; name your own by its file, FILE.py"
        raise UnknownNameError(f"{error}{own}") from None
    with progress() as bar:
        task = bar.add_task(what, total=len(cards) * len(SYSTEM_CHECKS))
        for card in cards:
            for outcome in examine(card):
                outcomes.append(outcome)
                bar.update(task, advance=1, description=f"{card.id}: {outcome.check}")
    if json:
        print_json([dataclasses.asdict(outcome) for outcome in outcomes])
    else:
        first: dict[tuple[str, str], str] = {}
        for o in outcomes:
            check = first.setdefault((o.system, o.message), o.check)  # what several checks meet is told once
            said = f"as {check}" if o.message and check != o.check else o.message
            line = f"{o.system}  {'holds' if o.passed else 'FAILS'}  {o.check:<10} {o.seconds:5.1f} s  {said}"
            stdout.print(line.rstrip(), soft_wrap=True, highlight=False, markup=False)
        failed = sum(not o.passed for o in outcomes)
        summary = f"{failed} of {len(outcomes)} checks fail" if failed else f"all {len(outcomes)} checks hold"
        stdout.print(summary, highlight=False)
    raise typer.Exit(0 if all(o.passed for o in outcomes) else 1)
