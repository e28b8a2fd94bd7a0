from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mien.errors import RecipeError
from mien.layers.convnext import convnext, convnext_map

SMALL = ((8, 12, 16, 24), (1, 1, 2, 1))


@pytest.mark.parametrize("stride", [2, 4])
def test_the_stem_reduces_by_its_stride_and_keeps_its_weights(stride: int) -> None:
    trunk = convnext(3, *SMALL, stem_stride=stride).eval()
    images = torch.randn(2, 3, 64, 64)
    maps = convnext_map(trunk, images)
    side = 64 // (8 * stride)
    assert maps.shape == (2, 24, side, side)
    assert trunk.state_dict().keys() == convnext(3, *SMALL).state_dict().keys()
    assert trunk.get_parameter("stem.0.weight").shape == (8, 3, 4, 4)


def test_without_steps_of_ones_own_it_is_the_published_network() -> None:
    trunk = convnext(3, *SMALL).eval()
    images = torch.randn(2, 3, 64, 64)
    head = trunk.get_submodule("head")
    assert torch.equal(head(convnext_map(trunk, images)), trunk(images))


def test_steps_of_ones_own_come_where_they_belong() -> None:
    trunk = convnext(1, *SMALL).eval()
    seen: list[tuple[str, int, tuple[int, ...]]] = []

    def note(what: str, stage: int, maps: Tensor) -> Tensor:
        seen.append((what, stage, tuple(maps.shape[1:])))
        return maps

    convnext_map(
        trunk,
        torch.zeros(1, 1, 64, 64),
        after_downsampling=lambda stage, maps: note("down", stage, maps),
        after_stage=lambda stage, maps: note("end", stage, maps),
    )
    assert seen == [
        ("end", 0, (8, 16, 16)),
        ("down", 1, (12, 8, 8)),
        ("end", 1, (12, 8, 8)),
        ("down", 2, (16, 4, 4)),
        ("end", 2, (16, 4, 4)),
        ("down", 3, (24, 2, 2)),
        ("end", 3, (24, 2, 2)),
    ]


def test_another_stride_is_refused() -> None:
    with pytest.raises(RecipeError, match="stem_stride = 3: the stem reduces faces by 4"):
        convnext(3, *SMALL, stem_stride=3)
