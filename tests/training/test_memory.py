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
from mien.errors import RecipeError
from mien.systems.base import System, count_layers
from mien.training.compute import precision
from mien.training.compute.activations import Recomputed, segments


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


def kept(module: nn.Module, images: Tensor) -> int:
    """Bytes that a forward pass keeps for the backward pass, without parameters, buffers and images."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*module.parameters(), *module.buffers(), images)}
    found: dict[int, Any] = {}  # by address; holding them, so that no address comes twice

    def pack(tensor: Tensor) -> Tensor:
        found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        module.train()(images).sum()
    return sum(storage.nbytes() for address, storage in found.items() if address not in own)


def tiny_of(name: str) -> tuple[nn.Module, Tensor]:
    """A tiny variant with every dropout at work, and images for it."""
    known = systems.card(name)
    size = known.tiny_size or known.input.size
    dropouts = {option: 0.3 for option in known.options if option == "drop_path" or option.endswith("dropout")}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return systems.create(name, **{**known.tiny, **dropouts}), torch.randn(4, known.input.channels, size, size)


@pytest.mark.parametrize("name", systems.networks())
def test_every_system_takes_the_same_step_with_less_memory(name: str) -> None:
    plain, images = tiny_of(name)
    module: Any = copy.deepcopy(plain)
    recomputed = Recomputed(module.recomputable())
    assert recomputed.blocks
    wanted, found = step(plain, images, None), step(module, images, None)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-4, atol=1e-6, msg=key)
    assert kept(module, images) < 0.95 * kept(plain, images)
    recomputed.restore()
    assert not any("forward" in part.__dict__ for part in module.modules())
    assert kept(module, images) == kept(plain, images)


def test_the_plain_stage_of_segmentation_vgg19_keeps_a_fraction() -> None:
    plain, images = tiny_of("segmentation-vgg19")
    module: Any = copy.deepcopy(plain)
    for each in (plain, module):
        each.begin_stage("plain")  # type: ignore[operator]
    wanted = step(plain, images, None)
    Recomputed(module.recomputable())
    for key, value in step(module, images, None).items():
        torch.testing.assert_close(value, wanted[key], rtol=1e-4, atol=1e-6, msg=key)
    assert kept(module, images) < 0.15 * kept(plain, images)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("vggnet", 0.1),
        ("vgg19-bn", 0.15),
        ("identiface", 0.2),
        ("deepemotion", 0.2),
        ("cnn-search", 0.1),
        ("segmentation-vgg19", 0.4),
        ("pramerdorfer-inception", 0.5),
    ],
)
def test_systems_without_blocks_of_one_kind_keep_a_fraction(name: str, share: float) -> None:
    module, images = tiny_of(name)
    before = kept(module, images)
    assert isinstance(module, System)
    Recomputed(module.recomputable())
    assert kept(module, images) < share * before


def test_a_long_sequence_is_never_in_memory_as_a_whole() -> None:
    """As one block it would keep least, and need as much as before while it is computed anew."""
    trunk = systems.create("vgg19-bn", width=6).features
    assert isinstance(trunk, nn.Sequential)
    parts = segments(trunk)
    assert [layer for part in parts for layer in part] == list(trunk)
    assert [count_layers(part) for part in parts] == [2] * 8
    assert all(isinstance(part[0], nn.Conv2d) for part in parts)


def test_layers_that_stand_twice_in_a_sequence_run_twice() -> None:
    layer = nn.Linear(3, 3)
    sequence = nn.Sequential(layer, nn.Tanh(), layer, nn.Tanh(), layer)
    values = torch.randn(2, 3)
    wanted = sequence(values)
    recomputed = Recomputed([sequence])
    torch.testing.assert_close(sequence(values), wanted)
    recomputed.restore()


def test_what_works_in_place_before_the_first_layer_works_once() -> None:
    sequence = nn.Sequential(
        nn.Dropout(0.5, inplace=True), nn.Conv2d(1, 3, 3), nn.ReLU(inplace=True), nn.Conv2d(3, 2, 3)
    )
    assert segments(sequence) == [[sequence[0]], list(sequence)[1:]]
    whole = nn.Sequential(nn.Conv2d(1, 1, 1), sequence)  # what is worked on in place is the output of a layer
    same = copy.deepcopy(whole)
    images = torch.randn(3, 1, 8, 8)
    recomputed = Recomputed([same[1]])
    wanted, found = step(whole, images, None), step(same, images, None)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, msg=name)
    recomputed.restore()


def test_a_system_with_nothing_to_compute_anew_says_so() -> None:
    class One(System):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 2)

    with pytest.raises(RecipeError, match="checkpoint_activations: One has no blocks"):
        One().recomputable()


@pytest.mark.parametrize("name", ["compact", "vggnet"])
def test_compiled_graphs_compute_anew_too(name: str) -> None:
    plain, images = tiny_of(name)
    module: Any = copy.deepcopy(plain)
    recomputed = Recomputed(module.recomputable())
    for part in (*plain.modules(), *module.modules()):
        if isinstance(part, nn.Dropout):
            part.p = 0.0  # drawn in another order
    compiled: Any = torch.compile(module, backend="aot_eager")
    wanted, found = step(plain, images, None), step(compiled, images, None)
    for key, value in wanted.items():
        torch.testing.assert_close(found["_orig_mod." * (key != "loss") + key], value, rtol=1e-4, atol=1e-5, msg=key)
    recomputed.restore()


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
def test_compiled_trainings_end_with_equal_weights(
    drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda: True)
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
