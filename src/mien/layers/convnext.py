"""ConvNeXt as a trunk whose stem can be softened and whose stages can be followed by something of one's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from timm.models.convnext import ConvNeXt
from torch import Tensor, nn

from mien.errors import RecipeError


def convnext(
    channels: int,
    dims: Sequence[int] = (96, 192, 384, 768),
    depths: Sequence[int] = (3, 3, 9, 3),
    *,
    stem_stride: int = 4,
    drop_path: float = 0.0,
    layer_scale: float = 1e-6,
) -> nn.Module:
    """A ConvNeXt of timm's (Liu et al. 2022, "A ConvNet for the 2020s") without a classifier.

    No option adds or removes a parameter, so published weights load whatever the stem's stride is.

    Args:
        channels: 1 or 3.
        dims: channels of the four stages.
        depths: blocks of the four stages.
        stem_stride: by which the stem's 4×4 convolution reduces the image: 4 (as published) or 2.
        drop_path: probability that the last block is left out in training; earlier ones less, linearly.
        layer_scale: by what the outcome of a block is scaled at first.

    Returns:
        A module float (N, channels, S, S) → (N, dims[-1]): average over the map, then layer normalisation.

    Example:
        >>> import torch
        >>> convnext(1, (8, 8, 8, 8), (1, 1, 1, 1), stem_stride=2)(torch.zeros(2, 1, 32, 32)).shape
        torch.Size([2, 8])
    """
    if stem_stride not in (2, 4):
        raise RecipeError(f"stem_stride = {stem_stride!r}: the stem reduces faces by 4 (as published) or 2")
    trunk: nn.Module = ConvNeXt(
        in_chans=channels,
        num_classes=0,
        dims=tuple(dims),
        depths=tuple(depths),
        drop_path_rate=drop_path,
        ls_init_value=layer_scale,
    )
    first = trunk.get_submodule("stem.0")
    assert isinstance(first, nn.Conv2d)
    first.stride = (stem_stride, stem_stride)
    first.padding = ((4 - stem_stride) // 2,) * 2  # the map is the image over the stride, exactly
    return trunk


def convnext_map(
    trunk: nn.Module,
    images: Tensor,
    *,
    after_downsampling: Callable[[int, Tensor], Tensor] = lambda stage, maps: maps,
    after_stage: Callable[[int, Tensor], Tensor] = lambda stage, maps: maps,
) -> Tensor:
    """The last map of a trunk of `convnext`, with steps of one's own on the way.

    Args:
        trunk: made by `convnext`.
        images: float (N, channels, S, S).
        after_downsampling: called with the number of the stage, 1 to 3, and the map that its convolution made.
        after_stage: called with the number of the stage, 0 to 3, and its outcome.

    Returns:
        Float (N, dims[-1], S', S'). ``trunk.forward_head`` averages and normalises it.
    """
    maps: Tensor = trunk.get_submodule("stem")(images)
    for number, stage in enumerate(trunk.get_submodule("stages").children()):
        maps = stage.get_submodule("downsample")(maps)
        if number:
            maps = after_downsampling(number, maps)
        maps = after_stage(number, stage.get_submodule("blocks")(maps))
    return maps
