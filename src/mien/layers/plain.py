"""Stages of plain convolutions, each ended by a pool: the trunk of every VGG-like network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn


def plain_stages(
    channels: int,
    widths: Sequence[Sequence[int]],
    *,
    kernel: int = 3,
    batch_norm: bool = True,
    dropout: float = 0.0,
    pool: Callable[[int], nn.Module] = nn.MaxPool2d,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> nn.Sequential:
    """Convolution, normalisation, activation, …, pool, dropout; for each stage.

    Args:
        channels: channels of the images.
        widths: for each stage, the channels of its convolutions. A pool ends each stage and halves the side.
        kernel: side of the convolutions, odd; they keep the side of the map.
        batch_norm: whether a batch normalisation follows each convolution.
        dropout: probability of a dropout after each pool; 0 leaves it out.
        pool: makes a pool from its side.
        activation: makes an activation.

    Returns:
        A module float (N, channels, S, S) → (N, widths[-1][-1], S // 2ⁿ, S // 2ⁿ) with n stages.

    Example:
        >>> import torch
        >>> plain_stages(1, [[8, 8], [16]])(torch.zeros(2, 1, 48, 48)).shape
        torch.Size([2, 16, 12, 12])
    """
    layers: list[nn.Module] = []
    for stage in widths:
        for outgoing in stage:
            layers.append(nn.Conv2d(channels, outgoing, kernel, padding=kernel // 2))
            layers += [nn.BatchNorm2d(outgoing)] if batch_norm else []
            layers.append(activation())
            channels = outgoing
        layers.append(pool(2))
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers)
