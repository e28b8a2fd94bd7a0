"""In what a recipe's precision is computed on a device: bf16 not where PyTorch has no fast kernels for it.

PyTorch has vectors of bf16 on x86 with AVX-512 and on Arm with BF16. On other CPUs it computes bf16 number by number,
and a training step takes more than ten times as long as in fp32 (`docs/decisions/0011-bf16.md`). There a recipe in bf16
is computed in fp32, which is the more exact of the two. The run's log says of each epoch which it was, and run, bundle
and result say it of the training.
"""

from __future__ import annotations

import functools

import torch


def computed(precision: str, device: str) -> str:
    """The precision in which a training computes.

    Args:
        precision: of the recipe, ``bf16`` or ``fp32``.
        device: type of the device, ``cpu`` or an accelerator's.

    Returns:
        ``fp32`` for bf16 on a CPU that has no vectors of it; otherwise what the recipe says.

    Example:
        >>> computed("fp32", "cpu"), computed("bf16", "cuda")
        ('fp32', 'bf16')
    """
    return "fp32" if precision == "bf16" and device == "cpu" and not has_bf16() else precision


@functools.cache
def has_bf16() -> bool:
    """Whether PyTorch's kernels on this CPU compute with vectors of bf16 (AVX-512 or Arm's BF16)."""
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    return bool(there and known is not None and known())
