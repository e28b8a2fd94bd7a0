from __future__ import annotations

import pytest
import torch

from mien.layers.channel_mask import ChannelMask


@pytest.mark.parametrize(
    ("channels", "depth", "parameters"),
    [(64, 4, 32.4e6), (128, 3, 31.9e6), (256, 2, 30.0e6), (512, 1, 22.3e6)],
)
def test_sizes_are_those_of_the_public_code(channels: int, depth: int, parameters: float) -> None:
    with torch.device("meta"):
        mask = ChannelMask(channels, depth)
    assert sum(p.numel() for p in mask.parameters()) == pytest.approx(parameters, abs=0.06e6)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_weights_are_positive_and_sum_to_one_over_channels(depth: int) -> None:
    torch.manual_seed(0)
    mask = ChannelMask(4, depth)
    features = torch.randn(2, 4, 8, 8)
    weights = mask(features)
    assert weights.shape == features.shape
    assert bool((weights > 0).all())
    assert torch.allclose(weights.sum(1), torch.ones(2, 8, 8))
    assert len(mask.up) == depth - 1


def test_every_level_takes_part() -> None:
    torch.manual_seed(0)
    mask = ChannelMask(4, 3)
    for block in [*mask.down, *mask.join, mask.last]:
        torch.nn.init.ones_(block.bn2.weight)
    seen: list[tuple[int, ...]] = []
    for block in [*mask.down, *mask.join, mask.last]:
        block.register_forward_hook(lambda module, inputs, out: seen.append(tuple(out.shape[1:])))
    (mask(torch.randn(3, 4, 8, 8)) * torch.randn(3, 4, 8, 8)).sum().backward()
    assert seen == [(8, 8, 8), (16, 4, 4), (32, 2, 2), (16, 4, 4), (8, 8, 8), (4, 8, 8)]
    idle = [name for name, p in mask.named_parameters() if not p.grad.abs().sum() > 0]
    assert not idle
