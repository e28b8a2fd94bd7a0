"""``mien export``: a run → a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    run: Annotated[Path, typer.Argument(help="A finished run folder.")],
    onnx: Annotated[Path, typer.Option("--onnx", help="The bundle to write.")],
    int8: Annotated[bool, typer.Option("--int8", help="Quantise, calibrated on Training faces.")] = False,
    data: Annotated[str, typer.Option(help="The data set of the run; none: no calibration.")] = "fer2013",
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    method: Annotated[str, typer.Option(help="Of the int8 calibration: minmax, percentile, entropy.")] = "minmax",
    name: Annotated[str, typer.Option(help="Name in the bundle; the system's id by default.")] = "",
    json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Write a run as a self-describing bundle, and report what the export changed."""
    from mien.cli.common import print_json, print_table, stdout
    from mien.datasets import load_dataset
    from mien.export import export_run
    from mien.training import Run

    done = export_run(
        Run.open(run),
        onnx,
        data=None if data == "none" else load_dataset(data, path),
        precision="int8" if int8 else "fp32",
        method=method,
        name=name,
    )
    if json:
        print_json({"path": str(done.path), "sha256": done.bundle.card.sha256, **done.report})
        return
    rows = [[key.replace("_", " "), _readable(value)] for key, value in done.report.items()]
    print_table(["", "measured"], rows)
    stdout.print(str(done.path), soft_wrap=True, highlight=False)


def _readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_readable(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
