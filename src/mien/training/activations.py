"""Activation checkpointing: blocks forget what they computed and compute it anew for the backward pass.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". The second pass draws the same random numbers, and
must not count twice in the running statistics of normalisations: it runs with a momentum of 0.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint


class Recomputed:
    """Blocks whose activations are computed anew, until `restore`.

    Args:
        blocks: parts of a network.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.blocks = list(blocks)
        for block in self.blocks:
            block.forward = _recomputed(block, block.forward)

    def restore(self) -> None:
        """Give the blocks their own forward pass back, for instance before the network is copied."""
        for block in self.blocks:
            block.__dict__.pop("forward", None)
        self.blocks = []


def _recomputed(block: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    norms: list[Any] = [part for part in block.modules() if getattr(part, "num_batches_tracked", None) is not None]

    @contextlib.contextmanager
    def untracked() -> Iterator[None]:
        momenta = [norm.momentum for norm in norms]
        counts = [norm.num_batches_tracked.clone() for norm in norms]
        for norm in norms:
            norm.momentum = 0.0
        try:
            yield
        finally:
            for norm, momentum, count in zip(norms, momenta, counts, strict=True):
                norm.momentum = momentum
                norm.num_batches_tracked.copy_(count)

    def contexts() -> tuple[Any, Any]:
        return contextlib.nullcontext(), untracked()

    def run(*inputs: Any, **options: Any) -> Any:
        if not (torch.is_grad_enabled() and block.training):
            return forward(*inputs, **options)
        if torch.compiler.is_compiling():  # a compiled graph keeps statistics apart by itself
            return checkpoint(forward, *inputs, use_reentrant=False, **options)
        return checkpoint(forward, *inputs, use_reentrant=False, context_fn=contexts, **options)

    return run
