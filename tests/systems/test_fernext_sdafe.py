from __future__ import annotations

import torch
from torch import nn

from mien import systems
from mien.systems.fernext_sdafe import CARDS, FERNeXt
from mien.training import Recipe

CARD = CARDS["fernext-sdafe"]


def make() -> FERNeXt:
    torch.manual_seed(0)
    module = systems.create("fernext-sdafe", **CARD.tiny)
    assert isinstance(module, FERNeXt)
    return module.eval()


def test_channel_attention_follows_each_stage() -> None:
    module = make()
    images = torch.randn(2, 3, 64, 64)
    before = module(images)
    for stage in range(4):
        weight = module.gates[stage].get_parameter("conv.weight")
        with torch.no_grad():
            kept = weight.clone()
            weight.add_(1)
            assert not torch.allclose(before, module(images)), stage
            weight.copy_(kept)
    module.gates = nn.ModuleList(nn.Identity() for _ in module.gates)
    assert torch.allclose(module.embed(images), module.trunk(images))


def test_windows_of_the_channel_attention_grow_with_the_channels() -> None:
    with torch.device("meta"):
        module = systems.create("fernext-sdafe")
    assert isinstance(module, FERNeXt)
    assert [gate.get_parameter("conv.weight").numel() for gate in module.gates] == [3, 5, 5, 5]


def test_without_generated_images_the_classes_are_balanced_by_drawing() -> None:
    assert Recipe.of(CARD, "faithful").sampling == "balanced"
    assert Recipe.of(CARD, "mien").sampling == "none"
