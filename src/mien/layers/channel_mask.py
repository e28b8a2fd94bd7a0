"""The mask of the Residual Masking Network (Pham et al. 2020): a small U-shaped network that weighs channels."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from mien.layers.residual import residual_block


class ChannelMask(nn.Module):
    """Features → weights per place that are positive and sum to 1 over channels.

    On the way down each level doubles the channels with a residual block and halves the sides by max pooling; on the
    way up a transposed convolution doubles the sides and the features of the same level join. With depth 1 there is
    neither pooling nor joining.

    Source: L. Pham et al., "Facial Expression Recognition using Residual Masking Network", ICPR 2020, section III,
    with the softmax over channels of the public code.

    Args:
        channels: of the features and of the mask.
        depth: levels; height and width are multiples of ``2 ** (depth - 1)``.

    Example:
        >>> ChannelMask(8, depth=3)(torch.zeros(1, 8, 8, 8)).sum(1).allclose(torch.ones(1, 8, 8))
        True
    """

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(depth + 1)]
        self.down = nn.ModuleList(residual_block(a, b) for a, b in itertools.pairwise(widths))
        self.up = nn.ModuleList(_Up(width) for width in reversed(widths[2:]))
        self.join = nn.ModuleList(residual_block(width, width // 2) for width in reversed(widths[2:]))
        self.last = residual_block(widths[1], channels)
        self.pool = nn.MaxPool2d(2)

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, channels, H, W) → float (N, channels, H, W), summing to 1 over channels."""
        levels: list[Tensor] = []
        for level, block in enumerate(self.down):
            features = block(self.pool(features) if level else features)
            levels.append(features)
        levels.pop()
        for up, join in zip(self.up, self.join, strict=True):
            features = join(torch.cat([up(features), levels.pop()], 1))
        return torch.softmax(self.last(features), 1)


class _Up(nn.Sequential):
    """A transposed convolution that halves the channels and doubles the sides."""

    def __init__(self, channels: int) -> None:
        super().__init__(
            nn.ConvTranspose2d(channels, channels // 2, 2, 2),
            nn.BatchNorm2d(channels // 2),
            nn.ReLU(inplace=True),
        )
