"""Several processes do what one does: the same batches and steps, each face scored once; and none waits forever."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import apart
import numpy as np
import pytest
import several
import tiny
import torch

from mien.datasets import FaceSet
from mien.errors import InputError, ProcessError, StoppedError
from mien.evaluation import evaluate, score
from mien.evaluation.processes import Processes
from mien.results import Ledger, load_all
from mien.training import Progress, Recipe, Run, train
from mien.training.compute.parallel import Together
from mien.training.pipeline.augmentation import Amount, Share
from mien.training.pipeline.variants import Varied
from mien.training.weights import load_tensors

ALIKE = ("system.dropout=0", "sync_batch_norm=true", "epochs=2", "batch_size=25", "augment.mixup=0.3")


def chosen(*changes: str) -> Recipe:
    """A tiny recipe; with ``in stages`` among the changes it has two."""
    plain = tiny.recipe(*(change for change in changes if change != "in stages"))
    stages = ({"name": "all", "epochs": 2}, {"name": "last", "epochs": 1, "trainable": ["head"]})
    return plain.with_(stages=stages) if "in stages" in changes else plain


def job(folder: Path, *changes: str, **options: Any) -> dict[str, Any]:
    """A training in ``folder / 'runs'``; options as of `several.act`."""
    folder.mkdir(exist_ok=True)
    recipe = folder / "recipe.toml"
    recipe.write_text(chosen(*changes).to_toml(), encoding="utf-8")
    return {"runs": str(folder / "runs"), "recipe": str(recipe), **options}


def together(count: int, *jobs: dict[str, Any]) -> tuple[int, str]:
    """Exit status and standard error of jobs on processes of one thread."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*launcher, several.__file__, json.dumps(jobs)],
        check=False,
        capture_output=True,
        text=True,
        timeout=500,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return done.returncode, done.stderr


def forked(count: int, folder: Path, *jobs: dict[str, Any]) -> str:
    """The same without torchrun, which starts each process anew; for the tests that do not look at torchrun."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {
        "TORCHELASTIC_RUN_ID": "none", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1",
        "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count),
    }  # fmt: skip
    said = [folder / f"{rank}.said" for rank in range(count)]
    begun = [
        apart.begin(several.act_all, jobs, said=path, environment={**common, "RANK": str(n), "LOCAL_RANK": str(n)})
        for n, path in enumerate(said)
    ]
    for process in begun:
        process.join()
    text = "\n".join(path.read_text() for path in said)
    assert [process.exitcode for process in begun] == [0] * count, text
    return text


def the_run(folder: Path) -> Run:
    (path,) = (folder / "runs").iterdir()
    return Run.open(path)


def alone(drawn: FaceSet, folder: Path, *changes: str) -> Run:
    recipe = chosen(*changes)
    return train("compact", drawn.train, drawn.selection, recipe=recipe, out=folder, device="cpu")


def assert_alike(one: Run, other: Run) -> None:
    ours, theirs = (load_tensors(run.folder / "weights.safetensors")[0] for run in (one, other))
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-3, atol=1e-5, msg=lambda text, n=name: f"{n}: {text}")
    for mine, yours in zip(one.log, other.log, strict=True):
        assert yours["loss"] == pytest.approx(mine["loss"], rel=1e-5)
        assert yours["selection_nll"] == pytest.approx(mine["selection_nll"], rel=1e-4)


@pytest.mark.parametrize(
    "changes",
    [
        ("augment.mixup=0.3", "augment.cutmix=0.5", "augment.noise=0.1", "augment.blur=1", "augment.rotate=20"),
        ("augment.crops=ten", "input.resize=56", "augment.noise=0.1", "augment.erase_probability=0.5"),
        ("augment.mixup=0", "augment.cutmix=0", "augment.light_probability=0.5", "augment.contrast=0.5"),
        ("augment.window=inside", "augment.light=factor", "augment.contrast=0.5", "augment.erase_fill=black"),
    ],
)
def test_a_face_varies_alike_however_many_processes_there_are(drawn: FaceSet, changes: tuple[str, ...]) -> None:
    recipe = tiny.recipe(*changes)
    faces, rows = torch.from_numpy(np.array(drawn.train.images)), torch.arange(40, 51)
    targets = torch.eye(7)[torch.arange(11) % 7]

    def made(share: Share | None) -> tuple[torch.Tensor, torch.Tensor, float]:
        generator, draw = torch.Generator().manual_seed(3), random.Random(4)
        varied = Varied(faces, rows, recipe, generator, share)
        amount = Amount.drawn(recipe.input.size, recipe.augment, draw)
        images, soft = varied.mixed(targets.repeat(varied.crops, 1), amount)
        return images, soft, float(torch.rand(1, generator=generator))

    whole, soft, after = made(None)
    crops = len(whole) // 11
    for places in torch.arange(11).tensor_split(3):
        images, mine, then = made(Share(places, 11))
        own = torch.cat([places + crop * 11 for crop in range(crops)])
        torch.testing.assert_close(images, whole[own])
        torch.testing.assert_close(mine, soft[own])
        assert then == after, "the next batch would differ"


class Gathered(Processes):
    """One of several processes whose others have answered before."""

    def from_all(self, value: Any) -> list[Any]:
        self.__dict__.setdefault("shares", []).append(value)
        return [value]


def test_each_face_is_scored_once(drawn: FaceSet) -> None:
    spec = tiny.recipe().input
    images = drawn.train.images[:53]

    def logits(batch: np.ndarray) -> np.ndarray:
        return batch.mean(axis=(2, 3)).repeat(7, axis=1)

    whole = score(images, spec, logits, "flip", batch=8)
    shares, told = [], []
    for rank in range(3):
        one = Gathered(rank, 3)
        seen: list[int] = []
        with pytest.raises(ProcessError, match="each of the 53 faces exactly once"):
            score(images, spec, logits, "flip", batch=8, processes=one, progress=seen.append)
        shares += one.__dict__["shares"]
        told.append(sum(seen))
    assert told == [53] * 3

    class All(Processes):
        def from_all(self, value: Any) -> list[Any]:
            return shares

    assert np.array_equal(score(images, spec, logits, "flip", batch=8, processes=All(0, 3)), whole)
    shares.append(shares[0])
    with pytest.raises(ProcessError, match="exactly once"):
        score(images, spec, logits, "flip", batch=8, processes=All(0, 3))


def test_shares_weigh_as_many_faces_as_they_have() -> None:
    for faces, count in ((11, 3), (25, 2), (7, 3)):
        weights = []
        for rank in range(count):
            part = Together(None, Processes(rank, count), torch.nn.Identity(), synchronised=True)  # type: ignore[arg-type]
            share = part.share(torch.arange(faces))
            assert share is not None
            weights.append(part.weight(share) / len(share.rows))
        assert weights == pytest.approx([count / faces] * count)
        part.check_batches(2 * count, 1)
        with pytest.raises(InputError, match=f"batches of 3 faces are too small for {count} processes"):
            part.check_batches(9, 3)


def asked_at(epoch: int, step: int) -> Any:
    def ask(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (epoch, step) and not progress.entry:
            os.kill(os.getpid(), signal.SIGTERM)

    return ask


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
@pytest.mark.parametrize("changes", [(), ("staged", "batch_size=24")])
def test_sigterm_saves_within_an_epoch(drawn: FaceSet, tmp_path: Path, changes: tuple[str, ...]) -> None:
    whole = tiny.run(drawn, tmp_path / "whole", *changes)
    handler = signal.getsignal(signal.SIGTERM)
    for epoch, step in ((0, 2), (len(whole.log) - 1, 3)):
        with pytest.raises(StoppedError, match=rf"in epoch {epoch + 1}, after step {step} of \d+; all .*--resume"):
            tiny.run(drawn, tmp_path / "stopped", *changes, resume=True, on_progress=asked_at(epoch, step))
        assert signal.getsignal(signal.SIGTERM) is handler
    (folder,) = (tmp_path / "stopped").iterdir()
    assert {path.name for path in folder.iterdir()} >= {"run.json", "recipe.toml", "checkpoint.safetensors"}
    assert "lock" not in {path.name for path in folder.iterdir()}
    steps: list[tuple[int, int]] = []
    resumed = tiny.run(
        drawn, tmp_path / "stopped", *changes, resume=True, on_progress=lambda p: steps.append((p.epoch, p.step))
    )
    assert steps[0] == (len(whole.log) - 1, 4), "steps were done again"
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
    assert [entry["loss"] for entry in resumed.log] == [entry["loss"] for entry in whole.log]


def test_two_processes_do_what_one_does(drawn: FaceSet, tmp_path: Path) -> None:
    said = forked(
        2,
        tmp_path,
        job(tmp_path / "two", *ALIKE, evaluate=str(tmp_path / "results")),
        job(tmp_path / "saved", *ALIKE, save=True),
    )
    run = the_run(tmp_path / "two")
    assert run.info["environment"]["processes"] == 2
    assert said.count("epoch   1") == 2, "more than one process speaks"
    assert_alike(tiny.run(drawn, tmp_path / "one", *ALIKE), run)
    _check_result(run, drawn, tmp_path)
    # Saves within an epoch change nothing, neither in the weights nor in the log.
    saved = the_run(tmp_path / "saved")
    assert saved.info["weights_sha256"] == run.info["weights_sha256"]
    assert [entry["loss"] for entry in saved.log] == [entry["loss"] for entry in run.log]


def _check_result(run: Run, drawn: FaceSet, folder: Path) -> None:
    """The recorded evaluation is that of one process, and was opened and recorded once."""
    (recorded,) = load_all(folder / "results")
    assert [line["event"] for line in Ledger(folder / "results" / "ledger.jsonl").lines()] == ["opening", "result"]
    alone = evaluate(run, drawn.test, results=folder / "alone")
    assert recorded.predictions_sha256 == alone.predictions_sha256
    assert recorded.opening is not None


@pytest.mark.full
@pytest.mark.parametrize(
    "changes", [("in stages",), ("augment.crops=ten", "input.resize=56"), ("checkpoint_activations=true",)]
)
def test_three_processes_do_what_one_does(drawn: FaceSet, tmp_path: Path, changes: tuple[str, ...]) -> None:
    status, said = together(3, job(tmp_path / "three", *ALIKE, *changes, evaluate=str(tmp_path / "results")))
    assert status == 0, said
    assert_alike(alone(drawn, tmp_path / "one", *ALIKE, *changes), the_run(tmp_path / "three"))
    _check_result(the_run(tmp_path / "three"), drawn, tmp_path)


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM to catch")
def test_sigterm_to_one_stops_all_and_others_go_on(drawn: FaceSet, tmp_path: Path) -> None:
    status, said = together(3, job(tmp_path / "run", *ALIKE, kill=[1, 0, 1, signal.SIGTERM]))
    assert status != 0
    assert said.count("stopped on request (SIGTERM) in epoch 1, after step 2 of 5") == 1
    assert "exitcode  : 143" in said
    (folder,) = (tmp_path / "run" / "runs").iterdir()
    assert {path.name for path in folder.iterdir()} == {
        "run.json", "recipe.toml", "log.jsonl", "checkpoint.safetensors",
    }  # fmt: skip
    status, said = together(2, job(tmp_path / "run", *ALIKE, kill=[0, 1, 2, signal.SIGTERM]))
    assert "in epoch 2, after step 3 of 5" in said
    resumed = tiny.run(drawn, tmp_path / "run" / "runs", *ALIKE, resume=True)
    assert_alike(tiny.run(drawn, tmp_path / "one", *ALIKE), resumed)


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_lost_process_ends_the_job(drawn: FaceSet, tmp_path: Path) -> None:
    started = time.monotonic()
    status, said = together(3, job(tmp_path / "run", *ALIKE, kill=[2, 1, 1, signal.SIGKILL]))
    assert status != 0
    assert time.monotonic() - started < 300
    assert "the process of rank 2 (3 in all) no longer answers" in said
    resumed = tiny.run(drawn, tmp_path / "run" / "runs", *ALIKE, resume=True)
    assert_alike(tiny.run(drawn, tmp_path / "one", *ALIKE), resumed)


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGSTOP")
def test_a_process_that_hangs_ends_the_job(tmp_path: Path) -> None:
    started = time.monotonic()
    status, said = together(2, job(tmp_path / "run", *ALIKE, timeout=60, kill=[1, 0, 1, signal.SIGSTOP]))
    assert status != 0
    assert time.monotonic() - started < 300
    assert "the process of rank 1 (2 in all) no longer answers" in said
