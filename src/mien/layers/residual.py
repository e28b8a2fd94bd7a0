"""Residual blocks that begin as their shortcut."""

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


def begin_as_shortcuts(trunk: nn.Module) -> None:
    """Let the blocks with a shortcut of one of timm's EfficientNets begin as that shortcut, in place.

    Timm starts its residual networks so, but not its EfficientNets, which then begin as a sum of their random blocks:
    at random weights the gradients of EfficientNetV2-S have a norm of 135, after this of 9. Weights that are loaded
    replace it.

    Args:
        trunk: timm's network.

    Raises:
        ValueError: ``trunk`` has no such block.

    Example:
        >>> import timm
        >>> trunk = timm.create_model("efficientnet_b0")
        >>> begin_as_shortcuts(trunk)
        >>> trunk.blocks[1][1].bn3.weight.abs().sum().item()
        0.0
    """
    blocks = [block for block in trunk.modules() if getattr(block, "has_skip", False)]
    if not blocks:
        raise ValueError("no block of this network has a shortcut")
    for block in blocks:
        last = [part for part in block.modules() if isinstance(part, nn.BatchNorm2d)][-1]
        nn.init.zeros_(last.weight)
