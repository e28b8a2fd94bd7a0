"""Writes ``systems/cards.json``: what a page or a table says of a system, for readers without torch.

What the header of a system's file says is not written but read from there (`mien.systems.described.header`).

    python -m mien.training.describe            # write it
    python -m mien.training.describe --check    # change nothing; exit status 1 if it is stale

It lies among trainings because whole recipes do.
"""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
import sys
import tomllib
from collections.abc import Mapping
from typing import Any

import torch

from mien import systems
from mien.bundle import InputSpec
from mien.errors import MienError
from mien.store import write_text
from mien.systems.base import System, build
from mien.systems.card import Card
from mien.systems.described import FILE, HEADER, SCHEMA, entries, header
from mien.systems.outline import Part, outline
from mien.training.classical import recipe_of
from mien.training.recipe import Recipe


def main(argv: list[str] | None = None) -> int:
    """Write or check the file."""
    parser = argparse.ArgumentParser(description="Write what is known of every system into one file.")
    parser.add_argument("--check", action="store_true", help="change nothing; exit status 1 if the file is stale")
    check = parser.parse_args(argv).check
    if not stale():
        return 0
    if check:
        print(f"{FILE.name} is stale; run `python -m mien.training.describe`")  # noqa: T201
        return 1
    write_text(FILE, text())
    print(f"{FILE.name} written")  # noqa: T201
    return 0


def stale(*, macs: bool = True) -> list[str]:
    """Ids of systems whose entry says something else than the code, or ``order`` where only that differs.

    Args:
        macs: count parts and multiply-accumulates again, which makes every network once.
    """
    try:
        recorded = entries(FILE.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):  # of another schema
        recorded = {}
    now = {name: _written(entry(name, macs=macs)) for name in systems.names()}
    if not macs:
        for name, of_system in now.items():
            known = recorded.get(name, {})
            of_system["parts"] = known.get("parts")
            for recipe, made in of_system["recipes"].items():
                made["macs"] = known.get("recipes", {}).get(recipe, {}).get("macs")
    now = json.loads(json.dumps(now))
    found = [name for name in {**recorded, **now} if recorded.get(name) != now.get(name)]
    return found or (["order"] if list(recorded) != list(now) else [])


def text() -> str:
    """The whole file."""
    takes = InputSpec(size=48, channels=1, colour="grey", mean=(0.5,), std=(0.5,))
    start = Recipe(name="mien", system_id="compact", input=takes).to_dict()
    written = {name: _written(entry(name)) for name in systems.names()}
    columns = [field.name for field in dataclasses.fields(Part)]
    for of_system in written.values():
        of_system["parts"] = [[part[column] for column in columns] for part in of_system["parts"]]
        for recipe in of_system["recipes"].values():
            whole = tomllib.loads(recipe.pop("toml"))
            recipe["set"] = _changes(start if of_system["kind"] == "network" else {}, whole)
    return laid_out({"schema": SCHEMA, "recipe": start, "columns": columns, "systems": written})


def laid_out(content: dict[str, Any]) -> str:
    """JSON with one line per field of a system: a changed card shows where, and no room goes into indentation."""

    def tight(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

    written = (
        f"{tight(name)}: {{\n" + ",\n".join(f" {tight(key)}: {tight(value)}" for key, value in of.items()) + "\n}"
        for name, of in content["systems"].items()
    )
    head = "".join(f"{tight(key)}: {tight(value)},\n" for key, value in content.items() if key != "systems")
    return f'{{{head}"systems": {{\n' + ",\n".join(written) + "\n}}\n"


def entry(name: str, *, macs: bool = True) -> dict[str, Any]:
    """What is said of one system, its header included."""
    card = systems.card(name)
    recipes = {recipe: recipe_of(card, recipe) for recipe in card.recipes}
    # The table is of the network as it was published; a card of somebody's own may have no recipe at all.
    published = recipes.get("faithful") or next(iter(recipes.values()), None)
    network = issubclass(card.module, System)
    parts = _parts(card, published if isinstance(published, Recipe) else None) if network and macs else []
    takes = card.input
    return {
        "id": card.id,
        "title": card.title,
        "kind": card.kind,
        **header(inspect.getdoc(inspect.getmodule(card.module) or card) or ""),
        "file": inspect.getsourcefile(card.module) or "",
        "paper": dataclasses.asdict(card.paper),
        "parameters": card.parameters or None,
        "input": {
            "size": takes.size,
            "channels": takes.channels,
            "colour": takes.colour,
            "mean": list(takes.mean),
            "std": list(takes.std),
            "resize": takes.resize,
        }
        if takes is not None
        else None,
        "parts": [dataclasses.asdict(part) for part in parts],
        "options": dict(card.options),
        "network": card.module.__name__,
        "views": list(card.views),
        "extra_data": list(card.extra_data),
        "pretrained": card.pretrained.model if card.pretrained else "",
        "recipes": {
            recipe: {
                "hash": made.hash,
                "toml": made.to_toml().strip(),
                "macs": _macs(_parts(card, made)) if macs and isinstance(made, Recipe) else None,
            }
            for recipe, made in recipes.items()
        },
    }


def _written(of_system: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in of_system.items() if key not in HEADER}


def _changes(start: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be set within groups to come from the start to the whole, which has every key of the start."""
    return {
        key: _changes(start[key], value)
        if isinstance(start.get(key), Mapping) and isinstance(value, Mapping)
        else value
        for key, value in whole.items()
        if key not in start or start[key] != value
    }


def _parts(card: Card, recipe: Recipe | None) -> list[Part]:
    """The network's table, at the input and with the options of the recipe, else at those of the card."""
    takes, options = (card.input, {}) if recipe is None else (recipe.input, dict(recipe.system))
    try:
        # Shapes suffice: the largest networks would take a gigabyte each otherwise.
        with torch.device("meta"):
            return outline(build(card, classes=7, channels=takes.channels, options=options), takes.channels, takes.size)
    except (NotImplementedError, RuntimeError, MienError):
        return outline(build(card, classes=7, channels=takes.channels, options=options), takes.channels, takes.size)


def _macs(parts: list[Part]) -> int | None:
    return sum(part.macs for part in parts) or None


if __name__ == "__main__":
    sys.exit(main())
