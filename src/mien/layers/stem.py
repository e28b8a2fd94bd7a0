"""Take early reductions out of a published trunk, so that small faces keep their pixels and weights still fit."""

from __future__ import annotations

from torch import nn

from mien.errors import RecipeError


def soften_stem(holder: nn.Module, convolution: str, pool: str, stride: int) -> None:
    """Let the stem of a residual network reduce its input by 4, 2 or 1 instead of 4.

    By 2 the max pooling is left out; by 1 the first convolution steps over every pixel as well. No parameter comes or
    goes, so published weights load either way.

    Args:
        holder: module that has the two parts.
        convolution: name of the first convolution in it, of stride 2.
        pool: name of the max pooling in it.
        stride: 4 (as published), 2 or 1; another raises `RecipeError`.

    Example:
        >>> from timm import create_model
        >>> trunk = create_model("resnet18", num_classes=0)
        >>> soften_stem(trunk, "conv1", "maxpool", 1)
        >>> trunk.conv1.stride, trunk.maxpool
        ((1, 1), Identity())
    """
    if stride not in (1, 2, 4):
        raise RecipeError(f"stem_stride = {stride!r}: the stem reduces faces by 4 (as published), 2 or 1")
    if stride < 4:
        setattr(holder, pool, nn.Identity())
    if stride == 1:
        first = getattr(holder, convolution)
        assert isinstance(first, nn.Conv2d)
        first.stride = (1, 1)
