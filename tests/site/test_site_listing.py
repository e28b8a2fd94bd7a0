from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from mien.results import load_all
from mien.site.listing import COLUMNS, listing, measured, rows, sheet, shipped
from mien.systems.described import described

ROOT = Path(__file__).parents[2]


def test_every_system_has_its_row_in_order() -> None:
    entries = listing({})
    assert [entry["id"] for entry in entries] == list(described())
    assert all(len(row) == len(COLUMNS) for row in rows(entries))
    ours = {entry["id"]: row for entry, row in zip(entries, rows(entries), strict=True)}
    assert ours["vggnet"][2:8] == ("2021", "73.28 %", "–", "29,890,759", "351", "1×40×40")
    assert ours["local-learning-bow"][5] == "–"


def test_the_result_that_selection_prefers_is_shown() -> None:
    recorded = [
        result for result in load_all(ROOT / "results") if result.system == "compact" and "/private@" in result.protocol
    ]
    if not recorded:
        pytest.skip("no result of compact is recorded here")
    entry = next(entry for entry in listing(measured(recorded)) if entry["id"] == "compact")
    best = max(recorded, key=lambda result: result.metrics["selection_accuracy"])
    assert entry["measured"]["accuracy"] == best.metrics["accuracy"]
    other = [dataclasses.replace(result, protocol="own/test@1") for result in recorded]
    assert all(entry["measured"] is None for entry in listing(measured(other)))


def test_what_is_installed_knows_what_was_measured_and_of_which_network() -> None:
    known = measured(load_all(ROOT / "results"))
    assert known.keys() == shipped().keys()
    assert "lhc-net" in known
    row = next(row for row in rows(listing()) if row[0] == "lhc-net")
    accuracy, takes, parameters = (known["lhc-net"][key] for key in ("accuracy", "input", "parameters"))
    assert row[4] == f"{100 * accuracy:.1f} % ({'×'.join(map(str, takes))}, {parameters / 1e6:.3g} M)"
    alike = {row[0]: row[4] for row in rows(listing()) if row[0] in ("vggnet", "identiface")}
    assert "(" not in "".join(alike.values()), "what was measured is what the row describes, but for a few parameters"
    assert f"{parameters:,} parameters" in sheet(dataclasses.asdict(described()["lhc-net"]))["measured"]


def test_plug_ins_stand_at_the_end_and_are_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    point = EntryPoint("theirs", "no_such_module", "mien.systems")
    monkeypatch.setattr("mien.systems.elsewhere.entry_points", lambda group: [point])
    assert listing()[-1] == {"id": "theirs", "package": "no_such_module"}
    assert rows(listing())[-1][:2] == ("theirs", "plug-in of no_such_module")
