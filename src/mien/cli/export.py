"""``mien export``: a run → a bundle; either → a page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer


def export(
    source: Annotated[str, typer.Argument(metavar="RUN|BUNDLE|default", help="A finished run, or for --web a bundle.")],
    onnx: Annotated[Path | None, typer.Option("--onnx", help="The bundle to write.")] = None,
    web: Annotated[
        Path | None, typer.Option("--web", metavar="DIR", help="Write a page that recognises in the browser alone.")
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Quantise, calibrated on Training faces.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision: half the size, no faster on a CPU.")] = False,
    data: Annotated[
        str | None, typer.Option(help="The run's data set, which is the default; none: no calibration.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    system: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of a run trained with a Python file: that file. It is EXECUTED.")
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="With --int8, its calibration: minmax (the default), percentile, entropy.")
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(help="Of the probabilities: temperature (the default), or vector: a scale and a bias per class."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name in the bundle; the system's id by default.")] = "",
    runtime: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="onnxruntime-web for --web, instead of fetching it from npm.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
) -> None:
    """Write a run as a self-describing bundle and report what that changed; or a bundle as a page for the browser."""
    import contextlib

    from mien.bundle import Bundle
    from mien.cli.common import print_json, print_table, progress, stdout
    from mien.errors import InputError
    from mien.export import export_web
    from mien.store import scratch_directory
    from mien.training.trained import open_trained

    if onnx is None and web is None:
        raise InputError("say what to write: --onnx FILE for a bundle, --web DIR for a page")
    if int8 and fp16:
        raise InputError("a bundle is of one precision; give --int8 or --fp16")
    if method is not None and not int8:
        raise InputError("--method says how --int8 is calibrated; give both")
    if data == "none" and path is not None:
        raise InputError("--path says where a data set lies, and --data none asks for none; give one of them")
    if data == "none" and (int8 or calibration == "vector"):
        what = "--int8" if int8 else "--calibration vector"
        raise InputError(f"{what} is calibrated on faces of the run's data set; leave out --data none")
    if web is None and runtime is not None:
        raise InputError("--runtime belongs to --web")
    told: dict[str, object] = {}
    for_runs = {"--onnx": onnx, "--int8": int8, "--fp16": fp16, "--name": name, "--calibration": calibration}
    for_runs |= {"--data": data, "--path": path, "--system": system}
    with contextlib.ExitStack() as held:
        trained = open_trained(source, system=system)
        if not isinstance(trained, Bundle):
            from mien.evaluation.data_choice import data_for
            from mien.export import export_run

            faces = None if data == "none" else data_for([trained], data, path)
            done = export_run(
                trained,
                onnx or held.enter_context(scratch_directory()) / "bundle.onnx",
                data=faces,
                precision="int8" if int8 else "fp16" if fp16 else "fp32",
                method=method or "minmax",
                calibration=calibration or "temperature",
                name=name,
            )
            bundle = done.bundle
            told |= {"path": str(onnx), "sha256": bundle.card.sha256} if onnx else {"sha256": bundle.card.sha256}
            told |= done.report
        elif given := [option for option, value in for_runs.items() if value]:
            raise InputError(f"{source} is a bundle; {', '.join(given)} are for runs")
        else:
            bundle = trained
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
    if "parity" in told:
        print_table(["", "measured"], [[name, text] for name, text in _report(told).items()])
    if onnx is not None:
        stdout.print(str(onnx), soft_wrap=True, highlight=False, markup=False)
    if web is not None:
        stdout.print(str(page.path), soft_wrap=True, highlight=False, markup=False)


def _report(told: Mapping[str, Any]) -> dict[str, str]:
    """What `mien.export.export_run` measured, in words."""
    lines: dict[str, str] = {}
    if parity := told.get("parity"):
        same = "every decision is equal" if parity["same_decision"] else "decisions differ"
        lines["as PyTorch computes it"] = (
            f"largest deviation of a logit {parity['largest_deviation']:.1g}; {same} ({parity['faces']:,} faces)"
        )
    if "selection_accuracy" in told:
        before = f" ({told['selection_accuracy_fp32']:.2%} in fp32)" if "selection_accuracy_fp32" in told else ""
        lines["selection accuracy"] = f"{told['selection_accuracy']:.2%}{before}"
    if change := told.get("logit_change"):
        lines["cost of rounding"] = (
            f"{told['same_decision']:.2%} of the decisions are as in fp32; a logit moves by {change['mean']:.2g} on "
            f"average, {change['largest']:.2g} at most"
        )
    if vector := told.get("vector_scaling"):
        one, several = vector["held_out"]["temperature"], vector["held_out"]["vector"]
        lines["vector scaling"] = (
            f"on faces that neither was fitted on, it has {_figures(several)}; a temperature has {_figures(one)}; "
            f"on the selection split, where it was fitted, {vector['selection_accuracy']:.2%}"
        )
    if temperatures := told.get("temperatures"):
        lines["temperature"] = ", ".join(f"{view} {value:.3g}" for view, value in temperatures.items())
    if threshold := told.get("threshold"):
        right = threshold["accuracy_when_decided"]
        lines["threshold"] = f"{threshold['threshold']:.3g}: {threshold['coverage']:.1%} of the faces are decided" + (
            f", {right:.1%} of them rightly" if right is not None else ""
        )
        if not threshold["reached"]:
            lines["threshold"] += f"; no threshold reaches {threshold['target']:.0%}"
    if "bytes" in told:
        lines["size"] = f"{told['bytes'] / 1e6:,.2f} MB, ONNX opset {told['opset']}"
    return lines


def _figures(held_out: Mapping[str, float]) -> str:
    return f"accuracy {held_out['accuracy']:.2%}, NLL {held_out['nll']:.4f}, ECE {held_out['ece']:.2%}"
