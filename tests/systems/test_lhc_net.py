from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from mien import systems
from mien.errors import InputError, RecipeError
from mien.systems.lhc_net import ChannelAttention


def tiny(name: str = "lhc-netc", **options: object) -> systems.base.System:  # type: ignore[name-defined]
    torch.manual_seed(0)
    return systems.create(name, **{**systems.card(name).tiny, **options}).eval()


def reference(module: ChannelAttention, features: torch.Tensor) -> torch.Tensor:
    """The module as its source writes it: one face, one head at a time, borders averaged over what is there."""
    count, channels, side, _ = features.shape
    part = side * side // module.heads
    queries = functional.avg_pool2d(features, 3, 1, 1, count_include_pad=False).flatten(2)
    keys = functional.max_pool2d(features, 3, 1, 1).flatten(2)
    values = functional.avg_pool2d(module.value(features), 3, 1, 1, count_include_pad=False).flatten(2)
    out = torch.zeros(count, channels, side * side)
    for face in range(count):
        for head in range(module.heads):
            pixels = slice(head * part, (head + 1) * part)
            q = queries[face, :, pixels] @ module.weight[head] + module.bias[head]
            k = keys[face, :, pixels] @ module.weight[head] + module.bias[head]
            scores = q @ k.T
            p = torch.sigmoid(module.scaling(scores.mean(1)))
            scaled = scores / torch.pow(torch.tensor(float(module.embedding)), 1 + p)[:, None]
            out[face, :, pixels] = torch.softmax(scaled, 1) @ values[face, :, pixels]
    return out.view_as(features)


def test_channels_attend_to_channels_as_in_the_source() -> None:
    torch.manual_seed(0)
    module = ChannelAttention(6, 4, 2)
    torch.nn.init.normal_(module.bias)
    features = torch.randn(2, 6, 4, 4)
    with torch.no_grad():
        assert torch.allclose(module(features), reference(module, features), atol=1e-6)


@pytest.mark.parametrize(
    ("channels", "side", "heads", "embedding", "parameters"),
    [
        (64, 56, 8, 196, 657_312),
        (128, 28, 7, 56, 208_392),
        (256, 14, 7, 14, 658_714),
        (512, 7, 1, 25, 2_623_714),
    ],
)
def test_sizes_are_those_of_the_source(channels: int, side: int, heads: int, embedding: int, parameters: int) -> None:
    module = ChannelAttention(channels, side, heads)
    assert module.embedding == embedding
    assert sum(p.numel() for p in module.parameters()) == parameters


def test_stages_switch_modules_and_controller() -> None:
    module = tiny(gates=(0.0, 0.5, 0.0, -1.0, -0.5))
    images = torch.randn(2, 3, 32, 32)

    def logits(stage: str) -> torch.Tensor:
        module.begin_stage(stage)
        with torch.no_grad():
            out: torch.Tensor = module(images)
        return out

    with torch.no_grad():
        fresh = module(images)
    plain, joined, controlled = logits("upright"), logits("modules"), logits("controller")
    assert torch.equal(fresh, controlled)
    assert not torch.allclose(plain, joined)
    assert not torch.allclose(joined, controlled)
    with torch.no_grad():
        module.controller.fill_(-20.0)  # 1 + tanh(-20) = 0: no module counts
    assert torch.allclose(logits("controller"), plain, atol=1e-6)
    with torch.no_grad():
        module.controller.zero_()  # 1 + tanh(0) = 1: every module counts once
    assert torch.equal(logits("controller"), joined)


def test_modules_can_begin_as_no_ops() -> None:
    module = tiny("lhc-net", quiet_start=True)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        joined = module(images)
        module.begin_stage("upright")
        assert torch.equal(module(images), joined)
        # So does each block of the trunk: from scratch, a sum of 33 random convolutions learns nothing for an epoch.
        stage = module.trunk.stages[0]
        features = module.trunk.stem(images)
        assert torch.equal(stage(features), features)
        assert not torch.equal(tiny("lhc-net").trunk.stages[0](features), features)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="made for faces of 32 px and got 48"):
        tiny()(torch.zeros(1, 3, 48, 48))
    with pytest.raises(RecipeError, match="7 heads do not share the 16 × 16 pixels"):
        tiny(heads=(7, 8, 4, 4, 1))
    with pytest.raises(RecipeError, match=r"stage 'controller': .* modules"):
        tiny("lhc-net").begin_stage("controller")


def test_the_year_is_that_of_the_article() -> None:
    paper = systems.card("lhc-net").paper
    assert (paper.venue, paper.year) == ("Information", 2022)


def test_the_controller_of_mien_begins_without_a_change() -> None:
    module = tiny("lhc-netc", gates=systems.card("lhc-netc").recipes["mien"]["system"]["gates"])
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        module.begin_stage("modules")
        joined = module(images)
        module.begin_stage("controller")
        assert torch.equal(module(images), joined)


def test_faces_of_any_side_teach_the_trunk_before_the_modules_join() -> None:
    module = tiny("lhc-net")
    module.begin_stage("upright-24px")
    assert module(torch.zeros(2, 3, 24, 24)).shape == (2, 7)
    module.begin_stage("modules")
    with pytest.raises(InputError, match="made for faces of 32 px"):
        module(torch.zeros(2, 3, 24, 24))
