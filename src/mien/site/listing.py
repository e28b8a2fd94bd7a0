"""The systems in one table: what is known of each, what is claimed for it, what was measured here. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mien.results import Result
from mien.results.documents import DEFAULT_PROTOCOL
from mien.results.tables import preferred, value
from mien.systems import plugins
from mien.systems.claims import claims
from mien.systems.described import Described, described
from mien.systems.elsewhere import installed, origin

COLUMNS = ("id", "title", "year", "claimed", "measured", "parameters", "MMACs", "input", "recipes")


def listing(results: Iterable[Result] = ()) -> list[dict[str, Any]]:
    """One entry of plain values per system, in the order of the registry; then plug-ins, which are not imported.

    Args:
        results: recorded ones; those of other protocols and of no known system are passed over.

    Returns:
        ``claimed`` is in per cent, as stated for FER2013; ``measured`` holds the share of PrivateTest faces that the
        result which PublicTest prefers has right, its view and its id. What is not known is None. A plug-in has
        ``id`` and ``package`` alone.

    Example:
        >>> next(entry["claimed"] for entry in listing() if entry["id"] == "vggnet")
        73.28
    """
    of_system: dict[str, list[Result]] = {}
    for result in results:
        if _counts(result):
            of_system.setdefault(result.system, []).append(result)
    known = [_entry(about, preferred(of_system.get(name, ()))) for name, about in described().items()]
    points = installed()
    return known + [{"id": name, "package": origin(points[name][0])} for name in plugins()]


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
            _shown(e["measured"] and 100 * e["measured"]["accuracy"], ".1f", " %"),
            _shown(e["parameters"], ","),
            _shown(e["macs"] and e["macs"] / 1e6, ",.0f"),
            "{0}×{1}×{1}".format(*e["input"]) if e["input"] else "–",
            ", ".join(e["recipes"]),
        )
        for e in entries
    ]


def sheet(about: Mapping[str, Any], results: Iterable[Result] = ()) -> dict[str, str]:
    """What `listing` says of one system, by name, as texts for people; nothing of what is not known.

    Args:
        about: fields of a `mien.systems.described.Described`.
        results: recorded ones, as for `listing`.

    Example:
        >>> from dataclasses import asdict
        >>> sheet(asdict(described()["vggnet"]))["claimed"]
        '73.28 % on FER2013, which others state'
    """
    result = preferred([result for result in results if result.system == about["id"] and _counts(result)])
    claimed, takes, macs = _claimed(about["id"]), about["input"], about["macs"]
    options = ", ".join(f"{key} = {value!r}" for key, value in about["options"].items())
    told = {
        "claimed": _shown(claimed, ".2f", " % on FER2013, which others state"),
        "measured": "–"
        if result is None
        else f"{100 * result.metrics['accuracy']:.1f} % on PrivateTest (view {result.views}, result {result.id}; "
        f"{_network(result)})",
        "parameters": _shown(about["parameters"] or None, ","),
        "multiply-accumulates": _shown(macs / 1e6 if macs else None, ",.0f", " million per face"),
        "input": "{channels} × {size} × {size}, {colour}".format(**takes) if takes else "–",
        "recipes": ", ".join(about["recipes"]),
        "options": options,
    }
    return {what: value for what, value in told.items() if value not in ("", "–")}


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


def _entry(about: Described, result: Result | None) -> dict[str, Any]:
    return {
        "id": about.id,
        "title": about.title,
        "kind": about.kind,
        "year": about.paper.year or None,
        "paper": about.paper.url,
        "code": list(about.paper.code),
        "claimed": _claimed(about.id),
        "measured": result and {"accuracy": result.metrics["accuracy"], "views": result.views, "id": result.id},
        "parameters": about.parameters,
        "macs": about.macs,
        "input": about.input and [about.input["channels"], about.input["size"]],
        "options": dict(about.options),
        "recipes": list(about.recipes),
        "extra_data": list(about.extra_data),
    }


def _shown(value: float | None, form: str = "", unit: str = "") -> str:
    return "–" if value is None else format(value, form) + unit
