"""The systems in one table: what is known of each, what is claimed for it, what was measured here. Needs no torch."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mien.results import Result
from mien.results.documents import DEFAULT_PROTOCOL
from mien.results.tables import preferred, value
from mien.systems import plugins
from mien.systems.claims import claims
from mien.systems.described import Described, described
from mien.systems.elsewhere import installed, origin

COLUMNS = ("id", "title", "year", "claimed", "measured", "parameters", "MMACs", "input", "recipes")


Measured = Mapping[str, Mapping[str, Any]]
"""What was measured of a system, by its id, as `measured` makes it."""

SHIPPED = Path(__file__).with_name("measured.json")
"""That of the recorded results of this release; written by ``mien leaderboard --tables``."""


def measured(results: Iterable[Result]) -> dict[str, dict[str, Any]]:
    """The result of each system that PublicTest prefers, in short.

    Args:
        results: recorded ones; those of other protocols and of no known system are passed over.

    Returns:
        For each system that has one: ``accuracy``, the share of PrivateTest faces that it has right; ``views``; ``id``
        of the result; ``input`` (channels, side, side) and ``parameters`` of the network that was measured, which a
        recipe may choose otherwise than the card, or None; ``network``, the same in words.
    """
    of_system: dict[str, list[Result]] = {}
    for result in results:
        if _counts(result):
            of_system.setdefault(result.system, []).append(result)
    found = {name: preferred(of_system.get(name, ())) for name in described()}
    return {
        name: {
            "accuracy": result.metrics["accuracy"],
            "views": result.views,
            "id": result.id,
            "input": result.cost.get("input"),
            "parameters": result.cost.get("params"),
            "network": _network(result),
        }
        for name, result in found.items()
        if result is not None
    }


@functools.cache
def shipped() -> Measured:
    """What this release measured, from `SHIPPED`: for readers without the recorded results.

    Example:
        >>> shipped()["vggnet"]["input"]
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


def listing(known: Measured | None = None) -> list[dict[str, Any]]:
    """One entry of plain values per system, in the order of the registry; then plug-ins, which are not imported.

    Args:
        known: what was measured, of `measured`; by default what this release measured.

    Returns:
        ``claimed`` is in per cent, as stated for FER2013; ``measured`` is the system's entry of ``known``. What is not
        known is None. A plug-in has ``id`` and ``package`` alone.

    Example:
        >>> next(entry["claimed"] for entry in listing() if entry["id"] == "vggnet")
        73.28
    """
    known = shipped() if known is None else known
    points = installed()
    return [_entry(about, known.get(name)) for name, about in described().items()] + [
        {"id": name, "package": origin(points[name][0])} for name in plugins()
    ]


def rows(entries: Iterable[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    """The entries as texts under `COLUMNS`."""
    return [
        (e["id"], f"plug-in of {e['package']}", *["–"] * (len(COLUMNS) - 2))
        if "package" in e
        else (
            e["id"],
            e["title"],
            _shown(e["year"]),
            _shown(e["claimed"], ".2f", " %"),
            _measured(e),
            _shown(e["parameters"], ","),
            _shown(e["macs"] and e["macs"] / 1e6, ",.0f"),
            "{0}×{1}×{1}".format(*e["input"]) if e["input"] else "–",
            ", ".join(e["recipes"]),
        )
        for e in entries
    ]


def sheet(about: Mapping[str, Any], known: Measured | None = None) -> dict[str, str]:
    """What `listing` says of one system, by name, as texts for people; nothing of what is not known.

    Args:
        about: fields of a `mien.systems.described.Described`.
        known: as for `listing`.

    Example:
        >>> from dataclasses import asdict
        >>> sheet(asdict(described()["vggnet"]))["claimed"]
        '73.28 % on FER2013, which others state'
    """
    entry = (shipped() if known is None else known).get(about["id"])
    claimed, takes, macs = _claimed(about["id"]), about["input"], about["macs"]
    options = ", ".join(f"{key} = {value!r}" for key, value in about["options"].items())
    told = {
        "claimed": _shown(claimed, ".2f", " % on FER2013, which others state"),
        "measured": "–"
        if entry is None
        else f"{100 * entry['accuracy']:.1f} % on PrivateTest (view {entry['views']}, result {entry['id']}; "
        f"{entry['network']})",
        "parameters": _shown(about["parameters"] or None, ","),
        "multiply-accumulates": _shown(macs / 1e6 if macs else None, ",.0f", " million per face"),
        "input": "{channels} × {size} × {size}, {colour}".format(**takes) if takes else "–",
        "recipes": ", ".join(about["recipes"]),
        "options": options,
    }
    return {what: value for what, value in told.items() if value not in ("", "–")}


def _measured(entry: Mapping[str, Any]) -> str:
    """The accuracy; where another network was measured than the row describes, its input and its size beside it."""
    result = entry["measured"]
    if not result:
        return "–"
    others = []
    if entry["input"] and result["input"] and result["input"][:2] != entry["input"]:
        others.append("{}×{}×{}".format(*result["input"]))
    sizes = [f"{of['parameters'] / 1e6:.3g} M" for of in (entry, result) if of["parameters"]]
    if len(set(sizes)) == 2:
        others.append(sizes[1])
    return f"{100 * result['accuracy']:.1f} %" + (f" ({', '.join(others)})" if others else "")


def _network(result: Result) -> str:
    """Which network was measured: recipes choose smaller faces, and some other layers."""
    size, start = value(result, "network"), value(result, "start")
    return "; ".join(text for text in (size, start) if text != "–") or result.kind


def _counts(result: Result) -> bool:
    return result.protocol == DEFAULT_PROTOCOL and result.test is not None


def _claimed(name: str) -> float | None:
    stated = [claim for claim in claims(name, "fer2013") if claim.metric == "accuracy"]
    claim = min(stated, key=lambda claim: (claim.rank is None, claim.rank), default=None)
    return claim.value if claim else None


def _entry(about: Described, known: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "id": about.id,
        "title": about.title,
        "kind": about.kind,
        "year": about.paper.year or None,
        "paper": about.paper.url,
        "code": list(about.paper.code),
        "claimed": _claimed(about.id),
        "measured": known,
        "parameters": about.parameters,
        "macs": about.macs,
        "input": about.input and [about.input["channels"], about.input["size"]],
        "options": dict(about.options),
        "recipes": list(about.recipes),
        "extra_data": list(about.extra_data),
    }


def _shown(value: float | None, form: str = "", unit: str = "") -> str:
    return "–" if value is None else format(value, form) + unit
