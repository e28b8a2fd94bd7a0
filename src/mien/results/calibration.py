"""Scores to probabilities, and how far those can be believed: temperature, NLL, Brier, ECE, the reject option.

Everything is computed in float64 and is deterministic; simulated figures come from a stated seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import InputError
from mien.results.randomness import uniforms

_NEARLY_ONE = 0.999999
"""The largest threshold that a card may hold."""

FLOOR = 1e-7
"""Probabilities below this count as this in the NLL: a recorded float16 may be 0, a logarithm may not."""

TEMPERATURES = (0.01, 100.0)
"""Range in which a temperature is sought."""


def softmax(logits: ArrayLike, temperature: float = 1.0) -> NDArray[np.float64]:
    """Probabilities of logits.

    Args:
        logits: (n, classes), any float type.
        temperature: divides the logits; above 1 makes them less sure.

    Returns:
        float64 (n, classes), rows sum to 1.

    Example:
        >>> softmax([[0.0, 0.0, -np.inf]]).tolist()
        [[0.5, 0.5, 0.0]]
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def nll(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Negative log-likelihood: mean of ``-log p(label)``, natural logarithm, probabilities floored at 1e-7.

    Args:
        probabilities: (n, classes), rows sum to 1.
        labels: int (n,).

    Example:
        >>> round(nll([[0.5, 0.5], [0.25, 0.75]], [0, 1]), 4)
        0.4904
    """
    p, y = _checked(probabilities, labels)
    return float(-np.log(np.maximum(p[np.arange(len(y)), y], FLOOR)).mean())


def brier(probabilities: ArrayLike, labels: ArrayLike) -> float:
    """Brier score over all classes (Brier 1950): mean of ``sum_k (p_k - [k = label])²``, 0 best, 2 worst.

    Example:
        >>> brier([[1.0, 0.0], [0.0, 1.0]], [0, 0])
        1.0
    """
    p, y = _checked(probabilities, labels)
    target = np.zeros_like(p)
    target[np.arange(len(y)), y] = 1
    return float(((p - target) ** 2).sum(axis=1).mean())


def ece(probabilities: ArrayLike, labels: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error of the top class, over bins of equal mass (Nguyen & O'Connor 2015), 0–1.

    Faces are sorted by confidence (ties keep their order) and cut into ``bins`` parts whose sizes differ by at most
    one; the error is the mean of |accuracy - mean confidence| weighted by size. Bins of equal width, which are as
    common, leave most bins nearly empty.

    Example:
        >>> round(ece([[0.9, 0.1], [0.2, 0.8]], [0, 1], bins=1), 3)
        0.15
    """
    p, y = _checked(probabilities, labels)
    confidence = p.max(axis=1)
    return _binned_error(confidence, (p.argmax(axis=1) == y)[None], bins).item()


def ece_noise_floor(
    probabilities: ArrayLike, bins: int = 15, *, quantile: float = 0.95, simulations: int = 1000, seed: int = 2013
) -> float:
    """The ECE that a perfectly calibrated model of these confidences stays under, by chance, ``quantile`` of the time.

    An ECE under this floor is no evidence of miscalibration: with finitely many faces even perfect probabilities
    show some. Correctness is drawn as Bernoulli(confidence), ``simulations`` times.

    Example:
        >>> sure = np.tile([[1.0, 0.0]], (100, 1))
        >>> ece_noise_floor(sure)
        0.0
    """
    confidence = np.asarray(probabilities, dtype=np.float64).max(axis=1)
    errors = []
    step = max(1, 2_000_000 // max(1, len(confidence)))
    draws = uniforms(seed)
    for start in range(0, simulations, step):
        rounds = min(step, simulations - start)
        errors.append(_binned_error(confidence, draws(rounds, len(confidence)) < confidence, bins))
    return float(np.quantile(np.concatenate(errors), quantile))


def fit_temperature(logits: ArrayLike, labels: ArrayLike) -> float:
    """The temperature that minimises the NLL (Guo et al. 2017, section 4.2), to 6 decimals.

    The NLL is convex in 1/T, so its derivative, mean(E_p[z] - z_label), is bisected; no step size, no randomness.
    Faces whose scores carry no information, or none that is wrong, push it to an end of `TEMPERATURES`.

    Args:
        logits: (n, classes).
        labels: int (n,).

    Example:
        >>> logits = np.log([[0.8, 0.2]] * 10) * 3            # three times too sure
        >>> fit_temperature(logits, [0] * 8 + [1] * 2)
        3.0
    """
    z, y = _checked(logits, labels)
    z = z - z.max(axis=1, keepdims=True)
    target = z[np.arange(len(y)), y].mean()
    low, high = np.log(1 / TEMPERATURES[1]), np.log(1 / TEMPERATURES[0])
    for _ in range(36):  # halves the range of log T to below 10⁻⁹
        middle = (low + high) / 2
        slope = (softmax(z * np.exp(middle)) * z).sum(axis=1).mean() - target
        low, high = (middle, high) if slope < 0 else (low, middle)
    return round(float(np.exp(-(low + high) / 2)), 6)


def fit_vector(
    logits: ArrayLike, labels: ArrayLike, *, pull: float = 1e-3
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A scale and a bias per class that minimise the NLL of ``scale * logits + bias`` (vector scaling).

    Guo et al. 2017, section 4.2. A class that label smoothing or its frequency leaves too modest gets a scale of its
    own, which one temperature cannot give. The loss is convex and minimised by Newton's method; no randomness.

    Args:
        logits: (n, classes), as the network gives them: shifting a face's logits changes the outcome.
        labels: int (n,).
        pull: weight of the squared distance from the fitted temperature alone, beside the mean NLL.

    Returns:
        Scales and biases, float64 (classes,). Scales of useful networks are positive.

    Example:
        >>> logits = np.log([[0.8, 0.2]] * 10) * 3            # three times too sure
        >>> scale, bias = fit_vector(logits, [0] * 8 + [1] * 2)
        >>> softmax(logits[:1] * scale + bias).round(2)
        array([[0.8, 0.2]])
    """
    z, y = _checked(logits, labels)
    classes, rows = z.shape[1], np.arange(len(y))
    start = np.concatenate([np.full(classes, 1 / fit_temperature(z, y)), np.zeros(classes)])
    factors, same = np.concatenate([z, np.ones_like(z)], axis=1), np.tile(np.eye(classes), (2, 2))

    def loss(point: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Also the probabilities, which the derivatives need."""
        p = softmax(z * point[:classes] + point[classes:])
        away = point - start
        return float(-np.log(np.maximum(p[rows, y], 1e-300)).mean() + pull * (away @ away)), p

    point = start
    value, p = loss(point)
    for _ in range(50):
        error = p.copy()
        error[rows, y] -= 1
        # Of class c the scale's derivative has the factor z_c, the bias's has 1.
        weighted = np.concatenate([p, p], axis=1) * factors
        gradient = (np.concatenate([error, error], axis=1) * factors).mean(axis=0) + 2 * pull * (point - start)
        curvature = (same * (weighted.T @ factors) - weighted.T @ weighted) / len(y)
        step = np.linalg.solve(curvature + 2 * pull * np.eye(2 * classes), gradient)
        length = 1.0
        while length > 1e-6 and not (trial := loss(point - length * step))[0] < value:
            length /= 2
        if length <= 1e-6:
            break
        point, better = point - length * step, value - trial[0]
        value, p = trial
        if better < 1e-12:
            break
    return point[:classes], point[classes:]


@dataclass(frozen=True)
class Threshold:
    """A reject option and what it costs on the faces it was chosen on.

    Args:
        threshold: a face whose confidence is below it stays undecided, 0–1.
        target: the accuracy that was asked for.
        coverage: share of faces that are decided, 0–1.
        accuracy: accuracy on those.
        reached: False where no threshold reaches the target (then the threshold is the one of the best accuracy).
    """

    threshold: float
    target: float
    coverage: float
    accuracy: float
    reached: bool


def choose_threshold(
    probabilities: ArrayLike, labels: ArrayLike, *, target: float = 0.9, min_coverage: float = 0.05
) -> Threshold:
    """The lowest threshold on the confidence at which decided faces reach an accuracy of ``target``.

    Choose it on the selection split, never on the test split.

    Args:
        probabilities: (n, classes), calibrated, rows sum to 1.
        labels: int (n,).
        target: accuracy wanted on the decided faces, 0–1.
        min_coverage: thresholds that decide fewer faces than this share are not considered: an accuracy over a
            handful of faces is chance.

    Example:
        >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]])
        >>> choose_threshold(p, [0, 0, 1], target=0.95)
        Threshold(threshold=0.8, target=0.95, coverage=0.6666666666666666, accuracy=1.0, reached=True)
    """
    if not 0 < target <= 1:
        raise InputError(f"a target accuracy of {target} is not in (0, 1]")
    coverage, risk, confidence = risk_coverage(probabilities, labels)
    allowed = coverage >= min(min_coverage, coverage[-1])
    good = np.flatnonzero(allowed & (1 - risk >= target - 1e-12))
    reached = len(good) > 0
    at = int(good[-1]) if reached else int(np.flatnonzero(allowed)[(1 - risk)[allowed].argmax()])
    return Threshold(float(confidence[at]), target, float(coverage[at]), float(1 - risk[at]), reached)


def shipped_threshold(probabilities: ArrayLike, labels: ArrayLike, *, target: float) -> dict[str, Any]:
    """What a bundle's card says of its threshold: `choose_threshold`, as six digits and never 1.

    It is rounded down, so that the face that sets it stays decided in float32. A network that never reaches the target
    gets one that leaves (nearly) every face undecided, rather than claim what it cannot hold.

    Args:
        probabilities: (n, classes), calibrated, rows sum to 1; of the selection split.
        labels: int (n,).
        target: accuracy wanted on the decided faces, 0–1.

    Returns:
        ``threshold``; ``target``; ``reached``; and of that very threshold ``coverage``, the share of faces that it
        decides, and ``accuracy_when_decided``, None where it decides none.

    Example:
        >>> shipped_threshold([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4]], [0, 0, 1], target=0.95)["coverage"]
        0.6667
        >>> shipped_threshold([[0.9, 0.1], [0.8, 0.2]], [1, 1], target=0.95)["accuracy_when_decided"] is None
        True
    """
    p, y = _checked(probabilities, labels)
    chosen = choose_threshold(p, y, target=target)
    threshold = min(math.floor(chosen.threshold * 1e6) / 1e6, _NEARLY_ONE) if chosen.reached else _NEARLY_ONE
    decided = p.max(axis=1) >= threshold
    right = p.argmax(axis=1) == y
    return {
        "threshold": threshold,
        "target": target,
        "reached": chosen.reached,
        "coverage": round(float(decided.mean()), 4),
        "accuracy_when_decided": round(float(right[decided].mean()), 4) if decided.any() else None,
    }


def risk_coverage(
    probabilities: ArrayLike, labels: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Error rate among the most confident faces, for each possible threshold (Geifman & El-Yaniv 2017).

    Returns:
        ``(coverage, risk, threshold)``, float64 (k,), coverage ascending: share of faces whose confidence is at
        least ``threshold``, and the share of wrong ones among them. Faces of equal confidence stay together.
    """
    p, y = _checked(probabilities, labels)
    confidence = p.max(axis=1)
    order = np.argsort(-confidence, kind="stable")
    wrong = np.cumsum((p.argmax(axis=1) != y)[order])
    ends = np.flatnonzero(np.append(np.diff(confidence[order]) != 0, True))
    return (ends + 1) / len(y), wrong[ends] / (ends + 1), confidence[order][ends]


def reliability(
    probabilities: ArrayLike, labels: ArrayLike, bins: int = 15
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """The bins behind the ECE: mean confidence, accuracy and number of faces of each, (bins,)."""
    p, y = _checked(probabilities, labels)
    confidence = p.max(axis=1)
    order = np.argsort(confidence, kind="stable")
    starts, sizes = _cuts(len(y), bins)
    correct = (p.argmax(axis=1) == y)[order].astype(np.float64)
    return (
        np.add.reduceat(confidence[order], starts) / sizes,
        np.add.reduceat(correct, starts) / sizes,
        sizes,
    )


def _binned_error(confidence: NDArray[np.float64], correct: NDArray[np.bool_], bins: int) -> NDArray[np.float64]:
    """ECE of each row of ``correct`` (rounds, n), float64 (rounds,)."""
    order = np.argsort(confidence, kind="stable")
    starts, _ = _cuts(len(confidence), bins)
    gap = correct[:, order] - confidence[order]
    errors: NDArray[np.float64] = np.abs(np.add.reduceat(gap, starts, axis=1)).sum(axis=1) / len(confidence)
    return errors


def _cuts(count: int, bins: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    bins = min(bins, count)
    edges = np.arange(bins + 1) * count // bins
    return edges[:-1], np.diff(edges)


def _checked(scores: ArrayLike, labels: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    s, y = np.asarray(scores, dtype=np.float64), np.asarray(labels).astype(np.int64)
    if s.ndim != 2 or y.shape != s.shape[:1] or not len(y):
        raise InputError(f"scores are (n, classes) and labels (n,) with n ≥ 1, not {s.shape} and {y.shape}")
    if y.min() < 0 or y.max() >= s.shape[1]:
        raise InputError(f"labels lie in 0–{s.shape[1] - 1}, not {y.min()}–{y.max()}")
    return s, y
