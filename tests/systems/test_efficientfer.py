from __future__ import annotations

from typing import Any

import pytest
import torch

from mien import systems
from mien.errors import RecipeError, RunError
from mien.systems.efficientfer import CARDS, EfficientFER, SelfAttention
from mien.testing import system_checks
from mien.training import Recipe

CARD = CARDS["efficientfer"]
TINY: dict[str, Any] = dict(CARD.tiny)


def make(**options: Any) -> EfficientFER:
    torch.manual_seed(0)
    module = systems.create("efficientfer", **{**TINY, **options})
    assert isinstance(module, EfficientFER)
    return module.eval()


def test_the_trunk_is_as_large_as_the_sources() -> None:
    with torch.device("meta"):
        module = systems.create("efficientfer")
    assert sum(p.numel() for p in module.get_submodule("trunk").parameters()) == 20_177_488


def test_attention_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    layer = SelfAttention(12, heads=2, width=5)
    maps = torch.randn(3, 12, 2, 4)
    tokens = maps.flatten(2).transpose(1, 2)
    query, key, value = layer.qkv(tokens).chunk(3, 2)
    heads = []
    for start in (0, 5):
        part = slice(start, start + 5)
        weights = (query[..., part] @ key[..., part].transpose(1, 2) / 5**0.5).softmax(2)
        heads.append(weights @ value[..., part])
    wanted = layer.out(torch.cat(heads, 2)).transpose(1, 2).reshape(3, 12, 2, 4)
    assert torch.allclose(layer(maps), wanted, atol=1e-6)


def test_pooled_attention_is_a_linear_layer_and_attention_over_the_map_is_not() -> None:
    images = torch.randn(2, 3, 64, 64)
    for attend, changes in (("pooled", False), ("map", True)):
        module = make(attend=attend)
        before = module(images)
        with torch.no_grad():  # queries and keys are the first two thirds
            module.attention.qkv.weight[: 2 * 2 * 64].add_(torch.randn(2 * 2 * 64, module.attention.qkv.in_features))
        assert torch.allclose(before, module(images), atol=1e-6) != changes


@pytest.mark.parametrize("attend", ["pooled", "map"])
def test_attention_and_gates_work_side_by_side(attend: str) -> None:
    module = make(attend=attend)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = module.trunk.forward_features(images)  # type: ignore[operator]
        if attend == "pooled":
            maps = maps.mean((2, 3), keepdim=True)
        wanted = module.attention(maps).mean((2, 3)) + module.cbam(maps).mean((2, 3))
        assert torch.allclose(module.embed(images), module.hidden(wanted), atol=1e-5)


def test_the_blocks_can_begin_as_shortcuts() -> None:
    def untouched(**options: Any) -> list[bool]:
        blocks = [block for block in make(**options).trunk.modules() if getattr(block, "has_skip", False)]
        sums = [
            [p for p in block.modules() if isinstance(p, torch.nn.BatchNorm2d)][-1].weight.sum() for block in blocks
        ]
        return [of.item() == 0 for of in sums]

    quiet, plain = untouched(quiet_start=True, depth=0.5), untouched(depth=0.5)
    assert quiet
    assert all(quiet)
    assert not any(plain)
    assert Recipe.of(CARD, "mien").system["quiet_start"]


def test_the_stem_keeps_more_pixels_of_small_faces() -> None:
    images = torch.randn(1, 3, 64, 64)
    sides = [make(stem_stride=stride).trunk.forward_features(images).shape[-1] for stride in (2, 1)]  # type: ignore[operator]
    assert sides == [2, 4]


def test_wrong_options_are_named() -> None:
    with pytest.raises(RecipeError, match="stem_stride = 4: the stem reduces faces by 2"):
        make(stem_stride=4)
    with pytest.raises(RecipeError, match="attend = 'all': choose pooled or map"):
        make(attend="all")


def test_published_weights_go_into_the_trunk() -> None:
    module = make()
    published = {
        name: torch.rand_like(value.float()).to(value.dtype) for name, value in module.trunk.state_dict().items()
    }
    module.load_pretrained(
        {**published, "classifier.weight": torch.zeros(1000, 8), "classifier.bias": torch.zeros(1000)}
    )
    assert all(torch.equal(value, published[name]) for name, value in module.trunk.state_dict().items())
    with pytest.raises(RunError, match=r"conv_stem\.weight is"):
        module.load_pretrained({**published, "conv_stem.weight": torch.zeros(3)})


def test_the_oddities_of_the_source_are_in_its_recipe() -> None:
    recipe = Recipe.of(CARD, "faithful")
    assert (recipe.loss.name, recipe.loss.gamma, recipe.loss.class_weights) == ("focal", 2.0, "balanced")
    assert (recipe.schedule.name, recipe.optim.lr, recipe.ema) == ("constant", 2e-4, 0.999)
    assert (recipe.clip, recipe.optim.betas) == (1.0, (0.95, 0.999))
    assert (recipe.monitor, recipe.early_stop, recipe.system["attend"]) == ("loss", 7, "pooled")
    assert Recipe.of(CARD, "mien").system["attend"] == "map"


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler.step")
def test_a_one_cycle_schedule_that_steps_once_per_epoch_stays_where_the_recipe_is() -> None:
    recipe = Recipe.of(CARD, "faithful")
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))], lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=recipe.epochs * 449, pct_start=0.3)
    for _ in range(recipe.epochs):
        (group,) = optimizer.param_groups
        assert group["lr"] == pytest.approx(recipe.optim.lr, rel=0.02)
        assert group["betas"] == pytest.approx(recipe.optim.betas, rel=1e-3)
        schedule.step()


def test_attention_over_the_map_passes_the_contract_too() -> None:
    checks = dict(system_checks("efficientfer", tiny_options={**TINY, "attend": "map"}, tiny_size=48))
    for check in ("evaluation", "gradients"):
        checks[check]()
