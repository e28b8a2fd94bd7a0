"""The residual block of ResNet18 and ResNet34, beginning as its shortcut."""

from __future__ import annotations

from timm.models.resnet import BasicBlock, downsample_conv
from torch import nn


def residual_block(incoming: int, outgoing: int, stride: int = 1) -> nn.Module:
    """Two 3×3 convolutions around a shortcut; where the shape changes, the shortcut is a 1×1 convolution.

    The block is timm's. Its last normalisation starts at zero, so it begins as its shortcut (Goyal et al. 2017,
    "Accurate, Large Minibatch SGD", section 5.1); convolutions start as He et al. 2015 propose, by fan-out.

    Args:
        incoming: channels of the input.
        outgoing: channels of the output.
        stride: by which height and width shrink.

    Returns:
        A module float (N, incoming, H, W) → (N, outgoing, H / stride, W / stride).

    Example:
        >>> import torch
        >>> residual_block(16, 32, stride=2)(torch.zeros(1, 16, 8, 8)).shape
        torch.Size([1, 32, 4, 4])
    """
    shortcut = None
    if stride > 1 or incoming != outgoing:
        shortcut = downsample_conv(incoming, outgoing, kernel_size=1, stride=stride)
    block: nn.Module = BasicBlock(incoming, outgoing, stride, shortcut)
    for part in block.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
    last = block.bn2
    assert isinstance(last, nn.BatchNorm2d)
    nn.init.zeros_(last.weight)
    return block
