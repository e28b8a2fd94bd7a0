"""A teacher is a term of the loss: its arithmetic, what it sees, who may teach, and what a stop changes: nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch.nn import functional

from mien.bundle import InputSpec
from mien.datasets import FaceSet
from mien.errors import InputError, RunError
from mien.faces.views import get_view
from mien.labels import LabelSet
from mien.training import Progress, Run, loop, train
from mien.training.distillation import Distilled, Teacher, as_fed
from mien.training.pipeline.augmentation import augment
from mien.training.recipe import Augment, Distill

GREY = InputSpec(48, 1, "grey", (0.5,), (0.25,))


@pytest.fixture(scope="module")
def teacher(drawn: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(drawn, tmp_path_factory.mktemp("teacher"), "epochs=2", "name=teacher")


def test_the_loss_is_the_one_of_the_paper() -> None:
    torch.manual_seed(0)
    logits, teacher = torch.randn(5, 7, requires_grad=True), torch.randn(5, 7)
    labels = torch.arange(5)
    distilled = Distilled(functional.cross_entropy, Distill(weight=0.7, temperature=3.0))
    distilled.soft = functional.softmax(teacher / 3, 1)
    ours = distilled(logits, functional.one_hot(labels, 7).float())
    terms = functional.kl_div(
        functional.log_softmax(logits / 3, 1),
        functional.log_softmax(teacher / 3, 1),
        reduction="batchmean",
        log_target=True,
    )
    theirs = 0.7 * 9 * terms + 0.3 * functional.cross_entropy(logits, labels)
    torch.testing.assert_close(ours, theirs)
    # With the whole weight, the gradient of the logits is T times the difference of the softened answers.
    only = Distilled(functional.cross_entropy, Distill(weight=1.0, temperature=3.0))
    only.soft = distilled.soft
    (gradient,) = torch.autograd.grad(only(logits, functional.one_hot(labels, 7).float()), logits)
    torch.testing.assert_close(gradient, 3 * (functional.softmax(logits / 3, 1) - only.soft).detach() / 5)


def fed(images: np.ndarray, spec: InputSpec) -> torch.Tensor:
    seen: list[np.ndarray] = []

    def keep(batch: np.ndarray) -> np.ndarray:
        seen.append(batch)
        return np.zeros((len(batch), 2), np.float32)

    get_view("one").scores(images, spec, keep)
    return torch.from_numpy(np.concatenate(seen))


@pytest.mark.parametrize(
    ("theirs", "tolerance"),
    [
        (InputSpec(48, 1, "grey", (0.1,), (0.9,)), 1e-3),
        (InputSpec(48, 3, "grey", (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)), 1e-2),
        (InputSpec(40, 1, "grey", (0.5,), (0.25,), resize=48), 1e-2),
        (InputSpec(64, 3, "grey", (0.5,) * 3, (0.25,) * 3), 0.35),
        (InputSpec(32, 1, "grey", (0.5,), (0.25,)), 0.35),
    ],
)
def test_a_teacher_is_fed_as_evaluation_feeds_it(drawn: FaceSet, theirs: InputSpec, tolerance: float) -> None:
    """Exactly where no face is resized; else as far as two ways of resizing agree."""
    images = drawn.train.images[:6]
    ours = augment(torch.from_numpy(np.array(images)), Augment(flip=0), GREY, torch.Generator())
    converted, wanted = as_fed(ours, GREY, theirs), fed(images, theirs)
    assert converted.shape == wanted.shape
    assert float((converted - wanted).abs().max()) < (tolerance if tolerance < 0.1 else 4)
    assert float((converted - wanted).abs().mean()) < tolerance


def test_a_crop_is_completed_by_its_border() -> None:
    crop, whole = InputSpec(40, 1, "grey", (0.0,), (1.0,), resize=48), InputSpec(48, 1, "grey", (0.0,), (1.0,))
    images = torch.rand(2, 1, 40, 40)
    out = as_fed(images, crop, whole)
    torch.testing.assert_close(out[:, :, 4:44, 4:44], images)
    torch.testing.assert_close(out[:, :, 0, 4:44], images[:, :, 0])


@pytest.mark.parametrize("targets", ["views", "face"])
def test_a_student_learns_from_it(
    teacher: Run, drawn: FaceSet, tmp_path: Path, targets: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    soft: list[torch.Tensor] = []
    real = loop.Distilled.__call__

    def watch(self: Distilled, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        assert self.soft is not None
        assert wanted.shape == self.soft.shape == logits.shape
        soft.append(self.soft)
        return real(self, logits, wanted)

    monkeypatch.setattr(loop.Distilled, "__call__", watch)
    changes = ("epochs=2", "distill.weight=0.9", "distill.temperature=2", f"distill.targets={targets}")
    epochs: list[list[str]] = []

    def look(progress: Progress) -> None:
        if progress.entry:
            epochs.append([path.name for path in tmp_path.rglob("teacher-*")])

    run = tiny.run(drawn, tmp_path, *changes, teacher=teacher.folder, on_progress=look)
    for each in soft:
        torch.testing.assert_close(each.sum(1), torch.ones(len(each)))
    assert epochs == [["teacher-2.safetensors"] if targets == "face" else []] * 2, (
        "asked once, kept beside the checkpoint"
    )
    assert {path.name for path in run.folder.iterdir()} == {
        "run.json", "recipe.toml", "log.jsonl", "weights.safetensors",
    }  # fmt: skip
    assert run.recipe.distill.teacher == teacher.info["weights_sha256"]
    assert run.info["teacher"] == [{"name": teacher.folder.name, "weights_sha256": teacher.info["weights_sha256"]}]
    assert run.info["extra_data"] == []
    plain = tiny.run(drawn, tmp_path / "alone", "epochs=2")
    assert plain.info["weights_sha256"] != run.info["weights_sha256"]
    with pytest.raises(InputError, match="train it with `mien distill --teacher"):
        train("compact", drawn.train, drawn.selection, recipe=run.recipe, out=tmp_path)


def test_without_a_share_the_teacher_gets_one(teacher: Run, drawn: FaceSet, tmp_path: Path) -> None:
    assert tiny.run(drawn, tmp_path, "epochs=1", teacher=teacher).recipe.distill.weight == 0.7


def test_several_teach_by_their_mean(teacher: Run, drawn: FaceSet, tmp_path: Path) -> None:
    other = tiny.run(drawn, tmp_path, "epochs=1", seed=3)
    both = Teacher([teacher, other])
    single = [Teacher(run) for run in (teacher, other)]
    images = np.array(drawn.train.images[:5])
    mean = torch.stack([each.on_faces(images, 2.0) for each in single]).mean(0)
    torch.testing.assert_close(both.on_faces(images, 2.0), mean)
    assert len({both.hash, single[0].hash, single[1].hash, Teacher([other, teacher]).hash}) == 4


def test_a_bundle_teaches_like_its_run(teacher: Run, drawn: FaceSet, tmp_path: Path) -> None:
    bundle = teacher.export(tmp_path / "teacher.onnx")
    images = fed(drawn.train.images[:5], teacher.recipe.input)
    by_run = Teacher(teacher).on_views(images, teacher.recipe.input, 2.0)
    by_bundle = Teacher(tmp_path / "teacher.onnx").on_views(images, teacher.recipe.input, 2.0)
    torch.testing.assert_close(by_run.detach(), by_bundle, atol=1e-3, rtol=1e-3)
    assert Teacher(tmp_path / "teacher.onnx").hash == bundle.card.sha256
    half = drawn.train.subset(np.arange(len(drawn.train)) % 2 == 0)
    given: dict[str, Any] = {"recipe": tiny.recipe("epochs=1"), "out": tmp_path, "teacher": tmp_path / "teacher.onnx"}
    assert train("compact", drawn.train, drawn.selection, **given).info["extra_data"] == []
    with pytest.raises(InputError, match="learnt from other faces of drawn than this training"):
        train("compact", half, drawn.selection, **given)


def test_who_may_not_teach(teacher: Run, drawn: FaceSet, tmp_path: Path) -> None:
    rows = drawn.without_test().all_rows()
    for labels in (LabelSet("two", ("low", "high")), LabelSet("turned", drawn.label_set.labels[::-1])):
        own = FaceSet.from_arrays(
            "own", labels, rows.images, rows.labels % len(labels), rows.splits, ("train", "selection")
        )
        with pytest.raises(
            InputError, match=r"tells angry, .* the student learns .* the same labels in the same order"
        ):
            tiny.run(own, tmp_path / "none", teacher=teacher)
    with pytest.raises(InputError, match="cannot teach; give a run folder or a bundle"):
        tiny.run(drawn, tmp_path / "none", teacher=3)
    with pytest.raises(InputError, match="needs a teacher"):
        tiny.run(drawn, tmp_path / "none", teacher=[])

    def stop(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path, on_progress=stop)
    with pytest.raises(RunError, match="is unfinished"):
        tiny.run(drawn, tmp_path / "none", teacher=next(tmp_path.glob("compact-*")))
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("targets", ["views", "face"])
def test_a_stopped_student_goes_on(teacher: Run, drawn: FaceSet, tmp_path: Path, targets: str) -> None:
    changes = ("epochs=2", "distill.weight=0.5", f"distill.targets={targets}")

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (1, 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path / "a", *changes, teacher=teacher, on_progress=stop)
    resumed = tiny.run(drawn, tmp_path / "a", *changes, teacher=teacher, resume=True)
    whole = tiny.run(drawn, tmp_path / "b", *changes, teacher=teacher)
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
