"""A recorded step does what a step does. Graphs need a GPU of NVIDIA; a stand-in for them replays by calling again."""

from __future__ import annotations

import contextlib
import gc
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import tiny
import torch
from torch import Tensor

from mien.datasets import FaceSet
from mien.errors import RecipeError, RecordingError
from mien.training.compute import recording
from mien.training.pipeline.augmentation import Amount, augment
from mien.training.recipe import Augment
from mien.training.weights import load_tensors


class Again:
    """Stands in for CUDA's graphs: what is recorded is not run meanwhile.

    As a graph does, it writes the gradients where they lay when it was recorded, whatever lies in ``.grad`` by then.
    """

    recorded = 0
    parameters: ClassVar[list[torch.nn.Parameter]] = []

    def __init__(self, generator: torch.Generator) -> None:
        pass

    def warm_up(self, work: Callable[[], Tensor]) -> Tensor:
        return work()

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
        Again.recorded += 1
        loss = torch.zeros(())
        held = [torch.full_like(parameter, torch.nan) for parameter in self.parameters]
        for parameter, gradient in zip(self.parameters, held, strict=True):
            parameter.grad = gradient

        def replay() -> None:
            lying = [parameter.grad for parameter in self.parameters]
            loss.copy_(work())
            for parameter, gradient, before in zip(self.parameters, held, lying, strict=True):
                assert parameter.grad is not None
                gradient.copy_(parameter.grad)
                parameter.grad = before

        return replay, loss


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> type[Again]:
    monkeypatch.setattr(recording.RecordedStep, "DEVICES", ("cpu",))
    monkeypatch.setattr(recording, "_Recorder", Again)
    real = recording.RecordedStep.__init__

    def init(self: recording.RecordedStep, *given: Any) -> None:
        real(self, *given)
        monkeypatch.setattr(Again, "parameters", self.parameters)

    monkeypatch.setattr(recording.RecordedStep, "__init__", init)
    monkeypatch.setattr(Again, "recorded", 0)
    return Again


@pytest.mark.parametrize(
    "changes", [(), ("augment.mixup=0.3",), ("augment.cutmix=0",), ("augment.crops=ten", "input.resize=56")]
)
def test_recorded_steps_leave_the_weights_of_ordinary_ones(
    changes: tuple[str, ...], drawn: FaceSet, tmp_path: Path, again: type[Again]
) -> None:
    # Long enough for both sizes of batches to be recorded, and to take turns; what is kept has seen all of it.
    long = ("epochs=5", "keep=last", *changes)
    ordinary = tiny.run(drawn, tmp_path, *long)
    recorded = tiny.run(drawn, tmp_path, *long, "capture=true")
    assert again.recorded > 1, "two records never took turns"
    ours, theirs = (load_tensors(run.folder / "weights.safetensors")[0] for run in (recorded, ordinary))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_elsewhere_capture_changes_nothing(drawn: FaceSet, tmp_path: Path) -> None:
    runs = [tiny.run(drawn, tmp_path, "epochs=1", f"capture={value}") for value in ("false", "true")]
    assert runs[0].info["weights_sha256"] == runs[1].info["weights_sha256"]


def test_what_cannot_be_recorded_says_so(
    drawn: FaceSet, tmp_path: Path, again: type[Again], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Again, work: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing\nmore of it")

    monkeypatch.setattr(Again, "record", refuse)
    with pytest.raises(
        RecordingError, match=r"cannot be recorded \(operation not permitted .* capture=false"
    ) as caught:
        tiny.run(drawn, tmp_path, "capture=true")
    assert "\n" not in str(caught.value)


def test_selection_is_looked_at_every_so_many_epochs_and_last(drawn: FaceSet, tmp_path: Path) -> None:
    run = tiny.run(drawn, tmp_path, "epochs=5", "evaluate_every=2")
    looked = [entry["epoch"] for entry in run.log if "selection_accuracy" in entry]
    assert looked == [1, 3, 4]
    assert run.info["best_epoch"] in looked
    assert run.info["selection_accuracy"] == max(run.log[epoch]["selection_accuracy"] for epoch in looked)
    every = tiny.run(drawn, tmp_path, "epochs=5")
    for one, other in zip(run.log, every.log, strict=True):
        assert one["loss"] == other["loss"]
        assert one.get("selection_nll", other["selection_nll"]) == other["selection_nll"]


@pytest.mark.parametrize("watching", ["early_stop=3", "schedule.name=plateau"])
def test_who_watches_every_epoch_needs_every_look(watching: str) -> None:
    with pytest.raises(RecipeError, match="evaluate_every=1"):
        tiny.recipe("evaluate_every=2", watching)


def test_smaller_faces_show_the_same(drawn: FaceSet, tmp_path: Path) -> None:
    spec, faces = tiny.recipe().input, torch.from_numpy(drawn.train.images[:8].copy())
    still = Augment(flip=0.0)
    whole = augment(faces, still, spec, torch.Generator())
    small = augment(faces, Augment(flip=0.0, size=24), spec, torch.Generator())
    assert small.shape == (8, 1, 24, 24)
    # Halved, each pixel looks up the middle of four.
    torch.testing.assert_close(small, torch.nn.functional.avg_pool2d(whole, 2), rtol=1e-4, atol=1e-4)
    run = tiny.run(drawn, tmp_path, "epochs=1", "augment.size=24")
    assert run.info["cost"]["input"] == [1, 48, 48]


def test_amounts_as_numbers_and_as_tensors_mix_alike() -> None:
    from mien.training.pipeline.augmentation import mix

    images, targets = torch.rand(6, 1, 10, 10), torch.eye(6)
    for amount in (Amount(0.3, 0.3, None), Amount(0.7, None, (2, 1, 8, 6))):
        kind = recording._Kind.of(torch.arange(6), amount)
        kind.take(torch.arange(6), amount)
        for one, other in zip(
            mix(images, targets, amount, torch.Generator().manual_seed(0)),
            mix(images, targets, kind.amount, torch.Generator().manual_seed(0)),
            strict=True,
        ):
            torch.testing.assert_close(one, other)


def test_nothing_is_collected_while_a_step_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that is freed meanwhile breaks the record, and a training that was measured before lies in a cycle."""

    class Cycle:
        def __init__(self) -> None:
            self.own = self

    class Graph:
        def register_generator_state(self, generator: torch.Generator) -> None: ...

        def replay(self) -> None: ...

    seen: list[Any] = []

    @contextlib.contextmanager
    def capturing(*_: Any, **__: Any) -> Iterator[None]:
        seen.append((list(freed), gc.isenabled()))
        yield

    freed: list[str] = []
    weakref.finalize(Cycle(), freed.append, "before")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capturing)
    for enabled in (True, False):
        gc.enable() if enabled else gc.disable()
        try:
            loss = recording._Recorder(torch.Generator()).record(lambda: torch.ones(()))[1]
            assert gc.isenabled() == enabled, "whoever switched it off finds it off"
        finally:
            gc.enable()
        assert float(loss) == 1
    assert seen == [(["before"], False)] * 2
