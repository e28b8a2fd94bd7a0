"""Make the default bundle out of a run: ``python -m mien.export.release RUN``. For maintainers.

Everything is chosen before the test split is opened: the run by its selection accuracy, the precision, the
calibration, the framing (`benchmarks/framing.py`, on PublicTest faces). Then the very file that will be shipped is
measured under the views ``one`` and ``flip``, its card gets the ids of those two results, and its SHA-256 is pinned
beside it.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mien.datasets import load_dataset
from mien.errors import InputError
from mien.evaluation import evaluate
from mien.export.bundling import add_results, export_run
from mien.recognition.bundles import MODEL, PIN, pack, unpack
from mien.results import Result
from mien.store import atomic_file, scratch_directory, write_text
from mien.training import Run

VIEWS = ("one", "flip")
EQUAL, LOST = 0.99, 0.003
"""Decisions that int8 has to share with fp32, and accuracy that int8 and the calibration may each cost."""


def release(
    run: Run, *, precision: str = "int8", calibration: str = "vector", results: str | Path = "results"
) -> list[Result]:
    """Export ``run``, measure the file, and put it in the place of the default bundle.

    Args:
        run: finished, trained on FER2013.
        precision: ``int8`` or ``fp32``.
        calibration: of the probabilities, as of `mien.export.export_run`.
        results: folder of results and ledger.

    Returns:
        The recorded results, one per view.

    Raises:
        InputError: int8 or the vector costs too much; see `check_cost`.
    """
    data = load_dataset("fer2013")
    with scratch_directory() as folder:
        path = folder / "default.onnx"
        done = export_run(
            run, path, data=data, precision=precision, calibration=calibration, views=VIEWS, name="default"
        )
        check_cost(done.report)
        measured = []
        for view in VIEWS:
            result = evaluate(done.bundle, data.test, views=view, results=results)
            result.save(results)
            measured.append(result)
        bundle = add_results(path, {result.views: result.id for result in measured})
    install(bundle.model, Path(__file__).parents[1] / "recognition")
    return measured


def check_cost(report: Mapping[str, Any]) -> None:
    """Refuse an export that rounding or calibration made worse than it may be.

    Args:
        report: of the export.

    Raises:
        InputError: rounded weights decide otherwise too often (under 99 % equal decisions, or more than 0.3 points of
            selection accuracy lost); or on faces that it was not fitted on, the vector has no better NLL than one
            temperature, or loses more than 0.3 points of accuracy.
    """
    if "same_decision" in report:
        lost = report["selection_accuracy_fp32"] - report["selection_accuracy"]
        if report["same_decision"] < EQUAL or lost > LOST:
            raise InputError(f"rounding costs too much: {report['same_decision']:.2%} equal decisions, {lost:.2%} lost")
    if scaling := report.get("vector_scaling"):
        one, vector = scaling["held_out"]["temperature"], scaling["held_out"]["vector"]
        if vector["nll"] >= one["nll"] or one["accuracy"] - vector["accuracy"] > LOST:
            raise InputError(
                f"the vector is no better than one temperature on faces that it was not fitted on: NLL "
                f"{vector['nll']:.3f} instead of {one['nll']:.3f}, "
                f"accuracy {vector['accuracy']:.2%} instead of {one['accuracy']:.2%}; "
                'release it with calibration="temperature"'
            )


def install(model: bytes, folder: Path) -> None:
    """Put ``model`` in the place of the default bundle in ``folder``; at no moment the pin fits neither file.

    The pin first names both files, then the model is replaced, then the pin names the new one alone. Whoever is killed
    in between leaves a bundle that opens; installing again ends it.
    """
    sha256, packed = hashlib.sha256(model).hexdigest(), pack(model)
    old = folder / MODEL
    if old.is_file():
        try:
            replaced = hashlib.sha256(unpack(old.read_bytes())).hexdigest()
        except ValueError:  # it is damaged and opens no more, whatever the pin says
            replaced = sha256
        write_text(folder / PIN, json.dumps({"sha256": sha256, "replaces": replaced}) + "\n")
    with atomic_file(old) as out:
        out.write(packed)
    write_text(folder / PIN, json.dumps({"sha256": sha256}) + "\n")


if __name__ == "__main__":
    for line in release(Run.open(sys.argv[1])):
        print(line.views, line)  # noqa: T201
