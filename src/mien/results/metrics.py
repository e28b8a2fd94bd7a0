"""Metrics of a classifier, as pure functions of scores and labels. One place; checked against scikit-learn.

Functions over decisions stand here; those over probabilities in `mien.results.calibration`, re-exported.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import InputError
from mien.results.calibration import (
    Threshold,
    brier,
    choose_threshold,
    ece,
    ece_noise_floor,
    fit_temperature,
    fit_vector,
    nll,
    reliability,
    risk_coverage,
    shipped_threshold,
    softmax,
)

__all__ = [
    "Threshold",
    "accuracy",
    "balanced_accuracy",
    "brier",
    "choose_threshold",
    "confusion_matrix",
    "ece",
    "ece_noise_floor",
    "fit_temperature",
    "fit_vector",
    "macro_f1",
    "nll",
    "per_class_recall",
    "reliability",
    "risk_coverage",
    "shipped_threshold",
    "softmax",
]


def accuracy(predicted: ArrayLike, labels: ArrayLike) -> float:
    """Share of faces whose predicted id is the label, 0–1.

    Args:
        predicted: int (n,).
        labels: int (n,).

    Example:
        >>> accuracy([0, 1, 1, 2], [0, 1, 2, 2])
        0.75
    """
    p, y = np.asarray(predicted), np.asarray(labels)
    if p.shape != y.shape or p.ndim != 1 or not len(y):
        raise InputError(f"predictions and labels are (n,) with n ≥ 1, not {p.shape} and {y.shape}")
    return float((p == y).mean())


def confusion_matrix(predicted: ArrayLike, labels: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Counts, int64 (classes, classes): row = label, column = prediction.

    Example:
        >>> confusion_matrix([0, 1, 1], [0, 0, 1], 2).tolist()
        [[1, 1], [0, 1]]
    """
    p, y = np.asarray(predicted).astype(np.int64), np.asarray(labels).astype(np.int64)
    if p.shape != y.shape or p.ndim != 1:
        raise InputError(f"predictions and labels are (n,), not {p.shape} and {y.shape}")
    if len(y) and (min(p.min(), y.min()) < 0 or max(p.max(), y.max()) >= classes):
        raise InputError(f"ids lie in 0–{classes - 1}")
    return np.bincount(y * classes + p, minlength=classes * classes).reshape(classes, classes)


def per_class_recall(confusion: ArrayLike) -> NDArray[np.float64]:
    """For each class the share of its faces that are found, float64 (classes,); NaN for a class without faces.

    Args:
        confusion: (classes, classes), row = label.

    Example:
        >>> per_class_recall([[1, 1], [0, 1]]).tolist()
        [0.5, 1.0]
    """
    counts = np.asarray(confusion, dtype=np.float64)
    faces = counts.sum(axis=1)
    recall: NDArray[np.float64] = np.full(len(counts), np.nan)
    np.divide(counts.diagonal(), faces, out=recall, where=faces > 0)
    return recall


def balanced_accuracy(confusion: ArrayLike) -> float:
    """Mean recall over the classes that have faces, 0–1: every class counts alike, however rare.

    Example:
        >>> balanced_accuracy([[1, 1], [0, 1]])
        0.75
    """
    return float(np.nanmean(per_class_recall(confusion)))


def macro_f1(confusion: ArrayLike) -> float:
    """Mean over the classes of F1 = 2·hits / (faces + predictions), 0–1; a class with neither is left out.

    Example:
        >>> round(macro_f1([[1, 1], [0, 1]]), 4)
        0.6667
    """
    counts = np.asarray(confusion, dtype=np.float64)
    total = counts.sum(axis=1) + counts.sum(axis=0)
    return float((2 * counts.diagonal()[total > 0] / total[total > 0]).mean())
