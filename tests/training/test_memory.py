"""Less memory, the same results: activations computed anew, and compiled networks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from torch import Tensor, nn

from mien import systems
from mien.datasets import FaceSet
from mien.training.activations import Recomputed


def step(module: nn.Module, images: Tensor, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """Gradients and buffers after one step, dropout drawn from one seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        module.train().zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
            loss = module(images).float().square().mean()
        loss.backward()
    gradients = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return {**gradients, **{name: b.clone() for name, b in module.named_buffers()}, "loss": loss.detach()}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_recomputed_steps_are_the_same_steps(dtype: torch.dtype | None) -> None:
    torch.manual_seed(0)
    plain: Any = systems.create("compact", widths=(4, 8), depths=(2, 2), dropout=0.3)
    plain.blocks[1].body.add_module("dropout", nn.Dropout(0.5))  # randomness within a block
    module = copy.deepcopy(plain)
    recomputed = Recomputed(module.recomputable())
    assert len(recomputed.blocks) == 4
    images = torch.randn(6, 1, 48, 48)
    wanted, found = step(plain, images, dtype), step(module, images, dtype)
    assert wanted.keys() == found.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-7, msg=name)
    recomputed.restore()
    assert "forward" not in module.blocks[0].__dict__
    torch.testing.assert_close(step(module, images, dtype)["loss"], step(plain, images, dtype)["loss"])


@pytest.mark.full
@pytest.mark.parametrize("name", systems.networks())
def test_every_system_takes_the_same_step_with_less_memory(name: str) -> None:
    known = systems.card(name)
    size = known.tiny_size or known.input.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        plain = systems.create(name, **known.tiny)
        images = torch.randn(4, known.input.channels, size, size)
    module = copy.deepcopy(plain)
    recomputed = Recomputed(module.recomputable())
    wanted, found = step(plain, images, None), step(module, images, None)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6, msg=key)
    recomputed.restore()


def test_fewer_activations_are_kept() -> None:
    torch.manual_seed(0)
    module = systems.create("compact", widths=(8, 16), depths=(4, 4))
    images = torch.randn(4, 1, 48, 48)

    def kept() -> int:
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            sizes[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            module(images).sum()
        return sum(sizes.values())

    before = kept()
    recomputed = Recomputed(module.recomputable())
    assert kept() < 0.45 * before
    recomputed.restore()
    assert kept() == before


def test_a_training_ends_with_equal_weights(drawn: FaceSet, tmp_path: Path) -> None:
    changes = ("epochs=2", "system.depths=[2, 1]", "augment.cutmix=0")
    plain = tiny.run(drawn, tmp_path, *changes)
    less = tiny.run(drawn, tmp_path, *changes, "checkpoint_activations=true")
    assert less.folder != plain.folder
    for (name, ours), theirs in zip(
        less.module().state_dict().items(), plain.module().state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)
    assert less.info["cost"]["macs"] == plain.info["cost"]["macs"]


@pytest.mark.full
@pytest.mark.parametrize("changes", [(), ("checkpoint_activations=true",), ("precision=bf16",)])
def test_compiled_trainings_end_with_equal_weights(drawn: FaceSet, tmp_path: Path, changes: tuple[str, ...]) -> None:
    settings = ("epochs=1", "system.dropout=0", "augment.cutmix=0", "ema=0", *changes)
    plain = tiny.run(drawn, tmp_path, *settings)
    compiled = tiny.run(drawn, tmp_path, *settings, "compile=true")
    tolerance = 0.05 if changes == ("precision=bf16",) else 2e-3
    for (name, ours), theirs in zip(
        compiled.module().state_dict().items(), plain.module().state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, msg=name)


@pytest.mark.full
def test_a_compiled_student_sees_each_answer_of_its_teacher(drawn: FaceSet, tmp_path: Path) -> None:
    teacher = tiny.run(drawn, tmp_path / "teacher", "epochs=1")
    settings = ("epochs=1", "system.dropout=0", "augment.cutmix=0", "ema=0", "distill.weight=0.9")
    plain = tiny.run(drawn, tmp_path, *settings, teacher=teacher)
    compiled = tiny.run(drawn, tmp_path, *settings, "compile=true", teacher=teacher)
    for (name, ours), theirs in zip(
        compiled.module().state_dict().items(), plain.module().state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=2e-3, atol=2e-3, msg=name)
