"""The labelling that two-level optimisation finds: the one that linear classifiers learn best from the features.

A. Gadetsky, Y. Jiang, M. Brbić, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024, section 3; public code
github.com/mlbio-epfl/turtle, ``run_turtle.py``.

Outer: a labelling, linear with normalised weights in each space, the mean of softmax over spaces. Inner: fresh linear
heads per space take a few Adam steps towards that labelling. The labelling then moves to where those heads predict it
better, and its mean is kept from collapsing by its entropy. Gradients of the inner steps are written out: softmax
minus labelling, times features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_BETAS = (0.9, 0.999)


@dataclass(frozen=True)
class Settings:
    """Choices of the optimisation.

    Args:
        clusters: number of clusters.
        steps: outer steps.
        batch: faces per outer step.
        inner: steps of the heads.
        lr: of the labelling.
        inner_lr: of the heads.
        entropy: γ, weight of the entropy of the mean labelling.
        seed: of the first labelling, the heads and the order of the faces.
    """

    clusters: int
    steps: int = 6000
    batch: int = 10_000
    inner: int = 10
    lr: float = 1e-3
    inner_lr: float = 1e-3
    entropy: float = 10.0
    seed: int = 0


def label_without_labels(
    spaces: Sequence[NDArray[np.float32]], settings: Settings, advance: Callable[[int, int], None] | None = None
) -> list[NDArray[np.float32]]:
    """Find a labelling.

    Args:
        spaces: features of the same faces, standardised, float32 (n, D) each.
        settings: see there.
        advance: told how many outer steps are done.

    Returns:
        For each space float32 (clusters, D + 1), the last column being the offset; `labelling` applies them.
    """
    generator = torch.Generator().manual_seed(settings.seed)
    data = [torch.from_numpy(np.array(space, np.float32)) for space in spaces]
    count = len(data[0])
    batch = min(settings.batch, count)
    directions = [_fresh(space.shape[1], settings.clusters, generator) for space in data]
    sizes = [direction.norm(dim=1, keepdim=True) for direction in directions]
    offsets = [torch.zeros(settings.clusters) for _ in data]
    parameters = [*directions, *sizes, *offsets]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimizer = torch.optim.Adam(parameters, lr=settings.lr, betas=_BETAS)
    position = count
    for step in range(settings.steps):
        if position + batch > count:
            order, position = torch.randperm(count, generator=generator), 0
            # In the new order once per pass, so that a batch is a view: picking rows would cost as much as a step.
            data = [space[order] for space in data]
        features = [space[position : position + batch] for space in data]
        position += batch
        weights = [
            direction * (size / direction.norm(dim=1, keepdim=True))
            for direction, size in zip(directions, sizes, strict=True)
        ]
        logits = [functional.linear(z, w, o) for z, w, o in zip(features, weights, offsets, strict=True)]
        shares = [functional.softmax(logit, 1) for logit in logits]
        target = torch.stack(shares).mean(0)
        loss = target.new_zeros(())
        for z in features:
            head, offset = _head(z, target.detach(), settings, generator)
            loss = loss - (target * functional.log_softmax(functional.linear(z, head, offset), 1)).sum(1).mean()
        for share in shares:
            mean = share.mean(0)
            loss = loss + settings.entropy * (mean * mean.clamp_min(1e-12).log()).sum()
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()
        if advance and (step % 20 == 19 or step + 1 == settings.steps):
            advance(step + 1, settings.steps)
    with torch.no_grad():
        found = []
        for direction, size, offset in zip(directions, sizes, offsets, strict=True):
            weight = direction * (size / direction.norm(dim=1, keepdim=True))
            found.append(torch.cat([weight, offset[:, None]], 1).numpy())
    return found


def labelling(spaces: Sequence[NDArray[np.float32]], weights: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Shares of each cluster, float32 (n, clusters), rows sum to 1: the mean of softmax over spaces."""
    total = np.zeros((len(spaces[0]), len(weights[0])), np.float64)
    for space, weight in zip(spaces, weights, strict=True):
        logits = np.asarray(space, np.float32) @ weight[:, :-1].T + weight[:, -1]
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        total += powers / powers.sum(axis=1, keepdims=True)
    return (total / len(spaces)).astype(np.float32)


@torch.no_grad()
def _head(features: Tensor, target: Tensor, settings: Settings, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Weights (clusters, D) and offsets (clusters,) of a fresh head after its Adam steps towards ``target``."""
    width = features.shape[1]
    head = torch.cat([_fresh(width, settings.clusters, generator), torch.zeros(settings.clusters, 1)], 1)
    weight, offset = head[:, :-1], head[:, -1]
    first, second, gradient = (torch.zeros_like(head) for _ in range(3))
    for step in range(1, settings.inner + 1):
        error = functional.softmax(functional.linear(features, weight, offset), 1) - target
        error /= len(features)
        gradient[:, :-1] = error.t() @ features
        gradient[:, -1] = error.sum(0)
        first.lerp_(gradient, 1 - _BETAS[0])
        second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
        scale = (second / (1 - _BETAS[1] ** step)).sqrt_().add_(1e-8)
        head.addcdiv_(first, scale, value=-settings.inner_lr / (1 - _BETAS[0] ** step))
    return weight, offset


def _fresh(width: int, clusters: int, generator: torch.Generator) -> Tensor:
    """(clusters, width), as torch's linear layers begin."""
    drawn: Tensor = (torch.rand(clusters, width, generator=generator) * 2 - 1) * width**-0.5
    return drawn
