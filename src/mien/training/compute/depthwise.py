"""Depthwise convolutions on a CPU, whose weights' gradient is computed where PyTorch's own kernel for it is slow.

That kernel is slow in two cases. In bf16 with windows of 5×5 and 7×7 it takes up to a hundred times as long as the
forward pass, in fp32 a third to a tenth of that: there the gradient is computed in fp32. And where the map is smaller
than the window, as late in a network on small faces, it takes up to two hundred times as long as the forward pass
in either precision: there the gradient is summed for each weight over the part of the map that the weight sees, a
thirtieth of the time. ConvNeXt and EfficientNet consist of such convolutions.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mien.training.compute.windows import seen

FROM = 5
"""Side of the smallest window that is slow in bf16 on maps of any size."""


class QuickDepthwise(nn.Conv2d):
    """A convolution with as many groups as channels; see `mien.training.compute.convolutions`."""

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        """Whether a layer may be computed so."""
        return layer.groups == layer.in_channels == layer.out_channels > 1 and max(layer.kernel_size) > 1

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor
        cast = torch.is_autocast_enabled("cpu")
        slow = (cast and max(self.kernel_size) >= FROM) or _narrow(input, self.kernel_size, self.dilation)
        if slow and input.ndim == 4 and torch.is_grad_enabled():
            images = input.to(torch.get_autocast_dtype("cpu")) if cast else input
            out = _Depthwise.apply(images, weight, bias, self.stride, self.padding, self.dilation)
        else:
            out = super()._conv_forward(input, weight, bias)
        return out


def _narrow(images: Tensor, window: tuple[int, ...], dilation: tuple[int, ...]) -> bool:
    return any(
        side < step * (places - 1) + 1 for side, places, step in zip(images.shape[-2:], window, dilation, strict=True)
    )


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
                _of_weight(gradient.to(weight.dtype), images.to(weight.dtype), weight, context.where)
                if of_weight
                else None,
                gradient.sum((0, 2, 3), dtype=torch.float32) if of_bias else None,
                None,
                None,
                None,
            )


def _of_weight(gradient: Tensor, images: Tensor, weight: Tensor, where: tuple[list[int], ...]) -> Tensor:
    out: Tensor
    if _narrow(images, tuple(weight.shape[2:]), tuple(where[2])):
        out = torch.zeros_like(weight)
        found = [
            seen(*sides, *steps)
            for *sides, steps in zip(
                weight.shape[2:], images.shape[2:], gradient.shape[2:], zip(*where, strict=True), strict=True
            )
        ]
        for (row, above, rows), (column, left, columns) in itertools.product(*found):
            out[:, 0, row, column] = (gradient[:, :, above, left] * images[:, :, rows, columns]).sum((0, 2, 3))
    else:
        convolution = (None, *where, False, [0, 0], images.shape[1])
        out = torch.ops.aten.convolution_backward(gradient, images, weight, *convolution, [False, True, False])[1]
    return out
