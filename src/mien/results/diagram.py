"""Diagrams of results: is a confidence of 80 % right in 80 of 100 cases, and what is taken for what?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import MissingExtraError, ResultError
from mien.results import metrics as m
from mien.results.comparison import row_name
from mien.results.schema import Result
from mien.store import atomic_file


def reliability_diagram(results: Sequence[Result], path: str | Path) -> Path:
    """Draw the reliability diagram of results on the test split as a PNG.

    Args:
        results: results whose scores are logits or probabilities; others are left out.
        path: of the PNG.

    Returns:
        The path.

    Raises:
        ResultError: no result gives probabilities of test faces.
        MissingExtraError: matplotlib is not installed.
    """
    drawn = [
        (result, calibrated, result.test)
        for result in results
        if (calibrated := result.probabilities()) is not None and result.test is not None
    ]
    if not drawn:
        raise ResultError("none of the results gives probabilities of test faces; there is nothing to draw")
    figure = _figure(5.2, 5.2)
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--", label="perfect")
    for result, calibrated, test in drawn:
        confidence, accuracy, _ = m.reliability(calibrated.probabilities, test.labels)
        seed = "" if result.seed is None else f", seed {result.seed}"
        label = f"{row_name(result)}{seed}: ECE {100 * result.metrics['ece']:.1f} (noise ≤ {_floor(result)})"
        axes.plot(100 * confidence, 100 * accuracy, marker="o", markersize=3.5, linewidth=1.2, label=label)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xlabel="stated confidence, %", ylabel="right, %")
    axes.set_title("Each dot is one fifteenth of the faces", fontsize=10)
    axes.legend(fontsize=7, loc="upper left", frameon=False)
    return _save(figure, path)


def confusion_diagram(result: Result, path: str | Path) -> Path:
    """Draw the confusion matrix of a result as a PNG: share of each label's faces, in per cent, and counts.

    Args:
        result: its test split, or its selection split where it has no other.
        path: of the PNG.

    Returns:
        The path.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    counts = np.array(result.confusion, dtype=np.float64)
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 1.6 + 0.62 * len(counts)
    figure = _figure(side + 0.6, side)
    axes = figure.add_subplot()
    axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    places = range(len(counts))
    axes.set_xticks(places, result.labels, rotation=45, ha="right")
    axes.set_yticks(places, result.labels)
    axes.set(xlabel="predicted", ylabel="label")
    for row in places:
        for column in places:
            ink = "white" if share[row, column] > 55 else "black"
            text = f"{share[row, column]:.0f} %\n{int(counts[row, column]):,}"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=7)
    split = "test" if result.test is not None else "selection"
    axes.set_title(f"{row_name(result)}, {split} split", fontsize=10)
    return _save(figure, path)


def _figure(width: float, height: float) -> Any:
    try:
        # The object interface: no window, no global state.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing a diagram", "train") from error
    return Figure(figsize=(width, height), dpi=150, layout="constrained")


def _save(figure: Any, path: str | Path) -> Path:
    with atomic_file(path) as out:
        figure.savefig(out, format="png", metadata={"Software": None})
    return Path(path)


def _floor(result: Result) -> str:
    return f"{100 * result.metrics['ece_noise_floor']:.1f}"
