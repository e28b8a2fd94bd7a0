"""Batch normalisation by the statistics of the whole batch, of which each process has a share.

PyTorch's own does this on accelerators only; there it is used, and on the CPU the same formula over Gloo.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


def synchronised(module: nn.Module) -> nn.Module:
    """The network with every batch normalisation, also timm's, replaced; its weights and their names stay."""
    from timm.layers import convert_sync_batchnorm
    from timm.layers.norm_act import SyncBatchNormAct

    class AnywhereAct(SyncBatchNormAct, Anywhere):  # type: ignore[misc]
        """timm's, whose activation follows."""

    converted: nn.Module = convert_sync_batchnorm(module)
    for part in converted.modules():
        if type(part) is nn.SyncBatchNorm:
            part.__class__ = Anywhere
        elif type(part) is SyncBatchNormAct:
            part.__class__ = AnywhereAct
    return converted


class Anywhere(nn.SyncBatchNorm):
    """`torch.nn.SyncBatchNorm` that works on the CPU as well."""

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, C, …) → the same, normalised per channel over the images of all processes."""
        if images.device.type != "cpu" or not self.training:
            out: Tensor = super().forward(images)
            return out
        values = images.float()
        dims = [0, *range(2, values.ndim)]
        shape = (1, -1, *(1 for _ in dims[1:]))
        channels = values.shape[1]
        sums = _Summed.apply(torch.cat([values.sum(dims), values.new_tensor([values.numel() / channels])]))
        count = sums[-1].detach()
        mean = sums[:-1] / count
        centred = values - mean.view(shape)
        variance = _Summed.apply(centred.square().sum(dims)) / count
        if self.track_running_stats and self.running_mean is not None:
            self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(images.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)  # type: ignore[union-attr]
        self.running_var.lerp_(variance, momentum)  # type: ignore[union-attr]


class _Summed(torch.autograd.Function):
    """The sum over all processes; each one's gradient is the sum of what all of them do with it."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        return _sum(value)

    @staticmethod
    def backward(context: Any, *gradients: Any) -> Any:
        return _sum(gradients[0])


def _sum(value: Tensor) -> Tensor:
    value = value.clone().contiguous()
    torch.distributed.all_reduce(value)
    return value
