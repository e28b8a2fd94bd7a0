"""In what a recipe's precision is computed on a device: bf16 not where PyTorch has no fast kernels for it.

Fast are x86 with AVX512-BF16 or AMX and Arm with BF16. With AVX-512 alone a step takes several times as long as in
fp32, and on other CPUs, where PyTorch computes bf16 number by number, more than ten times as long
(`docs/decisions/0011-bf16.md`). There a recipe in bf16 is computed in fp32, which is the more exact of the two. The
run's log says of each epoch which it was, and run, bundle and result say it of the training.
"""

from __future__ import annotations

import functools
import platform

import torch


def computed(precision: str, device: str) -> str:
    """The precision in which a training computes.

    Args:
        precision: of the recipe, ``bf16`` or ``fp32``.
        device: type of the device, ``cpu`` or an accelerator's.

    Returns:
        ``fp32`` for bf16 on a CPU that has no instructions for it; otherwise what the recipe says.

    Example:
        >>> computed("fp32", "cpu"), computed("bf16", "cuda")
        ('fp32', 'bf16')
    """
    return "fp32" if precision == "bf16" and device == "cpu" and not has_bf16() else precision


@functools.cache
def has_bf16() -> bool:
    """Whether this CPU has instructions for bf16 that PyTorch's kernels use: AVX512-BF16, AMX or Arm's BF16."""
    known = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)
    there = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (there and known is not None and known()):
        return False
    # On x86 that is true for AVX-512 of any kind.
    own = [getattr(torch.cpu, f"_is_{name}_supported", lambda: False) for name in ("avx512_bf16", "amx_tile")]
    return platform.machine().lower() not in ("x86_64", "amd64") or any(has() for has in own)
