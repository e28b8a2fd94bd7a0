"""Squeeze-and-excitation with a hidden width that matches published parameter counts."""

from __future__ import annotations

from timm.layers.squeeze_excite import SEModule
from torch import nn


def squeeze_excitation(channels: int, *, reduction: int = 16, bias: bool = True) -> nn.Module:
    """A gate per channel, computed from the averages of all channels (Hu et al. 2018, section 3).

    The block is timm's; its hidden width is rounded to multiples of eight there, and is exactly
    ``channels // reduction`` here, as in the public codes whose counts we match.

    Args:
        channels: channels of the map.
        reduction: hidden units are ``channels // reduction``, at least one.
        bias: whether the two layers have biases.

    Returns:
        A module that maps float (N, channels, H, W) to the same shape.

    Example:
        >>> sum(p.numel() for p in squeeze_excitation(256, bias=False).parameters())
        8192
    """
    block: nn.Module = SEModule(channels, rd_channels=max(1, channels // reduction), bias=bias)
    return block
