from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from mien import systems
from mien.errors import InputError, RecipeError, RunError
from mien.systems.emonext import CARDS, AttentionWeights, EmoNeXt
from mien.testing import system_checks
from mien.training import Recipe

TINY: dict[str, Any] = dict(CARDS["emonext-t"].tiny)


def make(**options: Any) -> EmoNeXt:
    torch.manual_seed(0)
    module = systems.create("emonext-t", **{**TINY, **options})
    assert isinstance(module, EmoNeXt)
    return module


def count(logits: Tensor, targets: Tensor) -> Tensor:
    return 0 * logits.sum() + targets.sum()


def test_sizes_are_those_of_the_paper() -> None:
    millions = {name: round(card.parameters / 1e6, 1) for name, card in CARDS.items()}
    assert millions == {
        "emonext-t": 30.6, "emonext-s": 52.2, "emonext-b": 91.8, "emonext-l": 204.6, "emonext-xl": 362.3,
    }  # fmt: skip


def test_the_warp_counts_from_the_centres_of_the_outermost_pixels() -> None:
    module = make().eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        for part in module.warp.parameters():  # some transformation that is none of the identity's neighbours
            part.add_(0.1 * torch.randn_like(part))
        theta = module.warp.theta(images).reshape(2, 2, 3)
        grids = (functional.affine_grid(theta, [2, 3, 32, 32], align_corners=centres) for centres in (True, False))
        wanted, other = (
            functional.grid_sample(images, grid, align_corners=centres)
            for grid, centres in zip(grids, (True, False), strict=True)
        )
        warped = module.warp(images)
    assert torch.allclose(warped, wanted, atol=1e-4)
    assert not torch.allclose(warped, other, atol=1e-2)


def test_attention_weights_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    layer = AttentionWeights(16)
    vectors = torch.randn(3, 5, 16)
    normed = layer.norm(vectors)
    scores = layer.query(normed) @ layer.key(normed).transpose(1, 2) / 16**0.25
    assert torch.allclose(layer(vectors), scores.softmax(2), atol=1e-6)


@pytest.mark.parametrize("attention", ["batch", "tokens"])
def test_the_attention_works_in_the_loss_only(attention: str) -> None:
    images = torch.randn(4, 3, 32, 32)
    module = make(attention=attention, attention_weight=3.0).eval()
    terms = module.loss(images, torch.eye(7)[:4], count)
    assert set(terms) == {"loss", "attention"}
    maps = module.map(images)
    vectors = module.embed(images) if attention == "batch" else maps.flatten(2).transpose(1, 2)
    weights = module.attention(vectors)
    assert weights.shape == ((4, 4) if attention == "batch" else (4, 4, 4))
    # Each row sums to 1, so the mean weight is one over their number and the term is the variance.
    assert torch.allclose(terms["attention"], 3 * weights.var(unbiased=False), atol=1e-7)
    before = module(images)
    with torch.no_grad():
        for parameter in module.attention.parameters():
            parameter.add_(1)
    assert torch.equal(before, module(images)), "answers do not depend on the attention"


def test_between_samples_the_term_depends_on_batch_mates_and_between_places_it_does_not() -> None:
    images = torch.randn(4, 3, 32, 32)
    others = torch.cat([images[:2], 2 * torch.randn(2, 3, 32, 32)])
    targets = torch.eye(7)[:4]
    for attention, depends in (("batch", True), ("tokens", False)):
        module = make(attention=attention).eval()
        assert module.attended == attention
        with torch.no_grad():
            # Far from uniform, so that a difference shows.
            module.attention.query.weight.mul_(40)
        if depends:
            weights = [module.attention(module.embed(batch))[0, :2] for batch in (images, others)]
        else:
            weights = [module.attention(module.map(batch).flatten(2).transpose(1, 2))[0] for batch in (images, others)]
        assert torch.allclose(*weights, atol=1e-6) != depends
        assert float(module.loss(images, targets, count)["attention"].detach()) > 0


def test_the_weight_of_the_term_moves_its_gradient() -> None:
    images, targets = torch.randn(4, 3, 32, 32), torch.eye(7)[:4]
    gradients = []
    for weight in (0.0, 1.0, 2.0):
        module = make(attention="tokens", attention_weight=weight).eval()
        module.loss(images, targets, count)["attention"].backward()
        gradient = module.attention.query.weight.grad
        assert gradient is not None
        gradients.append(gradient)
    assert float(gradients[0].abs().sum()) == 0
    assert torch.allclose(2 * gradients[1], gradients[2])
    assert float(gradients[1].abs().sum()) > 0


def test_gates_stand_after_each_downsampling() -> None:
    module = make().eval()
    images = torch.randn(2, 3, 32, 32)
    before = module(images)
    for gate in module.gates:
        hook = gate.register_forward_hook(lambda gate, inputs, out: out * torch.arange(out.shape[1])[:, None, None])
        assert not torch.allclose(before, module(images), atol=1e-3)
        hook.remove()
    assert [gate.get_parameter("fc1.weight").shape[1] for gate in module.gates] == [32, 48, 64]
    # A gate that does nothing gives ConvNeXt behind the spatial transformer, which starts as the identity.
    module.gates = torch.nn.ModuleList(torch.nn.Identity() for _ in module.gates)
    assert torch.allclose(module.embed(images), module.trunk(images), atol=1e-5)


def test_another_side_is_named() -> None:
    with pytest.raises(InputError, match="takes images of 32 px, not 48 × 48; set its option side"):
        make()(torch.zeros(1, 3, 48, 48))
    with pytest.raises(RecipeError, match="at least 18 px"):
        make(side=16)
    with pytest.raises(RecipeError, match="attention = 'all': choose batch or tokens"):
        make(attention="all")


def test_published_weights_go_into_the_trunk_whole_or_not_at_all() -> None:
    module = make()
    published = {name: torch.rand_like(value) for name, value in module.trunk.state_dict().items()}
    gates = [parameter.clone() for parameter in module.gates.parameters()]
    module.load_pretrained({**published, "head.fc.weight": torch.zeros(21841, 64), "head.fc.bias": torch.zeros(21841)})
    assert all(torch.equal(value, published[name]) for name, value in module.trunk.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(gates, module.gates.parameters(), strict=True))
    del published["stem.0.weight"]
    with pytest.raises(RunError, match=r"stem\.0\.weight is missing"):
        module.load_pretrained(published)


@pytest.mark.parametrize("system", CARDS)
def test_recipes_feed_what_the_network_takes(system: str) -> None:
    for name, side in (("faithful", 224), ("mien", 64)):
        recipe = Recipe.of(CARDS[system], name)
        options = {**CARDS[system].options, **recipe.system}
        assert recipe.input.size == options["side"] == side
    faithful, mien = Recipe.of(CARDS[system], "faithful"), Recipe.of(CARDS[system], "mien")
    assert (faithful.start.kind, mien.start.kind) == ("pretrained", "fresh")
    assert (faithful.augment.vertical_flip, mien.augment.vertical_flip) == (0.5, 0.0)
    assert (faithful.system["attention"], mien.system["attention"]) == ("batch", "tokens")


def test_the_recipes_own_options_pass_the_contract_too() -> None:
    checks = dict(system_checks("emonext-t", tiny_options={**TINY, "attention": "tokens"}))
    for check in ("evaluation", "gradients"):
        checks[check]()
