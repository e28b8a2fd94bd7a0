"""A run folder belongs to one process, and nothing is left of a training that could not begin."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from mien.datasets import FaceSet
from mien.errors import OccupiedError, RunError
from mien.training import Progress, Run, loop, train
from mien.training.occupied import check_free, occupied

HOLD = """
import sys
from pathlib import Path
from typing import Any
from mien.training.occupied import check_free, occupied
with occupied(Path(sys.argv[1])):
    (Path(sys.argv[1]) / "run.json").touch()
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(RunError, match="another process trains in"), occupied(folder):
            pass
        assert folder.exists()
        other.kill()
    assert (folder / "lock").exists()
    with occupied(folder):
        pass
    assert [path.name for path in folder.iterdir()] == ["run.json"]


def test_only_one_trains(drawn: FaceSet, tmp_path: Path) -> None:
    seen: list[int] = []

    def look(progress: Progress) -> None:
        if not progress.entry and progress.step == 1:
            with pytest.raises(RunError, match=r"exists \(running\)"):
                tiny.run(drawn, tmp_path, "epochs=1")
            with pytest.raises(RunError, match="another process trains in"):
                tiny.run(drawn, tmp_path, "epochs=1", resume=True)
            seen.append(1)

    run = tiny.run(drawn, tmp_path, "epochs=1", on_progress=look)
    assert seen == [1]
    assert tiny.run(drawn, tmp_path, "epochs=1", resume=True) == run
    assert not (run.folder / "lock").exists()


def test_only_one_fits(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.systems.turtle import Turtle

    def fit(self: object, *arguments: object, **options: object) -> None:
        (folder,) = tmp_path.iterdir()
        with pytest.raises(RunError, match="another process trains in"), occupied(folder):
            pass
        assert (Run.open(folder).info["status"], Run.open(folder).state) == ("running", "running")
        raise KeyboardInterrupt

    monkeypatch.setattr(Turtle, "check", lambda self, split, *scored: None)
    monkeypatch.setattr(Turtle, "fit", fit)
    with pytest.raises(KeyboardInterrupt):
        train("turtle", drawn.train, drawn.selection, out=tmp_path)
    (folder,) = tmp_path.iterdir()
    assert (Run.open(folder).info["status"], Run.open(folder).state) == ("stopped", "stopped")
    assert not (folder / "lock").exists()


def test_those_who_only_look_do_not_keep_each_other_away(tmp_path: Path) -> None:
    """A lock that a killed process left is a file that nobody holds."""
    (tmp_path / "lock").touch()
    failed: list[Exception] = []

    def look() -> None:
        try:
            for _ in range(50):
                check_free(tmp_path)
        except OccupiedError as error:
            failed.append(error)

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_what_cannot_begin_leaves_no_folder(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tiny.run(drawn, tmp_path / "first", "epochs=1")
    out = tmp_path / "runs"
    for _ in range(2):  # the second time the same reason, not "exists"
        with pytest.raises(RunError, match=r"blocks\.1\.\S+ is"):
            tiny.run(drawn, out, "system.widths=[4, 12]", init=first)
    monkeypatch.setattr(loop, "_has_compiler", lambda: False)
    with pytest.raises(RunError, match="needs a C\\+\\+ compiler"):
        tiny.run(drawn, out, "compile=true")
    assert not out.exists()


def test_a_teacher_sees_plain_faces_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A student of small faces: its teacher takes larger ones."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (56, 96, 96), np.uint8)
    from mien.labels import FER2013

    splits = (np.arange(56) >= 42).astype(np.uint8)
    own = FaceSet.from_arrays(
        "own", FER2013, images, (np.arange(56) % 7).astype(np.uint8), splits, ("train", "selection")
    )
    teacher = tiny.run(own, tmp_path, "epochs=1", "name=teacher", "input.size=96")
    seen: list[np.ndarray] = []
    from mien.training.distillation import Teacher

    asked = Teacher.on_faces

    def watch(self: Teacher, faces: np.ndarray, *rest: Any) -> object:
        seen.append(faces)
        return asked(self, faces, *rest)

    monkeypatch.setattr(Teacher, "on_faces", watch)
    tiny.run(own, tmp_path, "epochs=1", "distill.weight=0.5", "distill.targets=face", teacher=teacher)
    assert len(seen) == 1
    np.testing.assert_array_equal(seen[0], own.train.images)


def test_what_was_left_of_a_kill_right_at_the_end_is_cleared_away(drawn: FaceSet, tmp_path: Path) -> None:
    run = tiny.run(drawn, tmp_path, "epochs=1")
    before = sorted(path.name for path in run.folder.iterdir())
    for name in ("lock", "checkpoint.safetensors", "teacher-4.safetensors", ".checkpoint.safetensors.0.part"):
        (run.folder / name).touch()
    assert tiny.run(drawn, tmp_path, "epochs=1", resume=True) == run
    assert sorted(path.name for path in run.folder.iterdir()) == before
