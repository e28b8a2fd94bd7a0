"""Multinomial logistic regression around given logits, in NumPy: small, convex, without a step size to choose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.results.metrics import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEPS = 60


@dataclass(frozen=True)
class Correction:
    """``logits + features · weight + bias``.

    Args:
        bias: float64 (classes,).
        weight: float64 (D, classes), or None.
    """

    bias: NDArray[np.float64]
    weight: NDArray[np.float64] | None = None

    @classmethod
    def none(cls, classes: int) -> Correction:
        """The correction that changes nothing."""
        return cls(np.zeros(classes))

    def apply(self, logits: NDArray[np.float64], features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Float (n, classes), (n, D) → corrected (n, classes)."""
        return logits + self.bias + (0 if self.weight is None else features @ self.weight)

    def times(self, factor: float) -> Correction:
        """The same for logits that are larger by ``factor``."""
        return Correction(self.bias * factor, None if self.weight is None else self.weight * factor)


def fit_correction(
    logits: NDArray[np.float64],
    features: NDArray[np.float64] | None,
    labels: NDArray[np.int64],
    *,
    pull: float = 0.0,
    steps: int = STEPS,
) -> Correction:
    """The correction with the least mean NLL plus ``pull / 2 · |weight|²`` plus one face's worth on the bias.

    Features are centred and brought to mean square 1 over all of them before the pull is applied, which keeps the
    geometry that the network learnt. The Hessian is bounded from above by a fixed matrix (Böhning, Ann. Inst. Statist.
    Math. 44, 1992), so each step is one product with its inverse and never too long; Nesterov's acceleration on top.

    Args:
        logits: float64 (n, classes), the answer that is corrected.
        features: float64 (n, D), or None for a bias alone.
        labels: int (n,).
        pull: above 0 where there are features.
        steps: of the optimiser.

    Example:
        >>> fitted = fit_correction(np.zeros((10, 2)), None, np.array([0] * 8 + [1] * 2))
        >>> p = softmax(fitted.bias)                       # nearly the frequencies of the labels
        >>> bool(0.7 < p[0] < 0.8)
        True
    """
    n, classes = logits.shape
    x = np.ones((n, 1))
    penalty = np.array([1.0 / n])
    centre, scale = np.zeros(0), 1.0
    if features is not None:
        centre = features.mean(0)
        scale = float(np.sqrt(np.square(features - centre).mean())) or 1.0
        x = np.hstack([x, (features - centre) / scale])
        penalty = np.append(penalty, np.full(features.shape[1], pull))
    target = np.eye(classes)[labels]
    step = np.linalg.inv(x.T @ x / (2 * n) + np.diag(penalty))
    here = ahead = np.zeros((x.shape[1], classes))
    since = 0
    for _ in range(steps):
        slope = x.T @ (softmax(logits + x @ ahead) - target) / n + penalty[:, None] * ahead
        following = ahead - step @ slope
        if np.sum(slope * (following - here)) > 0:  # the momentum went too far: start it anew
            ahead, since = following, 0
        else:
            ahead, since = following + since / (since + 3) * (following - here), since + 1
        here = following
    bias = here[0]
    if features is None:
        return Correction(bias - bias.mean())
    weight = here[1:] / scale
    return Correction(bias - centre @ weight, weight)
