"""Channel and spatial attention of CBAM (Woo et al. 2018)."""

from __future__ import annotations

import torch
from timm.layers.cbam import ChannelAttn, SpatialAttn
from torch import Tensor, nn


class Cbam(nn.Module):
    """Scale channels, then places, each by a gate between 0 and 1.

    Source: S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, sections 3.1 and 3.2. The gates are
    timm's; `SpatialGate` replaces theirs where a source leaves the normalisation out.

    Args:
        channels: of the input and the output.
        reduction: the hidden layer of the channel gate has ``channels / reduction`` units.
        bias: its two layers have biases, as in the authors' code.
        norm: batch normalisation follows the 7×7 convolution of the spatial gate, as in the authors' code.

    Example:
        >>> Cbam(64)(torch.zeros(2, 64, 6, 6)).shape
        torch.Size([2, 64, 6, 6])
        >>> sum(p.numel() for p in Cbam(64, bias=False, norm=False).parameters())  # 2 · 64 · 4 + 2 · 7 · 7
        610
    """

    def __init__(self, channels: int, *, reduction: int = 16, bias: bool = True, norm: bool = True) -> None:
        super().__init__()
        self.channel = ChannelAttn(channels, rd_ratio=1 / reduction, mlp_bias=bias)
        self.spatial = SpatialAttn() if norm else SpatialGate()

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, channels, H, W) → the same shape."""
        out: Tensor = self.spatial(self.channel(features))
        return out


class SpatialGate(nn.Module):
    """A gate per place: mean and maximum over channels, a 7×7 convolution without bias, a sigmoid."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, C, H, W) → the same shape."""
        maps = torch.cat([features.mean(1, keepdim=True), features.amax(1, keepdim=True)], 1)
        out: Tensor = features * self.conv(maps).sigmoid()
        return out
