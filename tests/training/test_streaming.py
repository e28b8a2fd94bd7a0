"""Faces that stay where they are stored while they are learnt from: the same weights, also after a kill."""

from __future__ import annotations

import signal
from pathlib import Path

import apart
import numpy as np
import pytest
import tiny
import torch

from mien.bundle import InputSpec
from mien.datasets import FaceSet
from mien.datasets.disk import open_face_set, write_face_set
from mien.datasets.shards import ShardedImages
from mien.errors import DataError
from mien.training import checkpoints, loop
from mien.training.pipeline import batches, streaming
from mien.training.pipeline.streaming import Faces, StreamedFaces, faces_of

SPEC = InputSpec(48, 1, "grey", (0.5,), (0.25,), 0)
CPU = torch.device("cpu")


def test_mapped_and_sharded_faces_give_the_same_weights(
    drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Faces] = []
    real = batches.faces_of
    monkeypatch.setattr(batches, "faces_of", lambda *given: made.append(real(*given)) or made[-1])
    weights = {tiny.run(drawn, tmp_path / "memory").info["weights_sha256"]}
    mapped, sharded = (write_face_set(drawn, tmp_path / name, shards=name == "shards") for name in ("map", "shards"))
    assert sharded.fingerprint == mapped.fingerprint == drawn.fingerprint
    for readers in (1, 3):
        monkeypatch.setattr(streaming, "READERS", readers)
        weights.add(tiny.run(sharded, tmp_path / f"sharded{readers}").info["weights_sha256"])
    monkeypatch.setattr(streaming, "IN_MEMORY", 1000)
    weights.add(tiny.run(mapped, tmp_path / "mapped").info["weights_sha256"])
    assert [type(faces) for faces in made] == [Faces, StreamedFaces, StreamedFaces, StreamedFaces]
    assert len(weights) == 1


def test_larger_faces_are_reduced_as_they_are_in_memory(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    parts = [random.integers(0, 256, (count, 60, 60, 3), dtype=np.uint8) for count in (7, 4)]
    held = faces_of(parts, SPEC, CPU)
    streamed = StreamedFaces(parts, SPEC, CPU)
    rows = torch.tensor([10, 0, 6, 7, 3])
    assert torch.equal(held[rows], streamed[rows])
    assert len(held) == len(streamed) == 11
    assert held[rows].shape == (5, 48, 48)


def test_batches_come_as_planned_and_others_when_asked() -> None:
    images = np.arange(40, dtype=np.uint8)[:, None, None].repeat(48, 1).repeat(48, 2)
    faces = StreamedFaces([images], SPEC, CPU, readers=2)
    batches = list(torch.randperm(40, generator=torch.Generator().manual_seed(0)).tensor_split(10))
    for _ in range(2):  # the second plan begins while the first is under way
        faces.plan(batches)
        for batch in batches[:5]:
            assert faces[batch][:, 0, 0].tolist() == batch.tolist()
            assert faces[batch[:1]][:, 0, 0].tolist() == batch[:1].tolist()  # not planned
            assert len(faces._waiting) <= 2 + streaming.AHEAD


def test_what_a_reader_finds_broken_is_said_by_the_training(drawn: FaceSet, tmp_path: Path) -> None:
    sharded = write_face_set(drawn, tmp_path / "shards", shards=True)
    shard = tmp_path / "shards" / "shards" / "00000.tar"
    data = bytearray(shard.read_bytes())
    images = sharded._images
    assert isinstance(images, ShardedImages)
    start = int(images._index[int(sharded.train.rows[5])][1])
    data[start : start + 8] = b"no image"
    shard.write_bytes(bytes(data))
    with pytest.raises(DataError, match=r"00000\.tar: face \d+ cannot be decoded .* import the data set again"):
        tiny.run(sharded, tmp_path / "run")


def saving_each_step(folder: Path, stored: Path | None) -> None:
    checkpoints.SAVE_EVERY = -1.0
    if stored:
        tiny.load_dataset = lambda *_, **__: open_face_set(stored)  # type: ignore[assignment]
    tiny.main(str(folder), "1", "4")


@pytest.mark.parametrize("shards", [pytest.param(False, marks=pytest.mark.full), True])
def test_a_kill_within_an_epoch_costs_a_step(drawn: FaceSet, tmp_path: Path, shards: bool) -> None:
    data = write_face_set(drawn, tmp_path / "stored", shards=True) if shards else drawn
    whole = tiny.run(data, tmp_path / "whole")
    stored = tmp_path / "stored" if shards else None
    assert apart.run(saving_each_step, tmp_path / "killed", stored, said=tmp_path / "said") == -signal.SIGKILL
    (folder,) = (tmp_path / "killed").iterdir()
    place = loop.Checkpoint.load(folder / "checkpoint.safetensors").place
    assert place is not None
    assert place.step == 3
    steps: list[tuple[int, int]] = []
    resumed = tiny.run(
        data, tmp_path / "killed", resume=True, on_progress=lambda now: steps.append((now.epoch, now.step))
    )
    assert steps[0] == (1, 4)
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
    assert [entry["loss"] for entry in resumed.log] == pytest.approx([entry["loss"] for entry in whole.log])
