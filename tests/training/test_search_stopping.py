"""Searches that are asked to stop: at once, with nothing lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from searching import TINY

from mien.datasets import FaceSet
from mien.errors import StoppedError
from mien.training import Progress
from mien.training.search import search, worker

pytest.importorskip("optuna")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")


def run(faces: FaceSet, out: Path) -> Any:
    return search("compact", faces, trials=3, epochs=2, settings=TINY, sampler="random", pruner="none", out=out,
                  device="cpu")  # fmt: skip


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[int, Progress], None]]:
    """Who is told of every progress, with the number of trainings begun before this one."""
    watchers: list[Callable[[int, Progress], None]] = []
    train, begun = worker.train_run, [0]

    def telling(*given: Any, on_progress: Any, **named: Any) -> Any:
        number = begun[0]
        begun[0] += 1

        def told(progress: Progress) -> None:
            for watcher in watchers:
                watcher(number, progress)
            on_progress(progress)

        return train(*given, on_progress=told, **named)

    monkeypatch.setattr(worker, "train_run", telling)
    return watchers


@pytest.mark.parametrize(
    ("number", "ends", "words"),
    [
        (signal.SIGTERM, StoppedError, r"on request \(SIGTERM\).*the same command goes on"),
        (signal.SIGINT, KeyboardInterrupt, None),
    ],
)
def test_a_search_ends_where_it_is_asked_to_and_goes_on_inside_the_trial(
    number: int, ends: type[BaseException], words: str | None, drawn: FaceSet, tmp_path: Path, watched: list[Any]
) -> None:
    handlers = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)]
    seen: list[tuple[int, int, int]] = []

    def ask(trial: int, progress: Progress) -> None:
        if progress.entry is None:
            seen.append((trial, progress.epoch, progress.step))
            if seen[-1] == (1, 1, 1):
                os.kill(os.getpid(), number)

    watched.append(ask)
    with pytest.raises(ends, match=words):
        run(drawn, tmp_path)
    assert seen[-1] == (1, 1, 1), "no step more"
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)] == handlers
    found = run(drawn, tmp_path)
    assert (2, 1, 2) in seen, "the trial went on inside its second epoch"
    assert (2, 1, 1) not in seen
    assert sorted(trial["state"] for trial in found.trials) == ["complete"] * 3 + ["fail"]


def test_between_two_trials_no_other_is_begun(
    drawn: FaceSet, tmp_path: Path, watched: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    watched.append(lambda trial, progress: begun.append(trial))
    standing = worker.standing

    def asked(*given: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return standing(*given)

    monkeypatch.setattr(worker, "standing", asked)
    with pytest.raises(StoppedError, match="the search was stopped on request"):
        search("compact", drawn, trials=3, epochs=1, settings=TINY, sampler="random", out=tmp_path, device="cpu",
               on_progress=lambda *_: None)  # fmt: skip
    assert set(begun) == {0}


@pytest.mark.full
def test_several_workers_stop_together(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mien", "search", "--space", "compact", "--data", "drawn", "--trials", "200",
             "--epochs", "2", "--workers", "2", "--out", str(tmp_path), "--device", "cpu"]  # fmt: skip
    for setting in TINY:
        words += ["--set", setting]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        killer = threading.Timer(240, lambda: os.killpg(process.pid, signal.SIGKILL))
        killer.start()
        for line in process.stderr:
            if line.startswith("trial 2/"):
                break
        process.send_signal(signal.SIGTERM)
        said = process.stderr.read()  # ends with the last of the workers, who have it open, too
        killer.cancel()
        assert process.wait() == 143, said
    assert said.count("stopped on request (SIGTERM)") == 1
    assert "Traceback" not in said
    assert len(list(tmp_path.rglob("log.jsonl"))) < 10
