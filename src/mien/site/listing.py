"""The systems in one table: what is known of each, what is claimed for it, what was measured here. Needs no torch."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.errors import InputError
from mien.registry import suggestion
from mien.results import Result
from mien.results.documents import DEFAULT_PROTOCOL
from mien.results.tables import epochs_in_words, preferred, value
from mien.systems.claims import claims
from mien.systems.described import Described, described

COLUMNS = ("id", "year", "claimed", "measured", "parameters", "MMACs", "input", "kind", "with recipe")
"""What is compared first: a narrow terminal shows the columns in parts."""
ORDERS = ("id", "year", "claimed", "measured", "parameters", "macs")
"""What the table can be sorted by: ids and years upwards, figures downwards."""

Measured = Mapping[str, Sequence[Mapping[str, Any]]]
"""What was measured of a system, by its id, as `measured` makes it."""

SHIPPED = Path(__file__).with_name("measured.json")
"""That of the recorded results of this release; written by ``mien leaderboard --tables``."""


def measured(results: Iterable[Result]) -> dict[str, list[dict[str, Any]]]:
    """The results of each system in short: the preferred one of a protocol, a kind and a recipe (of bundles, a view).

    Args:
        results: recorded ones; those whose test split stayed sealed are passed over, and so is what others submitted:
            it was not measured here.

    Returns:
        For each system that has some, those of ``fer2013/private@1`` first, and the one that the selection split
        prefers before the others: ``accuracy``, the share of test faces that it has right; ``protocol``; ``views``;
        ``id`` of the result; ``kind``; ``recipe``, its name, and ``epochs``; ``input`` (channels, side, side) and
        ``parameters`` of the network that was measured, which a recipe may choose otherwise than the card, or None;
        ``start``, what training began from.
    """
    alike: dict[str, dict[tuple[str, ...], list[Result]]] = {}
    for result in results:
        if result.test is not None and result.kind != "submitted":
            view = result.views if result.kind == "bundle" else ""
            key = (result.protocol, result.kind, str(result.recipe.get("name", "")), view)
            alike.setdefault(result.system, {}).setdefault(key, []).append(result)
    order = [*described(), *sorted(alike.keys() - described().keys())]
    return {name: [_short(result) for result in _ordered(alike[name].values())] for name in order if name in alike}


@functools.cache
def shipped() -> Measured:
    """What this release measured, from `SHIPPED`: for readers without the recorded results.

    Example:
        >>> shipped()["vggnet"][0]["input"]
        [1, 40, 40]
    """
    known: Measured = json.loads(SHIPPED.read_text(encoding="utf-8"))
    return known


def shipped_text(results: Iterable[Result]) -> str:
    """What `SHIPPED` has to hold for these results: one line per system."""
    lines = (
        f"{json.dumps(name)}: {json.dumps(entry, ensure_ascii=False)}" for name, entry in measured(results).items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


def listing(
    known: Measured | None = None, *, further: Iterable[tuple[str, Described]] = (), sort: str | None = None
) -> list[dict[str, Any]]:
    """One entry of plain values per system, in the order of the registry.

    Args:
        known: what was measured, of `measured`; by default what this release measured.
        further: plug-ins, each with the package that it comes from.
        sort: one of `ORDERS`; what is not known comes last.

    Returns:
        ``claimed`` is in per cent, as stated for FER2013; ``parameters``, ``macs`` and ``input`` are those of the
        recipe ``faithful``, else of the first one; ``measured`` is the first of what ``known`` holds of the system, and
        ``recipes`` has the hash and the multiply-accumulates of each recipe. What is not known is None.

    Example:
        >>> next(entry["claimed"] for entry in listing() if entry["id"] == "vggnet")
        73.28
        >>> listing(sort="parameters")[0]["id"]
        'emonext-xl'
    """
    if sort is not None and sort not in ORDERS:
        raise InputError(f"systems cannot be sorted by {sort!r}; {suggestion(sort, ORDERS)}")
    known = shipped() if known is None else known
    entries = [_entry(about, known.get(name, ())) for name, about in described().items()]
    entries += [{**_entry(about, known.get(about.id, ())), "package": package} for package, about in further]
    return entries if sort is None else sorted(entries, key=lambda entry: _place(entry, sort))


def rows(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The entries as texts under `COLUMNS`."""
    return [
        (
            e["id"],
            _shown(e["year"]),
            _shown(e["claimed"], ".2f", " %"),
            _accuracy(e["measured"]) if e["measured"] else "–",
            _shown(e["parameters"], ","),
            _shown(e["macs"] and e["macs"] / 1e6, ",.0f"),
            "×".join(map(str, e["input"])) if e["input"] else "–",
            f"plug-in of {e['package']}" if "package" in e else e["kind"],
            _how(e["measured"], e["parameters"]) if e["measured"] else "–",
        )
        for e in entries
    ]


def legend(entries: Iterable[Mapping[str, Any]]) -> str:
    """What the columns of `rows` mean, in two sentences, and what more there is.

    Example:
        >>> legend([])
        'claimed: what others state. `mien systems info ID` says more.'
    """
    found = [entry["measured"] for entry in entries if entry["measured"]]
    usual = any(entry["protocol"] == DEFAULT_PROTOCOL for entry in found)
    measured = "measured: ours, with the recipe, epochs and input beside it" + (
        "; on PrivateTest where no other protocol is named. " if usual else ". "
    )
    return f"claimed: what others state. {measured if found else ''}`mien systems info ID` says more."


def sheet(about: Described, known: Measured | None = None) -> dict[str, str]:
    """What `listing` says of one system, by name, as texts for people; nothing of what is not known.

    Args:
        about: the system.
        known: as for `listing`.

    Example:
        >>> sheet(described()["vggnet"])["claimed"]
        '73.28 % on FER2013, which others state'
    """
    of_system = (shipped() if known is None else known).get(about.id, ())
    takes = about.takes
    named = f" (recipe {about.published})" if about.kind == "network" else ""
    recipes = (
        name + (f" ({recipe['macs'] / 1e6:,.0f} million per face)" if recipe["macs"] else "")
        for name, recipe in about.recipes.items()
    )
    told = {
        "claimed": _shown(_claimed(about.id), ".2f", " % on FER2013, which others state"),
        "measured": "\n".join(_told(entry) for entry in of_system),
        "parameters": _shown(about.parameters or None, ","),
        "multiply-accumulates": _shown(about.macs and about.macs / 1e6, ",.0f", f" million per face{named}"),
        "input": "{channels} × {size} × {size}, {colour}".format(**takes) + named if takes else "–",
        "published weights": about.pretrained and f"{about.pretrained}, by --pretrained timm or a file of them",
        "recipes": ", ".join(recipes if len({r["macs"] for r in about.recipes.values()}) > 1 else about.recipes),
        "options": "\n".join(
            f"{key} = {default!r}" + (f"  {about.meanings[key]}" if key in about.meanings else "")
            for key, default in about.options.items()
        ),
    }
    return {what: text for what, text in told.items() if text not in ("", "–")}


def recorded_recipe(system: str, name: str) -> str:
    """Half a sentence for whoever asks for a recipe by the name under which a result of ours was made; else nothing.

    Example:
        >>> recorded_recipe("vggnet", "faithfull")
        ''
    """
    made = next((entry for entry in shipped().get(system, ()) if entry["recipe"] == name), None)
    if made is None:
        return ""
    return f"; {name!r} is that of result {made['id'][:8]}, in a checkout: {recipe_command(system, made['id'], name)}"


def recipe_command(system: str, id: str, name: str) -> str:
    """The command that writes the recipe of a recorded result into a file.

    Example:
        >>> recipe_command("vggnet", "ac557ceb87f8828f", "short")
        'mien systems info vggnet --recipe ac557ceb --results results > short.toml'
    """
    return f"mien systems info {system} --recipe {id[:8]} --results results > {name}.toml"


def _ordered(alike: Iterable[list[Result]]) -> list[Result]:
    """Of each group the preferred result; the board's protocol first, and the preferred one before the others."""
    rest = [result for group in alike if (result := preferred(group)) is not None]
    ordered: list[Result] = []
    for protocol in sorted({result.protocol for result in rest}, key=lambda name: (name != DEFAULT_PROTOCOL, name)):
        of_protocol = [result for result in rest if result.protocol == protocol]
        while (best := preferred(of_protocol)) is not None:
            ordered.append(best)
            of_protocol.remove(best)
    return ordered


def _short(result: Result) -> dict[str, Any]:
    start = value(result, "start")
    return {
        "accuracy": result.metrics["accuracy"],
        "protocol": result.protocol,
        "views": result.views,
        "id": result.id,
        "kind": result.kind,
        "recipe": result.recipe.get("name"),
        "epochs": result.cost.get("epochs"),
        "trained_for": epochs_in_words(result),
        "input": result.cost.get("input"),
        "parameters": result.cost.get("params"),
        "start": None if start == "–" else start,
    }


def _accuracy(entry: Mapping[str, Any]) -> str:
    where = "" if entry["protocol"] == DEFAULT_PROTOCOL else f" on {entry['protocol']}"
    return f"{100 * entry['accuracy']:.1f} %{where}"


def trained_as(result: Result) -> str:
    """Recipe, epochs and input of what was measured, in a few words; nothing where there is no recipe.

    Beside a number they say whether a source was followed to its end or for a few epochs on small faces.
    """
    entry = _short(result)
    return _how({**entry, "views": "one"}, None) if entry["recipe"] else ""


def _how(entry: Mapping[str, Any], usual: int | None) -> str:
    """Recipe, epochs, input and view; the number of parameters only where it is visibly another one than the usual."""
    sizes = [f"{count / 1e6:.3g} M" for count in (usual, entry["parameters"]) if count]
    parts = (
        entry["recipe"],
        entry["trained_for"],
        entry["input"] and "×".join(map(str, entry["input"])),
        f"{sizes[-1]} parameters" if len(set(sizes)) == 2 else "",
        "" if entry["views"] in ("one", "members") else f"view {entry['views']}",
    )
    return ", ".join(part for part in parts if part) or "–"


def _told(entry: Mapping[str, Any]) -> str:
    """A result in words."""
    split = "on PrivateTest" if entry["protocol"] == DEFAULT_PROTOCOL else f"on {entry['protocol']}"
    parts = (
        f"recipe {entry['recipe']}" if entry["recipe"] else "",
        entry["trained_for"],
        entry["start"] and f"began from {entry['start']}",
        entry["input"] and " × ".join(map(str, entry["input"])),
        entry["parameters"] and f"{entry['parameters']:,} parameters",
        f"{entry['kind']}, view {entry['views']}",
        f"result {entry['id']}",
    )
    return f"{100 * entry['accuracy']:.1f} % {split}: " + ", ".join(part for part in parts if part)


def _place(entry: Mapping[str, Any], sort: str) -> tuple[bool, bool, Any]:
    if sort == "id":
        return False, False, entry["id"]
    best = entry["measured"] or {}
    figure = best.get("accuracy") if sort == "measured" else entry[sort]
    # What was measured on other faces is comparable with nothing of the board.
    elsewhere = sort == "measured" and best.get("protocol") != DEFAULT_PROTOCOL
    return figure is None, elsewhere, (figure or 0) * (1 if sort == "year" else -1)


def _claimed(name: str) -> float | None:
    stated = [claim for claim in claims(name, "fer2013") if claim.metric == "accuracy"]
    claim = min(stated, key=lambda claim: (claim.rank is None, claim.rank), default=None)
    return claim.value if claim else None


def _entry(about: Described, known: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    takes = about.takes
    return {
        "id": about.id,
        "title": about.title,
        "kind": about.kind,
        "year": about.paper.year or None,
        "paper": about.paper.url,
        "code": list(about.paper.code),
        "claimed": _claimed(about.id),
        "measured": next(iter(known), None),
        "parameters": about.parameters,
        "macs": about.macs,
        "input": takes and [takes["channels"], takes["size"], takes["size"]],
        "options": dict(about.options),
        "recipes": {name: {key: of[key] for key in ("hash", "macs")} for name, of in about.recipes.items()},
        "extra_data": list(about.extra_data),
    }


def _shown(value: float | None, form: str = "", unit: str = "") -> str:
    return "–" if value is None else format(value, form) + unit
