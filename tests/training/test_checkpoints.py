"""Which epochs are saved, and that those that were not are made again to the same weights."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import apart
import pytest
import tiny

from mien.datasets import FaceSet
from mien.training import Run, checkpoints
from mien.training.checkpoints import Checkpoint, Rhythm
from mien.training.loop import Loop


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What the time is; the last one counts."""
    now = [0.0]
    monkeypatch.setattr(checkpoints.time, "monotonic", lambda: now[-1])
    return now


def gap(clock: list[float], size: int) -> float:
    """Seconds after a checkpoint of so many bytes until the end of an epoch is saved again."""
    rhythm, start = Rhythm(), clock[-1]
    rhythm.began()
    rhythm.wrote(size)
    while not rhythm.epoch_due():
        clock.append(clock[-1] + 0.25)
    return clock[-1] - start


def test_large_checkpoints_are_rarer_but_never_by_more_than_a_minute(clock: list[float]) -> None:
    assert gap(clock, 0) == 0
    assert gap(clock, 320 << 20) == 10
    assert gap(clock, 7 << 30) == 60
    assert gap(clock, 1 << 40) == 60


def test_a_short_training_may_do_without(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "SAVE_FIRST", 60.0)
    rhythm = Rhythm()
    assert not rhythm.epoch_due()
    clock.append(60.0)
    assert rhythm.epoch_due()


def test_a_long_epoch_is_saved_within(clock: list[float]) -> None:
    rhythm = Rhythm()
    clock.append(600.0)
    assert not rhythm.step_due()
    clock.append(600.5)
    assert rhythm.step_due()
    rhythm.began()
    assert not rhythm.step_due()


def saves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Finished epochs at every checkpoint of a training whose checkpoints all count as large."""
    written: list[int] = []
    real = Loop._save
    monkeypatch.setattr(Loop, "_save", lambda self, *place: (written.append(len(self.log)), real(self, *place)))
    monkeypatch.setattr(checkpoints, "SAVE_RATE", 1e-3)
    return written


def test_short_epochs_share_a_checkpoint(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = saves(monkeypatch)
    run = tiny.run(drawn, tmp_path, "epochs=4")
    assert written == [1], "a checkpoint of many seconds of writing was followed by another at once"
    assert [entry["epoch"] for entry in run.log] == [0, 1, 2, 3]


def slow_to_save(folder: Path) -> None:
    checkpoints.SAVE_RATE = 1e-3
    tiny.main(str(folder), "3", "2", "epochs=4")


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_epochs_without_a_checkpoint_are_made_again(drawn: FaceSet, tmp_path: Path) -> None:
    whole = tiny.run(drawn, tmp_path / "whole", "epochs=4")
    assert apart.run(slow_to_save, tmp_path / "killed", said=tmp_path / "said") == -signal.SIGKILL
    (folder,) = (tmp_path / "killed").iterdir()
    assert len(Run.open(folder).log) == 3
    assert len(Checkpoint.load(folder / "checkpoint.safetensors").log) == 1, "there was no gap to go back over"
    epochs: list[int] = []
    resumed = tiny.run(
        drawn, tmp_path / "killed", "epochs=4", resume=True, on_progress=lambda now: epochs.append(now.epoch)
    )
    assert min(epochs) == 1
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
    assert [entry["loss"] for entry in resumed.log] == [entry["loss"] for entry in whole.log]
