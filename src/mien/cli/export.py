"""``mien export``: a run → a bundle; either → a page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def export(
    source: Annotated[str, typer.Argument(metavar="RUN|BUNDLE|default", help="A finished run, or for --web a bundle.")],
    onnx: Annotated[Path | None, typer.Option("--onnx", help="The bundle to write.")] = None,
    web: Annotated[
        Path | None, typer.Option("--web", metavar="DIR", help="Write a page that recognises in the browser alone.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise, calibrated on Training faces.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision: half the size, no faster on a CPU.")] = False,
    data: Annotated[str, typer.Option(help="The data set of the run; none: no calibration.")] = "fer2013",
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    method: Annotated[str, typer.Option(help="Of the int8 calibration: minmax, percentile, entropy.")] = "minmax",
    calibration: Annotated[
        str, typer.Option(help="Of the probabilities: temperature, or vector (a scale and a bias per expression).")
    ] = "temperature",
    name: Annotated[str, typer.Option(help="Name in the bundle; the system's id by default.")] = "",
    runtime: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="onnxruntime-web for --web, instead of fetching it from npm.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Write a run as a self-describing bundle and report what that changed; or a bundle as a page for the browser."""
    import contextlib

    from mien.cli.common import print_json, print_table, progress, stdout
    from mien.errors import InputError
    from mien.export import export_web
    from mien.recognition import Recognizer
    from mien.store import scratch_directory

    if onnx is None and web is None:
        raise InputError("say what to write: --onnx FILE for a bundle, --web DIR for a page")
    if int8 and fp16:
        raise InputError("a bundle is of one precision; give --int8 or --fp16")
    if web is None and runtime is not None:
        raise InputError("--runtime belongs to --web")
    told: dict[str, object] = {}
    with contextlib.ExitStack() as held:
        if Path(source).is_dir():
            from mien.datasets import load_dataset
            from mien.export import export_run
            from mien.training import Run

            done = export_run(
                Run.open(source),
                onnx or held.enter_context(scratch_directory()) / "bundle.onnx",
                data=None if data == "none" else load_dataset(data, path),
                precision="int8" if int8 else "fp16" if fp16 else "fp32",
                method=method,
                calibration=calibration,
                name=name,
            )
            bundle = done.bundle
            told |= {"path": str(onnx), "sha256": bundle.card.sha256} if onnx else {"sha256": bundle.card.sha256}
            told |= done.report
        elif onnx is not None or int8 or fp16 or name:
            raise InputError(f"{source} is no run folder; --onnx, --int8, --fp16 and --name are for runs")
        else:
            bundle = Recognizer(None if source == "default" else source).bundle
        if web is not None:
            with progress() as bar:
                task = bar.add_task("onnxruntime-web", total=None)
                page = export_web(
                    bundle,
                    web,
                    runtime=runtime,
                    progress=lambda had, total: bar.update(task, completed=had, total=total),
                )
            told["page"] = {"path": str(page.path), "bytes": page.bytes, "parts": page.parts}
    if json:
        print_json(told)
        return
    if onnx is not None or Path(source).is_dir():
        hidden = ("path", "sha256", "page")
        print_table(["", "measured"], [[k.replace("_", " "), _readable(v)] for k, v in told.items() if k not in hidden])
    if onnx is not None:
        stdout.print(str(onnx), soft_wrap=True, highlight=False, markup=False)
    if web is not None:
        stdout.print(str(page.path), soft_wrap=True, highlight=False, markup=False)


def _readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_readable(item)}" for key, item in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)
