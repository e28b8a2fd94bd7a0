"""The training queue: its table, what it packs, and what it refuses to take over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from mien.results import Ledger

ROOT = Path(__file__).parents[2]
ABOUT = ("fer2013/private@1", "PrivateTest", "compact", "run", "recipe", "weights", "one", "data")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import training_queue

    return training_queue  # type: ignore[no-any-return]


def test_the_table_names_systems_recipes_and_views_that_exist(queue: ModuleType) -> None:
    from mien import systems
    from mien.faces.views import get_view
    from mien.training import Recipe

    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "")
    assert jobs
    for job in jobs:
        recipe = Recipe.of(systems.card(job.system), job.recipe).set(job.set)
        assert list(job.epochs) == sorted(job.epochs, reverse=True)
        assert recipe.system_id == job.system
        for view in job.views:
            get_view(view)


def test_only_some_systems(queue: ModuleType) -> None:
    table = ROOT / "benchmarks" / "training_queue.toml"
    assert {job.system for job in queue.wanted(table, "compact")} == {"compact"}
    with pytest.raises(SystemExit, match="no job for nothing"):
        queue.wanted(table, "nothing")


def test_the_first_seed_of_an_entry_finds_the_length_of_all(queue: ModuleType, tmp_path: Path) -> None:
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact,vggnet")
    first, second = jobs[0], next(job for job in jobs if job.system == "vggnet")
    assert queue.startable(jobs, [], tmp_path) is first
    assert queue.startable(jobs[1:], [first], tmp_path) is second, "seeds wait for the first of their entry"
    assert queue.startable(jobs[1:3], [first], tmp_path) is None
    queue.write_whole(queue.length(first, tmp_path), "300 0.5")
    assert queue.startable(jobs[1:], [first], tmp_path) is jobs[1]


def test_the_plan_has_a_line_per_job(queue: ModuleType) -> None:
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact")
    told = queue.plan(jobs, 0.0, 540.0)
    assert [line.split()[:3] for line in told.splitlines() if line.startswith("compact")] == [
        ["compact", "mien", f"s{seed}"] for seed in range(3)
    ]
    assert "989 TFLOP/s" in told


def test_what_comes_back_stays_below_the_limit(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "PIECE", 100_000)
    monkeypatch.setattr(queue, "ALL", 350_000)
    state, out = tmp_path / "state", tmp_path / "out"
    out.mkdir()
    for number in range(5):
        (state / "runs" / str(number)).mkdir(parents=True)
        (state / "runs" / str(number) / "weights.half.safetensors").write_bytes(bytes(100_000))
    queue.pack(state, out)
    files = list(out.iterdir())
    assert 200_000 < sum(file.stat().st_size for file in files) <= 350_000
    assert max(file.stat().st_size for file in files) <= 100_000


def test_rounding_spares_vectors(queue: ModuleType, tmp_path: Path) -> None:
    import torch

    from mien import systems
    from mien.datasets import load_dataset
    from mien.training import Recipe, train
    from mien.training.weights import load_tensors, save_tensors

    data = load_dataset("drawn", count=70, seed=0)
    recipe = Recipe.of(systems.card("compact")).set(
        ["epochs=1", "compile=false", "system.widths=[4, 8]", "system.depths=[1, 1]"]
    )
    run = train("compact", data.train, data.selection, recipe=recipe, out=tmp_path, device="cpu")
    tensors, metadata = load_tensors(run.folder / "weights.safetensors")
    variance = next(name for name in tensors if name.endswith("running_var"))
    tensors[variance].fill_(1e-9)
    save_tensors(run.folder / "weights.safetensors", tensors, metadata)
    module = queue.halve(run.folder).module()
    assert torch.equal(module.state_dict()[variance], tensors[variance])
    assert not torch.equal(module.state_dict()["stem.0.weight"], tensors["stem.0.weight"])


def test_seconds(queue: ModuleType) -> None:
    assert (queue.seconds("540s"), queue.seconds("9m"), queue.seconds("30")) == (540, 540, 30)


def packed(queue: ModuleType, folder: Path, lines: int, before: Path | None = None, system: str = "compact") -> Path:
    """What comes back from a machine that opened the split ``lines`` times."""
    state, out = folder / "state", folder / "out"
    (state / "results").mkdir(parents=True)
    out.mkdir()
    ledger = state / "results" / "ledger.jsonl"
    if before is not None:
        ledger.write_bytes(before.read_bytes())
    for _ in range(lines):
        Ledger(ledger).open_split(*ABOUT[:2], system, *ABOUT[3:])
    queue.pack(state, out)
    return out


def test_a_ledger_that_continues_ours_is_taken_over(queue: ModuleType, tmp_path: Path) -> None:
    home = tmp_path / "home" / "results"
    Ledger(home / "ledger.jsonl").open_split(*ABOUT)
    out = packed(queue, tmp_path / "away", 2, home / "ledger.jsonl")
    assert queue.collect(out, home, tmp_path / "home" / "runs") == 0
    assert Ledger(home / "ledger.jsonl").counts() == {"compact": 3}


def test_a_ledger_of_its_own_is_refused(queue: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "home" / "results"
    Ledger(home / "ledger.jsonl").open_split(*ABOUT)
    before = (home / "ledger.jsonl").read_bytes()
    out = packed(queue, tmp_path / "away", 2, system="vggnet")
    assert queue.collect(out, home, tmp_path / "home" / "runs") == 1
    assert (home / "ledger.jsonl").read_bytes() == before
    assert "does not continue" in capsys.readouterr().err


@pytest.mark.full
def test_every_job_trains_is_measured_and_comes_back(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "benchmarks" / "training_queue.py")]
    trial = [*script, "--data", "drawn", "--out", str(tmp_path / "out"), "--budget", "600s", "--steps", "2"]
    told = subprocess.run(trial, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    files = list((tmp_path / "out").iterdir())
    assert len(files) <= 8
    assert max(file.stat().st_size for file in files) <= 16 << 20
    home = ["--results", str(tmp_path / "results"), "--runs", str(tmp_path / "runs")]
    subprocess.run([*script, "--collect", str(tmp_path / "out"), *home], check=True, capture_output=True)
    verified = subprocess.run(
        [sys.executable, "-m", "mien", "results", "verify", str(tmp_path / "results")], capture_output=True, text=True
    )
    assert verified.returncode == 0, verified.stdout + verified.stderr
