"""Depthwise convolutions with large windows on a CPU in bf16, whose weights' gradient is computed in fp32.

PyTorch's CPU kernel for that gradient is written for windows of 3×3; with 5×5 and 7×7 in bf16 it takes up to a hundred
times as long as the forward pass, in fp32 a third to a tenth of that. ConvNeXt and EfficientNet consist of them.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

FROM = 5
"""Side of the smallest window that is slow in bf16."""


def quickened(module: nn.Module) -> nn.Module:
    """The network, for a CPU, with every such convolution replaced; its weights and their names stay.

    Outside of autocast and without gradients they compute what they did.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d) and _slow(part):
            part.__class__ = _quick(type(part))  # type: ignore[arg-type]
    return module


def _slow(layer: nn.Conv2d) -> bool:
    # Other classes with a forward pass of their own, as those that pad like TensorFlow, stay as they are.
    depthwise = layer.groups == layer.in_channels == layer.out_channels > 1
    plain = type(layer).forward is nn.Conv2d.forward and layer.padding_mode == "zeros"
    return depthwise and plain and isinstance(layer.padding, tuple) and max(layer.kernel_size) >= FROM


@functools.cache
def _quick(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    return type(kind.__name__, (_Quick, kind), {})


class _Quick(nn.Conv2d):
    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor
        if torch.is_autocast_enabled("cpu") and torch.is_grad_enabled():
            images = input.to(torch.get_autocast_dtype("cpu"))
            out = _Depthwise.apply(images, weight, bias, self.stride, self.padding, self.dilation)
        else:
            out = super()._conv_forward(input, weight, bias)
        return out


class _Depthwise(torch.autograd.Function):
    """Float (N, C, H, W), fp32 weights (C, 1, h, w) and bias (C) or none → (N, C, H', W') in the images' dtype."""

    @staticmethod
    def forward(
        context: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
    ) -> Tensor:
        context.save_for_backward(images, weight)
        context.where = (list(stride), list(padding), list(dilation))
        cast = None if bias is None else bias.to(images.dtype)
        with torch.autocast("cpu", enabled=False):
            out: Tensor = nn.functional.conv2d(
                images, weight.to(images.dtype), cast, stride, padding, dilation, images.shape[1]
            )
        return out

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Any:
        images, weight = context.saved_tensors
        of_images, of_weight, of_bias, *_ = context.needs_input_grad
        # Not transposed, no padding of an output, as many groups as channels.
        convolution = (None, *context.where, False, [0, 0], images.shape[1])
        derive = torch.ops.aten.convolution_backward
        with torch.autocast("cpu", enabled=False):
            return (
                derive(gradient, images, weight.to(images.dtype), *convolution, [True, False, False])[0]
                if of_images
                else None,
                derive(gradient.float(), images.float(), weight, *convolution, [False, True, False])[1]
                if of_weight
                else None,
                gradient.sum((0, 2, 3), dtype=torch.float32) if of_bias else None,
                None,
                None,
                None,
            )
