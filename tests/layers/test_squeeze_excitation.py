from __future__ import annotations

import pytest
import torch

from mien.layers.squeeze_excitation import squeeze_excitation
from mien.systems.base import count_parameters


@pytest.mark.parametrize(
    ("channels", "bias", "parameters"),
    [(256, False, 8_192), (64, False, 512), (192, True, 2 * 192 * 12 + 12 + 192), (8, False, 16)],
)
def test_parameters_are_those_of_the_public_codes(channels: int, bias: bool, parameters: int) -> None:
    assert count_parameters(squeeze_excitation(channels, bias=bias)) == parameters


def test_it_scales_each_channel_by_one_number_between_0_and_1() -> None:
    torch.manual_seed(0)
    maps = torch.rand(2, 32, 5, 5) + 0.1
    ratio = squeeze_excitation(32)(maps) / maps
    assert torch.allclose(ratio.amax((2, 3)), ratio.amin((2, 3)), atol=1e-6)
    assert 0 < float(ratio.min().detach()) < float(ratio.max().detach()) < 1


def test_the_gate_depends_on_the_average_alone() -> None:
    torch.manual_seed(0)
    block, maps = squeeze_excitation(32, reduction=4), torch.rand(1, 32, 4, 4)
    turned = maps.flip(3)
    assert torch.allclose(block(turned), block(maps).flip(3), atol=1e-6)
