"""Batch normalisation by the statistics of the whole batch, of which each process has a share.

PyTorch's own does this on accelerators only; there it is used, and on the CPU the same formula over Gloo.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def synchronised(module: nn.Module, device: torch.device) -> nn.Module:
    """The network with every batch normalisation, also timm's, replaced; its weights and their names stay."""
    if device.type != "cpu":
        import timm.layers

        converted: nn.Module = timm.layers.convert_sync_batchnorm(module)  # type: ignore[attr-defined, no-untyped-call]
        return converted
    for part in module.modules():
        if isinstance(part, _BatchNorm):
            part.__class__ = _on_cpu(type(part))  # type: ignore[arg-type, assignment]
    return module


@functools.cache
def _on_cpu(kind: type[nn.Module]) -> type[nn.Module]:
    return type(kind.__name__, (_Shared, kind), {})


class _Shared(_BatchNorm):
    """A batch normalisation of the images of all processes."""

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, C, …) → the same, normalised per channel; timm's adds its activation."""
        if not self.training:
            out: Tensor = super().forward(images)
            return out
        out = self._normalised(images.float()).to(images.dtype)
        for name in ("drop", "act"):
            if hasattr(self, name):
                out = getattr(self, name)(out)
        return out

    def _normalised(self, values: Tensor) -> Tensor:
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
        out: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, now in ((self.running_mean, mean), (self.running_var, variance)):
            assert running is not None
            running.lerp_(now, momentum)


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
