"""The speedrun: its versions, what opens the test split, where its seconds go, and the whole road on a CPU."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

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


def run(seed: int, seconds: float, accuracy: float | None = None, selection: float = 0.72) -> dict[str, Any]:
    return {
        "version": "a", "recipe_hash": "h", "seed": seed, "seconds": seconds, "selection_accuracy": selection,
        "accuracy": accuracy, "flops": 10**15, "peak_share": 0.2,
    }  # fmt: skip


def test_only_a_frozen_version_is_opened_and_with_fresh_seeds(speedrun: ModuleType) -> None:
    seen = [run(seed, 30.0) for seed in range(5)]
    assert speedrun.fresh_seeds("a", "h", seen, 5) == [5, 6, 7, 8, 9]
    for short in (seen[:4], [{**each, "recipe_hash": "other"} for each in seen], [run(0, 30.0)] * 5):
        with pytest.raises(SystemExit, match="not frozen"):
            speedrun.fresh_seeds("a", "h", short, 5)
    opened = [*seen, *(run(seed, 30.0, 0.74) for seed in range(5, 8))]
    assert speedrun.fresh_seeds("a", "h", opened, 5) == [5, 6, 7, 8, 9], "a call that broke off goes on with its seeds"


def test_the_mark_is_reached_by_the_mean_of_five_opened_runs(speedrun: ModuleType) -> None:
    def reached(runs: list[dict[str, Any]]) -> list[bool]:
        return [row["reached"] for row in speedrun.summaries(runs)]

    assert reached([run(seed, 30.0, selection=0.75) for seed in range(5)]) == [False], "selection claims nothing"
    assert reached([run(seed, 30.0, 0.74) for seed in range(4)]) == [False]
    assert reached([run(seed, 30.0, 0.74) for seed in range(5)]) == [True]
    assert reached([*(run(seed, 30.0, 0.735) for seed in range(4)), run(4, 30.0, 0.72)]) == [False]


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
