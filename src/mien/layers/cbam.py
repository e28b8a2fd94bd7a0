"""Channel and spatial attention of CBAM (Woo et al. 2018)."""

from __future__ import annotations

import torch
from timm.layers.cbam import ChannelAttn
from timm.layers.conv_bn_act import ConvNormAct
from torch import Tensor, nn


class Cbam(nn.Module):
    """Scale channels, then places, each by a gate between 0 and 1.

    Source: S. Woo et al., "CBAM: Convolutional Block Attention Module", ECCV 2018, sections 3.1 and 3.2. The layers are
    timm's, pooled otherwise (below).

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
        self.channel = ChannelGate(channels, rd_ratio=1 / reduction, mlp_bias=bias)
        self.spatial = SpatialGate(norm=norm)

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, channels, H, W) → the same shape."""
        out: Tensor = self.spatial(self.channel(features))
        return out


# timm's gates pool with `mean` and `amax` over (N, C, H, W). The gradient of such a mean lies channels first, whatever
# the features do, and that of `amax` is made in five passes over all of them: a network in `channels_last` then copies
# and adds maps of two orders. Pooled with the channels last, and by `max`, whose gradient goes to one place as in the
# authors' code, the same gates cost less than half of that (docs/LOG.md, 2026-11-30).


class ChannelGate(ChannelAttn):
    """A gate per channel: of its mean and of its maximum, each through the same two layers, summed; a sigmoid."""

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, C, H, W) → the same shape."""
        pixels = features.permute(0, 2, 3, 1).flatten(1, 2)
        mean, largest = (pooled[:, :, None, None] for pooled in (pixels.mean(1), pixels.max(1).values))
        out: Tensor = features * self.gate(self._scores(mean) + self._scores(largest))
        return out

    def _scores(self, pooled: Tensor) -> Tensor:
        scores: Tensor = self.fc2(self.act(self.fc1(pooled)))
        return scores


class SpatialGate(nn.Module):
    """A gate per place: mean and maximum over channels, a 7×7 convolution, a sigmoid."""

    def __init__(self, *, norm: bool) -> None:
        super().__init__()
        self.conv = ConvNormAct(2, 1, 7, apply_act=False) if norm else nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, C, H, W) → the same shape."""
        pixels = features.permute(0, 2, 3, 1)
        maps = torch.stack([pixels.mean(-1), pixels.max(-1).values], 1)
        out: Tensor = features * self.conv(maps).sigmoid()
        return out
