"""Vector scaling of a network's logits, and what it brings on faces that it was not fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.results import metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 10


@dataclass(frozen=True)
class VectorScaling:
    """``scale * logits + bias``.

    Args:
        scale: float32 (classes,); positive for every expression that the network tells apart.
        bias: float32 (classes,).
        faces: that it was fitted on.
        held_out: of ``temperature`` and ``vector``, each fitted on nine tenths of these faces and measured on the
            tenth: accuracy, NLL and ECE.
    """

    scale: NDArray[np.float32]
    bias: NDArray[np.float32]
    faces: int
    held_out: dict[str, dict[str, float]]

    def to_json(self) -> dict[str, Any]:
        """For a bundle's card."""
        return {
            "scale": [round(float(value), 6) for value in self.scale],
            "bias": [round(float(value), 6) for value in self.bias],
            "faces": self.faces,
            "held_out": self.held_out,
        }


def fit_scaling(logits: NDArray[np.float32], labels: NDArray[Any], groups: NDArray[Any]) -> VectorScaling:
    """Fit a vector scaling (Guo et al. 2017, section 4.2) and compare it with a temperature by cross-validation.

    Args:
        logits: float32 (n, classes), of selection faces that are no copies of Training faces.
        labels: (n,).
        groups: (n,); equal images share one, and fall into the same fold.
    """
    scale, bias = metrics.fit_vector(logits, labels)
    _, numbers = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(0).permutation(int(numbers.max()) + 1)[numbers] % FOLDS
    ways = {"temperature": np.zeros(logits.shape), "vector": np.zeros(logits.shape)}
    for held in range(FOLDS):
        out, rest = fold == held, fold != held
        if not out.any():
            continue
        ways["temperature"][out] = metrics.softmax(logits[out], metrics.fit_temperature(logits[rest], labels[rest]))
        own, shift = metrics.fit_vector(logits[rest], labels[rest])
        ways["vector"][out] = metrics.softmax(logits[out] * own + shift)
    held_out = {
        way: {
            "accuracy": round(metrics.accuracy(p.argmax(axis=1), labels), 6),
            "nll": round(metrics.nll(p, labels), 6),
            "ece": round(metrics.ece(p, labels), 6),
        }
        for way, p in ways.items()
    }
    return VectorScaling(scale.astype(np.float32), bias.astype(np.float32), len(labels), held_out)
