from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from mien import systems
from mien.datasets import FaceSet
from mien.errors import InputError, RecipeError
from mien.training import train
from mien.training.optimisation import make_optimizer
from mien.training.recipe import Recipe


def tiny(**options: object) -> systems.base.System:  # type: ignore[name-defined]
    of_card = systems.card("residual-masking-network").tiny
    torch.manual_seed(0)
    return systems.create("residual-masking-network", **{**of_card, **options}).eval()


def test_each_stage_is_weighed_by_one_plus_its_mask() -> None:
    module = tiny()
    seen: dict[str, torch.Tensor] = {}
    for index, mask in enumerate(module.masks):
        mask.register_forward_hook(lambda _, inputs, out, at=index: seen.update({f"{at}": inputs[0] * (1 + out)}))
    for index in (2, 3, 4):
        stage = getattr(module.trunk, f"layer{index}")
        stage.register_forward_hook(lambda _, inputs, out, at=index: seen.update({f"into {at - 1}": inputs[0]}))
    with torch.no_grad():
        features = module.embed(torch.randn(2, 3, 32, 32))
    for index in (0, 1, 2):
        assert torch.equal(seen[f"{index}"], seen[f"into {index + 1}"])
    assert torch.equal(features, seen["3"].mean((2, 3)))


def test_the_plain_stage_leaves_the_masks_out() -> None:
    module = tiny()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        masked = module(images)
        module.begin_stage("plain")
        plain = module.embed(images)
        assert torch.equal(plain, module.trunk.forward_features(images).mean((2, 3)))
        module(torch.zeros(1, 3, 40, 40))  # only masks need sides that can be halved
        module.begin_stage("masks")
        assert torch.equal(module(images), masked)
        module.begin_stage("plain-24px")
        assert torch.equal(module.embed(images), plain)
        module.begin_stage("masks-32px")
        assert torch.equal(module(images), masked)
        assert not torch.allclose(module.embed(images), plain, rtol=1e-2)
    for name in ("a", "plainer", "-plain"):
        with pytest.raises(RecipeError, match=f"stage '{name}': those of residual-masking-network .* plain, masks"):
            module.begin_stage(name)


def test_a_plain_stage_may_learn_from_faces_that_masks_cannot_halve(faces: FaceSet, tmp_path: Path) -> None:
    card = systems.card("residual-masking-network")
    stages = [{"name": "plain-20px", "epochs": 1, "augment": {"size": 20}}, {"name": "masks", "epochs": 1}]
    base = Recipe.of(card, "mien").with_(stages=stages).set(["input.size=32", "compile=false", "precision=fp32"])
    recipe = base.set([f"system.{key}={list(of) if isinstance(of, tuple) else of}" for key, of in card.tiny.items()])
    run = train(card.id, faces.train, faces.selection, recipe=recipe, out=tmp_path, device="cpu")
    assert [entry["stage"] for entry in run.log] == ["plain-20px", "masks"]
    with pytest.raises(InputError, match="its side is a multiple of 16, not 20"):
        train(
            card.id, faces.train, faces.selection, out=tmp_path, device="cpu",
            recipe=recipe.set(["stages.masks.augment.size=20"]),
        )  # fmt: skip


def test_the_stem_keeps_the_weights() -> None:
    assert set(tiny().state_dict()) == set(tiny(stem_stride=1).state_dict())


def test_faces_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(InputError, match="its side is a multiple of 32, not 48"):
        tiny()(torch.zeros(1, 3, 48, 48))
    assert tiny(stem_stride=2, mask_depths=(4, 3, 2, 1)).multiple == 16


@pytest.mark.parametrize("system", ["residual-masking-network", "segmentation-vgg19", "resnet50", "efficientnet-b2"])
def test_the_faithful_optimiser_is_that_of_the_source(system: str) -> None:
    """Liu et al. 2020, algorithm 2, with the decay taken from the weights; rectified from the sixth step on."""
    recipe = Recipe.of(systems.card(system), "faithful").staged[0]
    optim = replace(recipe.optim, lr=0.01, weight_decay=0.1)
    module = nn.Linear(3, 2, dtype=torch.float64)
    optimizer = make_optimizer(module, optim)
    generator = torch.Generator().manual_seed(0)
    expected = [parameter.detach().clone() for parameter in module.parameters()]
    firsts, seconds = ([torch.zeros_like(weights) for weights in expected] for _ in range(2))
    (beta1, beta2), longest = optim.betas, 2 / (1 - optim.betas[1]) - 1
    for step in range(1, 9):
        length = longest - 2 * step * beta2**step / (1 - beta2**step)
        for place, parameter in enumerate(module.parameters()):
            gradient = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.grad = gradient
            firsts[place] = beta1 * firsts[place] + (1 - beta1) * gradient
            seconds[place] = beta2 * seconds[place] + (1 - beta2) * gradient**2
            move = firsts[place] / (1 - beta1**step)
            if length >= 5:
                share = (length - 4) / (longest - 4) * (length - 2) / (longest - 2) * longest / length
                move = move * (share * (1 - beta2**step)) ** 0.5 / (seconds[place].sqrt() + 1e-8)
            expected[place] = expected[place] - 0.01 * 0.1 * expected[place] - 0.01 * move
        optimizer.step()
        for ours, theirs in zip(module.parameters(), expected, strict=True):
            torch.testing.assert_close(ours.detach(), theirs)
    assert length > 5


def test_the_faithful_training_ends_where_the_source_ends() -> None:
    """It goes on while no more than 50 epochs are done and no more than eight in a row were without gain."""
    recipe = Recipe.of(systems.card("residual-masking-network"), "faithful")
    assert (recipe.epochs, recipe.early_stop) == (51, 9)
