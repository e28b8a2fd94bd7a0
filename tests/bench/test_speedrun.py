"""The speedrun: its versions, what opens the test split, where its seconds go, and the whole road on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from mien.results import Ledger

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "benchmarks" / "speedrun.toml"


@pytest.fixture
def speedrun(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import speedrun

    return speedrun  # type: ignore[no-any-return]


def test_the_versions_are_recipes_and_the_mark_is_the_claim(speedrun: ModuleType) -> None:
    versions = speedrun.wanted(TABLE, "")
    names = [version["name"] for version in versions]
    assert len(set(names)) == len(names)
    for version in versions:
        recipe = speedrun.recipe_of(version)
        assert (recipe.name, recipe.system_id) == (version["name"], version["system"])
        assert recipe.staged[-1].augment.size in (0, recipe.input.size), "the last stage sees faces of the full side"
    assert speedrun.mark() == pytest.approx(0.7328)
    with pytest.raises(SystemExit, match="no version nothing"):
        speedrun.wanted(TABLE, "nothing")


def test_operations_are_those_of_each_stage_at_its_side(speedrun: ModuleType) -> None:
    from mien import systems
    from mien.systems.base import count_macs

    version = speedrun.wanted(TABLE, "compact-wide-grown")[0]
    recipe = speedrun.recipe_of(version)
    module = systems.create("compact", classes=7, channels=1, **recipe.system)
    small, full = (count_macs(module, 1, side) for side in (32, 48))
    assert speedrun.work_of(recipe, 1000) == 6 * 1000 * (36 * small + 24 * full)
    assert speedrun.work_of(recipe, 1000, {"full": 1, "small": 0}) == 6 * 1000 * full


def run(seed: int, seconds: float, accuracy: float | None = None, **other: Any) -> dict[str, Any]:
    return {
        "version": "a", "recipe_hash": "h", "view": "flip", "data_fingerprint": "d", "seed": seed, "seconds": seconds,
        "selection_accuracy": 0.72, "accuracy": accuracy, "flops": 10**15, "peak_share": 0.2, "trial": False,
        "result": None if accuracy is None else f"r{seed}", **other,
    }  # fmt: skip


KEY = ("a", "h", "flip", "d")
SEEN = [run(seed, 30.0) for seed in range(5)]


def test_only_a_frozen_version_is_opened_and_with_fresh_seeds(speedrun: ModuleType) -> None:
    records = speedrun.records
    assert records.freeze(KEY, SEEN, [])["seeds"] == [5, 6, 7, 8, 9]
    others: list[dict[str, Any]] = [
        {"recipe_hash": "other"}, {"view": "one"}, {"data_fingerprint": "drawn"}, {"trial": True}
    ]  # fmt: skip
    for short in (SEEN[:4], [run(0, 30.0)] * 5, *([{**each, **other} for each in SEEN] for other in others)):
        with pytest.raises(SystemExit, match="not frozen"):
            records.freeze(KEY, short, [])
        assert records.seen(short, KEY, 4, False) is False
    assert records.seen(SEEN, KEY, 4, False)
    assert not records.seen(SEEN, KEY, 4, True)


def test_the_first_opening_fixes_the_seeds(speedrun: ModuleType) -> None:
    freeze = speedrun.records.freeze
    with pytest.raises(SystemExit, match="5 seeds at least"):
        freeze(KEY, SEEN, [], count=3)
    fixed = freeze(KEY, SEEN, [], count=6)
    assert fixed["seeds"] == [5, 6, 7, 8, 9, 10]
    more = [*SEEN, run(5, 30.0), *(run(seed, 30.0, 0.74) for seed in range(5, 8))]
    assert freeze(KEY, more, [fixed], openings=3) is fixed, "another seed on PublicTest changes nothing"
    with pytest.raises(SystemExit, match="fixed at its first opening"):
        freeze(KEY, more, [fixed], count=7)
    for runs, openings in ((more, 0), (SEEN, 1)):
        with pytest.raises(SystemExit, match="no record says with which seeds"):
            freeze(KEY, runs, [], openings)
    with pytest.raises(SystemExit, match="different seeds for a"):
        speedrun.records.merged(([], [fixed]), ([], [{**fixed, "seeds": [11, 12, 13, 14, 15]}]))


def test_the_mark_is_reached_by_the_mean_of_exactly_the_fixed_seeds(speedrun: ModuleType) -> None:
    fixed = {**dict(zip(speedrun.records.KEY, KEY, strict=True)), "seeds": [0, 1, 2, 3, 4]}
    noted = {f"r{seed}" for seed in range(9)}

    def reached(runs: list[dict[str, Any]], noted: set[str] = noted) -> list[bool]:
        return [row["reached"] for row in speedrun.records.summaries(runs, 0.7328, [fixed], noted)]

    five = [run(seed, 30.0, 0.74) for seed in range(5)]
    assert reached(five) == [True]
    assert reached([run(seed, 30.0, selection_accuracy=0.75) for seed in range(5)]) == [False], (
        "selection claims nothing"
    )
    assert reached(five[:4]) == reached([*five, run(5, 30.0, 0.74)]) == reached([*five[:4], five[0]]) == [False]
    assert reached([run(seed, 30.0, 0.74) for seed in range(1, 6)]) == [False], "other seeds than were fixed"
    assert reached([*(run(seed, 30.0, 0.735) for seed in range(4)), run(4, 30.0, 0.72)]) == [False]
    assert reached([{**each, "view": "one"} for each in five]) == [False]
    assert reached([{**each, "trial": True} for each in five]) == [False]
    assert reached(five, noted - {"r2"}) == [False, False], "an opening that the ledger does not hold"


@pytest.fixture
def opened(speedrun: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A call that opens one version, whose runs are made up but for their lines in the ledger."""
    version = speedrun.wanted(TABLE, "vggnet")[0]
    monkeypatch.setattr(speedrun, "fingerprint", lambda options: "d")
    monkeypatch.setattr(speedrun, "expected", lambda recipe, peak: 0.0)
    home, recipe = tmp_path / "home", speedrun.recipe_of(version).hash
    before = tmp_path / "before.json"
    about = {"version": "vggnet", "recipe_hash": recipe}
    before.write_text(json.dumps({"runs": [{**each, **about} for each in SEEN]}))

    def call(out: Path, results: int, given: Path = before, seeds: int | None = None) -> dict[str, Any]:
        left = results

        def start(version: Any, seed: int, options: Any, state: Path, _: float) -> tuple[dict[str, Any] | None, float]:
            nonlocal left
            left -= 1
            assert (out / "speedrun.json").exists(), "seeds are fixed before an opening"
            if left < 0:
                return None, 0.0
            ledger = Ledger(state / "results" / "ledger.jsonl")
            ledger.open_split("fer2013/private@1", "PrivateTest", "vggnet", "run", recipe, "w", "flip", "d")
            ledger.record("fer2013/private@1", "vggnet", f"r{seed}")
            return {**run(seed, 30.0, 0.74), **about, "peak_share": None, "parts": {}}, 1.0

        monkeypatch.setattr(speedrun, "start", start)
        options = Namespace(
            out=out, budget=600.0, before=given, steps=0, open="vggnet", seeds=seeds, results=home, data="fer2013",
            peak=None,
        )  # fmt: skip
        speedrun.supervise([version], options)
        found: dict[str, Any] = json.loads((out / "speedrun.json").read_text())
        return next((row for row in found["versions"] if row["split"] == "PrivateTest"), {})

    return call


def test_two_calls_of_three_and_two_seeds_bring_all_openings_home(opened: Any, tmp_path: Path) -> None:
    import parcel

    out = tmp_path / "out"
    row = opened(out, 3)
    assert (row["seeds"], row["of"], row["reached"]) == (3, 5, False)
    row = opened(out, 5)
    assert (row["seeds"], row["of"], row["reached"]) == (5, 5, True)
    assert parcel.collect(out, tmp_path / "home", tmp_path / "runs") == 0
    assert len(Ledger(tmp_path / "home" / "ledger.jsonl").openings()) == 5


def test_records_whose_openings_are_elsewhere_are_refused(opened: Any, tmp_path: Path) -> None:
    import parcel

    one = tmp_path / "one"
    opened(one, 3)
    with pytest.raises(SystemExit, match="r5, r6, r7"):
        opened(tmp_path / "two", 5, given=one / "speedrun.json")
    parcel.collect(one, tmp_path / "home", tmp_path / "runs")
    with pytest.raises(SystemExit, match="no record says with which seeds"):
        opened(tmp_path / "three", 5)
    assert opened(tmp_path / "four", 5, given=one / "speedrun.json")["reached"]


def test_the_parts_of_a_run_add_up(speedrun: ModuleType) -> None:
    log = [
        {"seconds": 5.0, "faces_per_second": 200.0, "stage": "small"},
        {"seconds": 2.0, "faces_per_second": 500.0, "stage": "small"},
        {"seconds": 3.5, "faces_per_second": 500.0, "stage": "small"},
    ]
    parts = speedrun.parts_of(100.0, {"imported": 104.0, "loaded": 105.0, "trained": 117.0}, 119.5, log, 1000)
    assert sum(parts.values()) == pytest.approx(19.5)
    assert parts == {
        "start": 4.0, "data": 1.0, "besides": 1.5, "training": 6.0, "capture": 3.0, "selection": 1.5, "evaluation": 2.5,
    }  # fmt: skip


def test_peaks_by_name(speedrun: ModuleType) -> None:
    assert (speedrun.peak_of("NVIDIA H200"), speedrun.peak_of("Some CPU")) == (989e12, None)


@pytest.mark.full
def test_the_whole_road_on_a_cpu(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "speedrun.py"), "--data", "drawn", "--device", "cpu"]
    done = subprocess.run(
        [*script, "--out", str(tmp_path / "out"), "--steps", "2", "--budget", "900s"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((tmp_path / "out" / "speedrun.json").read_text())
    assert len(report["runs"]) == len(report["versions"]) == 5
    for each in report["runs"]:
        assert each["accuracy"] is None
        assert sum(each["parts"].values()) == pytest.approx(each["seconds"], abs=0.02)
