from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import mien
from mien.datasets import FaceSet
from mien.errors import InputError
from mien.results import load_all
from mien.site.listing import COLUMNS, legend, listing, measured, rows, sheet, shipped
from mien.systems.described import described
from mien.training import Run

ROOT = Path(__file__).parents[2]


def test_every_system_has_its_row_in_order() -> None:
    entries = listing({})
    assert [entry["id"] for entry in entries] == list(described())
    assert all(len(row) == len(COLUMNS) for row in rows(entries))
    ours = {entry["id"]: row for entry, row in zip(entries, rows(entries), strict=True)}
    assert ours["vggnet"][1:] == ("2021", "73.28 %", "–", "29,890,759", "351", "1×40×40", "network", "–")
    assert ours["local-learning-bow"][4:6] == ("–", "–")
    assert ours["pramerdorfer-eight"][7] == "ensemble"


def test_figures_of_a_row_are_those_of_the_recipe_that_follows_the_source() -> None:
    by_id = {entry["id"]: entry for entry in listing({})}
    for name, about in described().items():
        if about.kind == "network":
            assert by_id[name]["macs"] == about.recipes[about.published]["macs"] > 0, name
            assert about.published == ("mien" if name == "compact" else "faithful")
    assert by_id["efficientfer"]["input"] == [3, 224, 224]
    assert by_id["ad-corre"]["macs"] > by_id["ad-corre"]["recipes"]["mien"]["macs"]


def test_the_result_that_selection_prefers_comes_first() -> None:
    recorded = [
        result for result in load_all(ROOT / "results") if result.system == "compact" and "/private@" in result.protocol
    ]
    if not recorded:
        pytest.skip("no result of compact is recorded here")
    known = measured(recorded)
    entry = next(entry for entry in listing(known) if entry["id"] == "compact")
    best = max(recorded, key=lambda result: result.metrics["selection_accuracy"])
    assert entry["measured"]["accuracy"] == best.metrics["accuracy"]
    assert {(r.recipe["name"], r.views) for r in recorded} == {(e["recipe"], e["views"]) for e in known["compact"]}


def test_results_of_another_protocol_are_told_as_such(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    own = mien.evaluate(trained, faces.test, results=tmp_path)
    name = trained.system
    row = next(row for row in rows(listing(measured([own]))) if row[0] == name)
    assert row[3] == f"{100 * own.metrics['accuracy']:.1f} % on own/test@1"
    entries = listing(measured([own]), sort="measured")
    assert entries[0]["id"] == name
    assert "PrivateTest" not in legend(entries)
    faced = [own, *(r for r in load_all(ROOT / "results") if r.system == "vggnet" and r.test is not None)]
    entries = listing(measured(faced), sort="measured")
    assert [entry["id"] for entry in entries[:2]] == ["vggnet", name], "what is comparable with the board comes first"
    assert "on PrivateTest where no other protocol is named" in legend(entries)
    assert "% on own/test@1: recipe " in sheet(described()[name], measured([own]))["measured"]
    both = measured([own, *(result for result in load_all(ROOT / "results") if result.system == name)])[name]
    assert both[-1]["protocol"] == "own/test@1"


def test_what_others_submitted_was_not_measured_here(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    own = mien.evaluate(trained, faces.test, results=tmp_path)
    theirs = replace(own, kind="submitted", metrics={**own.metrics, "accuracy": 0.999})
    assert measured([theirs]) == {}
    assert [entry["kind"] for entry in measured([theirs, own])[trained.system]] == ["run"]


def test_what_is_installed_knows_what_was_measured_and_of_which_network() -> None:
    known = measured(load_all(ROOT / "results"))
    assert known.keys() == shipped().keys()
    best = known["lhc-netc"][0]
    row = next(row for row in rows(listing()) if row[0] == "lhc-netc")
    assert row[3] == f"{100 * best['accuracy']:.1f} %"
    takes, size = "×".join(map(str, best["input"])), f"{best['parameters'] / 1e6:.3g} M"
    assert row[8] == f"{best['recipe']}, {best['trained_for']}, {takes}, {size} parameters"
    assert "1 more epoch," in next(row[8] for row in rows(listing()) if row[0] == "lhc-net"), "it went on from a run"
    alike = next(row[8] for row in rows(listing()) if row[0] == "vggnet")
    assert " M" not in alike, "what was measured is what the row describes, but for a few parameters"
    assert f"{best['parameters']:,} parameters" in sheet(described()["lhc-netc"])["measured"]


def test_rows_can_be_sorted_and_what_is_not_known_comes_last() -> None:
    sizes = [entry["parameters"] for entry in listing(sort="parameters")]
    known = [size for size in sizes if size]
    assert known == sorted(known, reverse=True)
    assert sizes == known + [None] * (len(sizes) - len(known))
    assert [entry["id"] for entry in listing(sort="id")] == sorted(described())
    years = [entry["year"] for entry in listing(sort="year") if entry["year"]]
    assert years == sorted(years)
    with pytest.raises(InputError, match="'measured'"):
        listing(sort="measure")


def test_plug_ins_have_rows_like_ours() -> None:
    entry = listing(further=[("their-package", described()["vggnet"])])[-1]
    assert entry["package"] == "their-package"
    assert (rows([entry])[0][0], rows([entry])[0][7]) == ("vggnet", "plug-in of their-package")
