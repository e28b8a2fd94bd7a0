"""From scores to everything that a result says: the one place where metrics are derived."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.results import metrics as m
from mien.results.protocols import Answers
from mien.results.statistics import bootstrap_interval

SCORES = ("logits", "probabilities", "margins", "clusters")
DECIMALS = 6
"""Metrics are recorded to this many decimals: 0.0001 percentage points."""

METRICS = (
    "selection_accuracy", "selection_accuracy_ci95", "selection_macro_f1", "faces", "accuracy", "accuracy_ci95",
    "macro_f1", "balanced_accuracy", "recall", "accuracy_clean", "accuracy_clean_ci95", "accuracy_ferplus_clear",
    "accuracy_ferplus_clear_ci95", "nll", "brier", "ece", "ece_noise_floor", "temperature", "nll_raw", "brier_raw",
    "ece_raw",
)  # fmt: skip
"""Names of all metrics that a result may have; which of them it has depends on its protocol and scores."""

Scores = NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Calibrated:
    """Probabilities of a split.

    Args:
        raw: float64 (n, classes), as the system gives them.
        probabilities: float64 (n, classes), after temperature scaling.
        temperature: what the logits were divided by; one per fold under cross-validation; None where none was fitted.
    """

    raw: NDArray[np.float64]
    probabilities: NDArray[np.float64]
    temperature: float | list[float] | None


def calibrate(
    kind: str, test: Answers, test_scores: Scores, selection: Answers | None, selection_scores: Scores | None
) -> Calibrated | None:
    """Probabilities of the test faces; None for scores that are none (margins, clusters).

    Logits are divided by the temperature fitted on the selection split, without its copies of training faces. Under
    cross-validation the temperature of each fold is fitted on the other folds.
    """
    if kind == "probabilities":
        raw = test_scores.astype(np.float64)
        raw /= raw.sum(axis=1, keepdims=True)
        return Calibrated(raw, raw, None)
    if kind != "logits":
        return None
    raw = m.softmax(test_scores)
    if test.folds is not None:
        temperatures = []
        probabilities = np.empty_like(raw)
        for fold in range(int(test.folds.max()) + 1):
            here = test.folds == fold
            temperatures.append(m.fit_temperature(test_scores[~here & test.fit], test.labels[~here & test.fit]))
            probabilities[here] = m.softmax(test_scores[here], temperatures[-1])
        return Calibrated(raw, probabilities, temperatures)
    if selection is None or selection_scores is None or not selection.fit.any():
        return Calibrated(raw, raw, None)
    temperature = m.fit_temperature(selection_scores[selection.fit], selection.labels[selection.fit])
    return Calibrated(raw, m.softmax(test_scores, temperature), temperature)


def derive(
    kind: str,
    classes: int,
    selection: Answers | None,
    selection_scores: Scores | None,
    test: Answers | None,
    test_scores: Scores | None,
) -> tuple[dict[str, Any], list[list[int]]]:
    """The metrics of a result and its confusion matrix (of the test split; of selection where there is no test).

    Names without a prefix are about the test split; those of the selection split begin with ``selection_``.
    """
    metrics: dict[str, Any] = {}
    confusion: list[list[int]] = []
    if selection is not None and selection_scores is not None:
        counts = m.confusion_matrix(selection_scores.argmax(axis=1), selection.labels, classes)
        confusion = counts.tolist()
        correct = selection_scores.argmax(axis=1) == selection.labels
        metrics |= {
            "selection_accuracy": _round(correct.mean()),
            "selection_accuracy_ci95": [_round(x) for x in bootstrap_interval(correct, selection.groups)],
            "selection_macro_f1": _round(m.macro_f1(counts)),
        }
    if test is not None and test_scores is not None:
        predicted = test_scores.argmax(axis=1)
        counts = m.confusion_matrix(predicted, test.labels, classes)
        confusion = counts.tolist()
        metrics |= _decisions(predicted == test.labels, counts, test)
        metrics |= _probabilities(calibrate(kind, test, test_scores, selection, selection_scores), test)
    return metrics, confusion


def _decisions(correct: NDArray[np.bool_], counts: NDArray[np.int64], test: Answers) -> dict[str, Any]:
    found: dict[str, Any] = {
        "faces": len(test),
        "accuracy": _round(correct.mean()),
        "accuracy_ci95": [_round(x) for x in bootstrap_interval(correct, test.groups)],
        "macro_f1": _round(m.macro_f1(counts)),
        "balanced_accuracy": _round(m.balanced_accuracy(counts)),
        "recall": [None if np.isnan(x) else _round(x) for x in m.per_class_recall(counts)],
    }
    for name, members in test.slices.items():
        if members.any():
            key = "accuracy_" + name.split("@")[0].replace("-", "_")
            found[key] = _round(correct[members].mean())
            found[f"{key}_ci95"] = [_round(x) for x in bootstrap_interval(correct[members], test.groups[members])]
    return found


def _probabilities(calibrated: Calibrated | None, test: Answers) -> dict[str, Any]:
    if calibrated is None:
        return {}
    found: dict[str, Any] = {
        "nll": _round(m.nll(calibrated.probabilities, test.labels)),
        "brier": _round(m.brier(calibrated.probabilities, test.labels)),
        "ece": _round(m.ece(calibrated.probabilities, test.labels)),
        "ece_noise_floor": _round(m.ece_noise_floor(calibrated.probabilities)),
    }
    if calibrated.temperature is not None:
        found |= {
            "temperature": calibrated.temperature,
            "nll_raw": _round(m.nll(calibrated.raw, test.labels)),
            "brier_raw": _round(m.brier(calibrated.raw, test.labels)),
            "ece_raw": _round(m.ece(calibrated.raw, test.labels)),
        }
    return found


def _round(value: float | np.floating[Any]) -> float:
    return round(float(value), DECIMALS)
