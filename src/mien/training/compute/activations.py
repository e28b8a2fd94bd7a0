"""Activation checkpointing: blocks forget what they computed and compute it anew for the backward pass.

Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost". The second pass draws the same random numbers, and
must not count twice in the running statistics of normalisations: it runs with a momentum of 0. A sequence of many
plain layers is no single block, or all of it would be in memory at once after all: it runs in short segments.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from mien.systems.base import count_layers

_SEGMENT = 2
"""Convolutions or linear layers in a segment, as in a small residual block."""


class Recomputed:
    """Blocks whose activations are computed anew, until `restore`.

    Args:
        blocks: parts of a network; sequences among them are run in segments, each computed anew by itself.
    """

    def __init__(self, blocks: Sequence[nn.Module]) -> None:
        self.blocks = list(blocks)
        for block in self.blocks:
            if isinstance(block, nn.Sequential) and getattr(block.forward, "__func__", None) is nn.Sequential.forward:
                block.forward = _in_segments(block)  # type: ignore[method-assign]
            else:
                block.forward = _recomputed(block, [block], block.forward)

    def restore(self) -> None:
        """Give the blocks their own forward pass back, for instance before the network is copied."""
        for block in self.blocks:
            block.__dict__.pop("forward", None)
        self.blocks = []


def segments(layers: Iterable[nn.Module]) -> list[list[nn.Module]]:
    """Layers in order, cut before every other convolution or linear layer, the first one included.

    What follows a convolution, such as its normalisation, activation and pool, stays with it. So every segment begins
    with a layer that leaves its input as it is, but for what stands before the first convolution.
    """
    cut: list[list[nn.Module]] = [[]]
    for layer in layers:
        if count_layers([layer]) and (not count_layers(cut[-1]) or count_layers(cut[-1]) >= _SEGMENT):
            cut.append([])
        cut[-1].append(layer)
    return [part for part in cut if part]


def _in_segments(block: nn.Sequential) -> Callable[..., Any]:
    def chained(layers: Sequence[nn.Module]) -> Callable[[Any], Any]:
        return lambda value: functools.reduce(lambda out, layer: layer(out), layers, value)

    # What stands before the first convolution may work in place, and then could not start from the same input again.
    runs = [
        _recomputed(block, layers, chained(layers)) if count_layers(layers) else chained(layers)
        for layers in segments(block)
    ]
    return lambda value: functools.reduce(lambda out, run: run(out), runs, value)


def _recomputed(block: nn.Module, parts: Iterable[nn.Module], forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward``, which computes ``parts`` of ``block``, all of it anew for the backward pass."""
    norms: list[Any] = [
        layer for part in parts for layer in part.modules() if getattr(layer, "num_batches_tracked", None) is not None
    ]

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
