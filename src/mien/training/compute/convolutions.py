"""Convolutions that a CPU trains slowly, computed another way: the same network and the same numbers up to rounding."""

from __future__ import annotations

import functools

from torch import nn

from mien.training.compute.depthwise import QuickDepthwise
from mien.training.compute.small_maps import QuickSmallMaps

_KINDS = (QuickDepthwise, QuickSmallMaps)


def quickened(module: nn.Module) -> nn.Module:
    """The network, for a CPU, with every such convolution replaced; its weights and their names stay.

    Without gradients they compute what they did, with them the same up to rounding.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and _stock(part):
            for kind in _KINDS:
                if kind.suits(part):
                    part.__class__ = _quick(kind, type(part))  # type: ignore[arg-type]
                    break
    return module


def _stock(layer: nn.Conv2d) -> bool:
    # Other classes with a convolution of their own, as those that pad like TensorFlow or scale their weights, stay as
    # they are.
    kind = type(layer)
    stock = kind.forward is nn.Conv2d.forward and kind._conv_forward is nn.Conv2d._conv_forward
    return stock and layer.padding_mode == "zeros" and isinstance(layer.padding, tuple)


@functools.cache
def _quick(how: type[nn.Conv2d], kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    return type(kind.__name__, (how, kind), {})
