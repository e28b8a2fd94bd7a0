"""Ctrl-C: the first one saves the very step, the second one ends at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny

from mien.datasets import FaceSet
from mien.training import Progress, Run, loop
from mien.training.checkpoints import Checkpoint
from mien.training.stopping import Asked, listening


@pytest.fixture(scope="module")
def whole(drawn: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(drawn, tmp_path_factory.mktemp("whole"))


@pytest.fixture(autouse=True)
def usual() -> Iterator[None]:
    """Python's own handler, and it is there again afterwards."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    after = signal.signal(signal.SIGINT, before)
    assert after is signal.default_int_handler


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def interrupt() -> None:
    raise KeyboardInterrupt


def once(epoch: int, step: int, ended: bool, act: Callable[[], None]) -> Callable[[Progress], None]:
    def watch(now: Progress) -> None:
        if (now.epoch, now.step, now.entry is not None) == (epoch, step, ended):
            act()

    return watch


def stopped(drawn: FaceSet, out: Path, watch: Callable[[Progress], None]) -> Checkpoint:
    """What is saved by a training that ends with a KeyboardInterrupt."""
    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, out, on_progress=watch)
    (folder,) = out.iterdir()
    return Checkpoint.load(folder / "checkpoint.safetensors")


@pytest.mark.parametrize("act", [press, interrupt])
@pytest.mark.parametrize(("step", "ended"), [(2, False), (5, False), (5, True)])
def test_a_stopped_run_goes_on_from_the_very_step(
    whole: Run, drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    act: Callable[[], None], step: int, ended: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr("mien.training.checkpoints.SAVE_RATE", 1e-3)  # the end of the first epoch is all that is saved
    saved = stopped(drawn, tmp_path, once(2, step, ended, act))
    assert len(saved.log) == 2 + ended
    assert (saved.place and saved.place.step) == (None if ended else step)
    steps: list[tuple[int, int]] = []
    resumed = tiny.run(drawn, tmp_path, resume=True, on_progress=lambda now: steps.append((now.epoch, now.step)))
    assert steps[:1] == {(2, False): [(2, 3)], (5, False): [(2, 5)], (5, True): []}[step, ended]
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
    for key in ("loss", "lr", "selection_nll"):
        assert [entry[key] for entry in resumed.log] == [entry[key] for entry in whole.log]


def test_the_second_ends_at_once(drawn: FaceSet, tmp_path: Path) -> None:
    def twice() -> None:
        press()
        with pytest.raises(KeyboardInterrupt):
            press()
        raise KeyboardInterrupt

    saved = stopped(drawn, tmp_path, once(1, 2, False, twice))
    assert (len(saved.log), saved.place) == (1, None), "it took the time to save"


def test_one_while_the_outcome_is_written_ends_a_finished_run(
    whole: Run, drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.Run.save_info

    def save_info(run: Run) -> None:
        if run.finished:
            press()
        real(run)

    monkeypatch.setattr(loop.Run, "save_info", save_info)
    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert Run.open(folder).info["weights_sha256"] == whole.info["weights_sha256"]


@pytest.mark.parametrize("when", ["run.json", "checkpoint"])
def test_the_second_one_after_the_outcome_was_written_leaves_a_finished_run(
    whole: Run, drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Once run.json names the weights, nothing may write over it that does not."""
    save_info, unlink = loop.Run.save_info, Path.unlink

    def written(run: Run) -> None:
        save_info(run)
        if run.finished and when == "run.json":
            interrupt()

    def removed(path: Path, missing_ok: bool = False) -> None:
        unlink(path, missing_ok)
        if path.name == "checkpoint.safetensors" and when == "checkpoint":
            interrupt()

    with monkeypatch.context() as patched:
        patched.setattr(loop.Run, "save_info", written)
        patched.setattr(Path, "unlink", removed)
        with pytest.raises(KeyboardInterrupt):
            tiny.run(drawn, tmp_path)
    (folder,) = tmp_path.iterdir()
    found = Run.open(folder)
    assert found.finished
    assert "selection_accuracy" in found.info
    assert found.info["weights_sha256"] == whole.info["weights_sha256"]
    steps: list[int] = []
    again = tiny.run(drawn, tmp_path, resume=True, on_progress=lambda now: steps.append(now.step))
    assert (again.info, steps) == (found.info, [])


def test_what_a_launcher_passes_on_is_no_second_one() -> None:
    asked = Asked()
    with listening(asked, 60.0):
        press()
        press()
    assert asked()
    assert asked.interrupted
    with listening(asked, 0.0), pytest.raises(KeyboardInterrupt):
        press()


def test_a_program_keeps_its_own_handler() -> None:
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    asked = Asked()
    with listening(asked):
        press()
    assert (came, asked()) == ([signal.SIGINT], False)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_other_threads_leave_handlers_alone() -> None:
    def within() -> None:
        with listening(Asked()):
            seen.append(signal.getsignal(signal.SIGINT))

    seen: list[object] = []
    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
