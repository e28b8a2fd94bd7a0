"""The reliability diagram: is a confidence of 80 % right in 80 of 100 cases?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

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
    try:
        # The object interface: no window, no global state.
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing a diagram", "train") from error
    figure = Figure(figsize=(5.2, 5.2), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, linestyle="--", label="perfect")
    for result, calibrated, test in drawn:
        confidence, accuracy, _ = m.reliability(calibrated.probabilities, test.labels)
        seed = "" if result.seed is None else f", seed {result.seed}"
        label = f"{row_name(result)}{seed}: ECE {100 * result.metrics['ece']:.1f} (noise ≤ {_floor(result)})"
        axes.plot(100 * confidence, 100 * accuracy, marker="o", markersize=3.5, linewidth=1.2, label=label)
    axes.set(xlim=(0, 100), ylim=(0, 100), aspect="equal", xlabel="stated confidence, %", ylabel="right, %")
    axes.set_title("Of 15 groups of equally many faces", fontsize=10)
    axes.legend(fontsize=7, loc="upper left", frameon=False)
    with atomic_file(path) as out:
        figure.savefig(out, format="png", metadata={"Software": None})
    return Path(path)


def _floor(result: Result) -> str:
    return f"{100 * result.metrics['ece_noise_floor']:.1f}"
