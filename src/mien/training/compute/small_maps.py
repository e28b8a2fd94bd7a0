"""Convolutions of many channels on maps of a few pixels, as late in a network on small faces, as matrix products.

PyTorch's kernel (oneDNN) multiplies every weight with the padding, too: of a 3×3 window on a map of 2 × 2 px five
ninths of the work are zeros, on a single pixel eight ninths, and on so few pixels what is left runs at a fifth of the
processor's speed. Here each place of the window multiplies the pixels that it sees, all faces of the batch in one
matrix product. On one core, batches of 128 faces in fp32, forward and both gradients together, by pixels of the output:
nine times as quick for one, 4 to 7 times for 2 × 2, 2 to 2.5 times for 3 × 3 (7 where steps of two lead there), 1.6 to
2 times for 4 × 4; as quick as before for 5 × 5, and slower with fewer channels. Windows of one pixel: 2 to 6 times as
quick for one and for 2 × 2, slower for more. In bf16 PyTorch's kernels are left alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mien.training.compute.windows import seen

CHANNELS = 128
"""Of input and output each, from which it pays on outputs of up to `SIDE` pixels a side."""
SIDE = 2
MANY_CHANNELS, LARGER_SIDE = 256, 4
"""From so many it does on these, too, where the window is larger than a pixel."""

_Place = tuple[tuple[int, int], tuple[slice, slice], tuple[slice, slice]]
"""A place of the window (row, column), the outputs to which it adds (rows, columns), the pixels that it sees there."""


class QuickSmallMaps(nn.Conv2d):
    """A convolution whose outputs see all channels; see `mien.training.compute.convolutions`."""

    @staticmethod
    def suits(layer: nn.Conv2d) -> bool:
        """Whether a layer may be computed so."""
        return layer.groups == 1 and min(layer.in_channels, layer.out_channels) >= CHANNELS

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # In bf16 the sum over the places would be rounded at each of them.
        if torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu") and self._small(input):
            out: Tensor = _SmallMap.apply(input, weight, bias, self.stride, self.padding, self.dilation)
            return out
        stock: Tensor = super()._conv_forward(input, weight, bias)
        return stock

    def _small(self, images: Tensor) -> bool:
        if images.ndim != 4:
            return False
        where = (self.kernel_size, self.stride, self.padding, self.dilation)
        sides = [_out(side, *(int(each[axis]) for each in where)) for axis, side in enumerate(images.shape[2:])]
        many = min(self.in_channels, self.out_channels) >= MANY_CHANNELS and max(self.kernel_size) > 1
        return min(sides) > 0 and max(sides) <= (LARGER_SIDE if many else SIDE)  # none at all is torch's to refuse


class _SmallMap(torch.autograd.Function):
    """Float (N, C, H, W), weights (C', C, h, w) and bias (C') or none → (N, C', H', W').

    The channels come last where they do in images or weights, as they do behind PyTorch's kernel.
    """

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
        count, _, *sides = images.shape
        each = list(zip(sides, weight.shape[2:], stride, padding, dilation, strict=True))
        out = [_out(*axis) for axis in each]
        context.seen = [seen(places, side, end, *where) for (side, places, *where), end in zip(each, out, strict=True)]
        last = any(_channels_last(given) for given in (images, weight))
        pixels, weight = _pixels(images), weight.contiguous(memory_format=torch.channels_last)
        sums = pixels.new_zeros(*out, count, len(weight))
        if bias is not None:
            sums += bias
        for (row, column), outputs, inputs in _places(context.seen):
            product = _rows(pixels[inputs]) @ weight[:, :, row, column].t()
            sums[outputs] += product.view(sums[outputs].shape)
        context.save_for_backward(pixels, weight)
        # Memory of its own: a view of the sums could not be changed in place by an activation.
        found = torch.empty(
            (count, len(weight), *out),
            dtype=sums.dtype,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )
        return found.copy_(sums.permute(2, 3, 0, 1))

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> Any:
        pixels, weight = context.saved_tensors
        of_images, of_weight, of_bias, *_ = context.needs_input_grad
        outer = _pixels(gradient)
        inner = torch.zeros_like(pixels) if of_images else None
        # Where no pixel is seen from, as from the rim of a window on a single pixel, nothing is learnt.
        learnt = torch.zeros_like(weight) if of_weight else None
        for (row, column), outputs, inputs in _places(context.seen):
            rows = _rows(outer[outputs])
            if inner is not None:
                inner[inputs] += (rows @ weight[:, :, row, column]).view(inner[inputs].shape)
            if learnt is not None:
                learnt[:, :, row, column] = rows.t() @ _rows(pixels[inputs])
        return (
            None if inner is None else inner.permute(2, 3, 0, 1),
            learnt,
            gradient.sum((0, 2, 3)) if of_bias else None,
            None,
            None,
            None,
        )


def _out(side: int, window: int, stride: int, padding: int, dilation: int) -> int:
    return (side + 2 * padding - dilation * (window - 1) - 1) // stride + 1


def _places(seen: list[list[tuple[int, slice, slice]]]) -> Iterator[_Place]:
    for (row, below, above), (column, right, left) in itertools.product(*seen):
        yield (row, column), (below, right), (above, left)


def _pixels(images: Tensor) -> Tensor:
    """(N, C, H, W) → (H, W, N, C): of a rectangle of pixels the faces of each lie together."""
    return images.permute(2, 3, 0, 1).contiguous()


def _channels_last(tensor: Tensor) -> bool:
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def _rows(pixels: Tensor) -> Tensor:
    return pixels.reshape(-1, pixels.shape[-1])
