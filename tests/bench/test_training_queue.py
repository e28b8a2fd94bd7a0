"""The training queue: its table, its jobs, and what a second call does."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mien

ROOT = Path(__file__).parents[2]


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
    first = jobs[0]
    assert queue.startable(jobs, [], tmp_path) is first
    assert queue.startable(jobs[1:], [first], tmp_path) is None, "none begins while the first measures an epoch"
    queue.length(first, tmp_path).write_text("300 0.5")
    assert queue.startable(jobs[1:], [first], tmp_path) is jobs[1]


def test_a_job_waits_for_its_teachers(queue: ModuleType, tmp_path: Path) -> None:
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact,vggnet")
    taught = [job for job in jobs if job.teachers]
    other = next(job for job in jobs if job.system == "vggnet")
    assert taught[0].teachers == ("compact:0", "compact:1", "compact:2")
    assert taught[0].name != jobs[0].name
    for seed in range(3):
        assert queue.startable([*taught, other], [], tmp_path) is other
        # A longer one is preferred; one that was taught itself is no teacher here.
        for epochs, info in ((90, {}), (300, {}), (500, {"teacher": [{"name": "compact"}]})):
            name = f"compact-mien-{epochs}-s{seed}"
            run = tmp_path / "runs" / name
            run.mkdir(parents=True)
            (run / "recipe.toml").write_text(f"epochs = {epochs}\n")
            (run / "run.json").write_text(json.dumps({"system": "compact", "seed": seed, **info}))
            (run / queue.HALF).touch()
            (tmp_path / f"{name}.status").write_text(f"{queue.MEASURED}so many epochs{queue.RUN}{name}")
            # Neither one that is being measured nor one that does not work teaches.
            for end, words in (("a", "unfinished: the time ran out"), ("b", queue.MEASURED + "below 45 %")):
                (run.parent / f"{name}{end}").mkdir()
                (tmp_path / f"{name}{end}.status").write_text(words)
    assert queue.startable([*taught, other], [], tmp_path) is taught[0]
    assert [run.name for run in queue.taught_by(taught[0], tmp_path)] == [f"compact-mien-300-s{n}" for n in range(3)]


def test_a_teacher_that_is_not_wanted_itself_is_refused(queue: ModuleType, tmp_path: Path) -> None:
    table = tmp_path / "jobs.toml"
    table.write_text('[[job]]\nsystem = "compact"\nepochs = [3]\nteachers = ["vggnet:0"]\n')
    with pytest.raises(SystemExit, match="no job for the teachers vggnet:0"):
        queue.wanted(table, "")


@pytest.mark.parametrize("capture", [True, False])
def test_what_is_recorded_at_home_is_not_opened_again(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capture: bool
) -> None:
    """Another ``--out`` knows nothing of what an earlier one has measured; the results at home do."""
    table = tmp_path / "jobs.toml"
    table.write_text('[[job]]\nsystem = "vggnet"\nepochs = [30, 3]\nseeds = [0, 1]\nviews = ["one", "flip"]\n')
    from mien import systems
    from mien.training import Recipe

    recipe = Recipe.of(systems.card("vggnet"), "mien").with_(epochs=3, capture=capture)
    recorded = []
    monkeypatch.setattr("mien.results.load_all", lambda folder: recorded)
    jobs = queue.wanted(table, "")
    for views, told, left in (
        ((), [False, False], [("one", "flip"), ("one", "flip")]),
        (("one",), [False, False], [("one", "flip"), ("flip",)]),
        (("one", "flip"), [False, True], [("one", "flip"), ()]),
    ):
        recorded[:] = [Namespace(system="vggnet", seed=1, recipe_hash=recipe.hash, views=view) for view in views]
        found = queue.unrecorded_at_home(jobs, tmp_path, tmp_path)
        assert [job.views for job in found] == left
        assert [queue.measured(job, tmp_path) for job in found] == told


def test_a_teacher_that_is_recorded_at_home_is_trained_again(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "jobs.toml"
    table.write_text(
        '[[job]]\nsystem = "vggnet"\nepochs = [3]\n[[job]]\nsystem = "compact"\nepochs = [3]\nteachers = ["vggnet:0"]\n'
    )
    from mien import systems
    from mien.training import Recipe

    like = Namespace(
        system="vggnet", seed=0, views="one",
        recipe_hash=Recipe.of(systems.card("vggnet"), "mien").with_(epochs=3, capture=False).hash,
    )  # fmt: skip
    monkeypatch.setattr("mien.results.load_all", lambda folder: [like])
    teacher, student = queue.unrecorded_at_home(queue.wanted(table, ""), tmp_path, tmp_path)
    assert (teacher.views, student.views) == ((), ("one",))
    assert not queue.measured(teacher, tmp_path)
    with pytest.raises(SystemExit, match="name the systems that teach, too: vggnet:0"):
        queue.wanted(table, "compact")


def test_a_taught_job_trains_and_what_does_not_work_opens_nothing(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the probe to the status, as on an accelerator; the teacher's weights have come back in half precision."""
    data = mien.load_dataset("drawn", count=140, seed=0)
    monkeypatch.setattr(queue, "load", lambda *_: data)
    monkeypatch.setattr(queue, "device", lambda: "cpu")
    small = ["system.widths=[4, 8]", "system.depths=[1, 1]", "compile=false", "batch_size=16"]
    options = Namespace(out=tmp_path / "out", data="fer2013", steps=0, parallel=1, beside=0, deadline=time.time() + 900)
    state = queue.work_folder(options.out)
    state.mkdir(parents=True)
    teacher, student = (
        queue.Job.of({"system": "compact", "epochs": [1], "set": small + own, **more}, seed=0, entry=entry, seeds=1)
        for entry, own, more in (
            (0, [], {"views": []}),
            (1, ["distill.weight=0.7"], {"views": ["one"], "teachers": ["compact:0"]}),
        )
    )
    monkeypatch.setattr(queue, "WORKS", 0.0)
    queue.work(teacher, options)
    (run,) = (state / "runs").glob("compact-*")
    assert queue.status(teacher, state).read_text().endswith(queue.RUN + run.name)
    (run / "weights.safetensors").unlink()
    monkeypatch.setattr(queue, "WORKS", 1.0)
    queue.work(student, options)
    said = queue.status(student, state).read_text()
    assert said.startswith(queue.MEASURED)
    assert "the test split stays sealed" in said
    assert queue.RUN not in said
    assert not list((state / "results").rglob("*.json"))


def test_an_epoch_that_was_measured_beside_another_job_is_noted_as_of_one_alone(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "load", lambda *_: mien.load_dataset("drawn", count=140, seed=0))
    monkeypatch.setattr(queue, "probe", lambda *_: 60.0)
    job = queue.Job.of({"system": "compact", "epochs": [4, 2, 1]}, seed=0, entry=0, seeds=1)
    noted = []
    for beside in (0, 1):
        options = Namespace(
            out=tmp_path / str(beside), data="fer2013", steps=0, parallel=2, beside=beside, deadline=time.time() + 200
        )
        state = queue.work_folder(options.out)
        state.mkdir(parents=True)
        monkeypatch.setattr(queue, "longest", lambda job, epoch, left, parallel: noted.append(epoch) or 99)
        queue.work(job, options)
        assert queue.status(job, state).read_text().startswith(queue.LEFT_OUT)
    assert noted == pytest.approx([60 * queue.MARGIN, 30 * queue.MARGIN])


def test_a_probe_counts_every_stage(queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mien
    from mien import systems
    from mien.training import Recipe

    data = mien.load_dataset("drawn", count=140, seed=0)
    recipe = Recipe.of(systems.card("compact"), "mien").with_(epochs=4, batch_size=len(data.train))
    recipe = Recipe.from_dict({**recipe.to_dict(), "stages": [{"name": "first", "epochs": 10}, {"name": "second"}]})
    asked = []

    def train(_: str, some: object, __: object, *, recipe: Recipe, **___: object) -> Namespace:
        asked.append([stage.epochs for stage in recipe.staged])
        rates = (1.0, 2.0, 1.0, 3.0)  # seconds; the second epoch of each stage counts
        return Namespace(log=[{"faces_per_second": len(data.train) / each, "seconds": each} for each in rates])

    monkeypatch.setattr(mien, "train", train)
    job = queue.Job.of({"system": "compact", "epochs": [4]}, seed=0, entry=0, seeds=1)
    assert queue.probe(job, recipe, data, tmp_path, "cpu", None) == pytest.approx((10 * 2 + 4 * 3) / 4)
    assert asked == [[2, 2]]


def test_a_trial_runs_several_at_once(queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing has to be measured in it, so nothing waits for a length."""
    together = []

    class Process:
        returncode = 0

        def __init__(self) -> None:
            together.append(self)

        def poll(self) -> int | None:
            return 0 if len(together) > 1 else None

    monkeypatch.setattr(queue, "start", lambda *_, beside: Process())
    monkeypatch.setattr(queue, "prepare", lambda data: None)
    monkeypatch.setattr(queue, "device", lambda: "cpu")
    table = tmp_path / "jobs.toml"
    table.write_text("".join(f'[[job]]\nsystem = "{name}"\nepochs = [3]\n' for name in ("vggnet", "compact")))
    options = Namespace(
        out=tmp_path / "out", data="drawn", steps=2, parallel=2, budget=60.0, jobs=table, systems="",
        results=tmp_path / "results",
    )  # fmt: skip
    assert queue.supervise(options) == 0
    assert len(together) == 2


@pytest.mark.parametrize(
    ("left", "epochs"),
    [(3 * 200 + 1.0, 200), (3 * 60 + 1.0, 60), (3 * 60 - 1.0, 120), (61.0, 60), (59.0, 60)],
)
def test_a_length_leaves_time_for_the_other_seeds(queue: ModuleType, left: float, epochs: int) -> None:
    """Three seeds have a mean; one long training has none, and is taken only where three short ones do not fit."""
    job = queue.Job.of({"system": "compact", "epochs": [200, 120, 60]}, seed=0, entry=0, seeds=3)
    assert queue.longest(job, 1.0, left) == epochs


def test_one_training_beside_another_takes_twice_as_long(queue: ModuleType) -> None:
    one, three = (
        queue.Job.of({"system": "compact", "epochs": [200, 120, 60]}, seed=0, entry=0, seeds=seeds) for seeds in (1, 3)
    )
    assert [queue.longest(one, 1.0, 250.0, parallel) for parallel in (1, 2)] == [200, 120]
    # The third one takes its turns with a job of another entry.
    assert [queue.longest(three, 1.0, left, 2) for left in (4 * 120 + 1.0, 4 * 120 - 1.0)] == [120, 60]


def test_a_length_that_nobody_began_with_is_chosen_anew(queue: ModuleType, tmp_path: Path) -> None:
    """An entry that a call reached in its last minute must not stay at its shortest length."""
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact,vggnet")
    late, begun = jobs[0], next(job for job in jobs if job.system == "vggnet")
    for job, said in ((late, queue.LEFT_OUT + "120 epochs"), (begun, "unfinished: the time ran out")):
        queue.status(job, tmp_path).write_text(said)
        queue.length(job, tmp_path).write_text("60 0.5")
    queue.forget_lengths(jobs, tmp_path)
    assert not queue.length(late, tmp_path).exists()
    assert queue.length(begun, tmp_path).exists()


def test_what_broke_a_record_is_told(queue: ModuleType) -> None:
    said = TypeError("cannot be recorded")
    said.__cause__ = RuntimeError("an earlier error during capture")
    said.__cause__.__context__ = ValueError("the generator is not registered\nsecond line")
    assert queue.causes(said) == [
        "TypeError: cannot be recorded",
        "RuntimeError: an earlier error during capture",
        "ValueError: the generator is not registered",
    ]


def test_the_end_of_a_log_is_told(queue: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("".join(f"{number}\n" for number in range(30)))
    assert [line.strip() for line in queue.last_words(tmp_path / "log", 3).splitlines()] == ["27", "28", "29"]


def test_a_trial_on_a_part_of_fer2013_measures_nothing(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mien

    data = mien.load_dataset("drawn", count=140, seed=0)
    monkeypatch.setattr(queue, "load", lambda *_: data)
    monkeypatch.setattr(queue, "device", lambda: "cpu")
    job = queue.Job.of(
        {"system": "compact", "epochs": [1], "set": ["system.widths=[4, 8]", "system.depths=[1, 1]"], "weights": False},
        seed=0, entry=0, seeds=1,
    )  # fmt: skip
    for name, words in (("fer2013", "2 steps, nothing else"), ("drawn", "1 epochs, selection")):
        options = Namespace(out=tmp_path / name / "out", data=name, steps=2, parallel=1, deadline=time.time() + 600)
        queue.work_folder(options.out).mkdir(parents=True)
        queue.work(job, options)
        assert queue.status(job, queue.work_folder(options.out)).read_text().startswith(queue.MEASURED + words)


def test_the_plan_has_a_line_per_job(queue: ModuleType) -> None:
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact")
    told = queue.plan(jobs, 0.0, 540.0)
    assert [line.split()[:3] for line in told.splitlines() if line.startswith("compact")] == [
        ["compact", "mien", f"s{seed}"] for seed in (0, 1, 2, 0, 1, 2)
    ]
    assert "989 TFLOP/s" in told


def test_seconds(queue: ModuleType) -> None:
    assert (queue.seconds("540s"), queue.seconds("9m"), queue.seconds("30")) == (540, 540, 30)


def test_a_job_that_no_graph_can_hold_is_trained_without_and_so_is_its_entry(queue: ModuleType) -> None:
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact,vggnet")
    again = queue.unrecorded(jobs[0], jobs[1:])
    assert [job.seed for job in again] == [job.seed for job in jobs]
    assert all((job.set[-1] == "capture=false") == (job.entry == jobs[0].entry) for job in again)
    assert queue.length(again[0], Path()) == queue.length(again[1], Path()) != queue.length(jobs[0], Path())


@pytest.mark.parametrize(("error", "status"), [("RecordingError", 3), ("RunError", None)])
def test_only_the_error_of_recording_asks_for_a_training_without(
    queue: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: str, status: int | None
) -> None:
    import mien
    from mien import errors

    def train(*_: Any, **__: Any) -> None:
        raise getattr(errors, error)("words that nobody reads: cannot be recorded")

    monkeypatch.setattr(mien, "train", train)
    options = Namespace(out=tmp_path / "out", data="drawn", steps=1, parallel=1, deadline=time.time() + 600)
    job = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact")[0]
    queue.work_folder(options.out).mkdir()
    with pytest.raises(SystemExit if status else errors.RunError) as told:
        queue.work(job, options)
    assert getattr(told.value, "code", None) == status


def test_a_second_call_leaves_out_what_was_measured(queue: ModuleType, tmp_path: Path) -> None:
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "compact")
    queue.status(jobs[0], tmp_path).write_text(queue.MEASURED + "300 epochs")
    queue.status(jobs[1], tmp_path).write_text("unfinished: the time ran out")
    assert [queue.measured(job, tmp_path) for job in jobs[:3]] == [True, False, False]


@pytest.mark.full
@pytest.mark.parametrize("large", [False, True])
def test_every_job_trains_is_measured_and_comes_back(queue: ModuleType, tmp_path: Path, large: bool) -> None:
    # Weights, gradients, two moments, the average, the best of 362 million parameters and a checkpoint of them all.
    largest = "emonext-xl"
    if large and _available() < 30 << 30:
        pytest.skip(f"a training of {largest} needs 30 GiB of free memory")
    jobs = queue.wanted(ROOT / "benchmarks" / "training_queue.toml", "")
    systems = {largest} if large else {job.system for job in jobs} - {largest}
    script = [sys.executable, str(ROOT / "benchmarks" / "training_queue.py")]
    trial = [*script, "--data", "drawn", "--out", str(tmp_path / "out"), "--steps", "2"]
    trial += ["--budget", "3600s", "--systems", ",".join(sorted(systems))]  # twenty-five minutes of a core
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


def _available() -> int:
    """Bytes of memory that a program could have; plenty where nothing says it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return sys.maxsize
    free = next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    group = Path("/sys/fs/cgroup")
    try:  # a container's own limit
        limit, used = ((group / name).read_text().strip() for name in ("memory.max", "memory.current"))
    except OSError:
        return free
    return free if limit == "max" else min(free, int(limit) - int(used))
