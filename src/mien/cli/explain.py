"""``mien explain``: which part of a face decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    files: Annotated[list[str] | None, typer.Argument(metavar="FILES…", help="Photographs.")] = None,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for overlays and index.html.")] = Path("explained"),
    method: Annotated[str, typer.Option(help="occlusion; gradcam or integrated-gradients with --run.")] = "occlusion",
    label: Annotated[
        str | None, typer.Option("--class", help="The expression asked about; by default what a face is taken for.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="BUNDLE", help="Instead of the one in the package.")] = None,
    run: Annotated[Path | None, typer.Option(metavar="DIR", help="A run, whose network has gradients.")] = None,
    system: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of a run trained with a Python file: that file. It is EXECUTED.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Instead of photographs: the mean map of --class over a data set.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    count: Annotated[int, typer.Option(min=1, help="Faces of the data set.")] = 200,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Show which places of a face carry the answer, and whether that map means anything."""
    from mien.cli.common import print_json, print_table, progress, stderr
    from mien.errors import InputError
    from mien.explanation.explain import Explainer, explain_class, explain_files

    if bool(files) == bool(data):
        raise InputError("give photographs, or --data with --class")
    if model is not None and run is not None:
        raise InputError("--model and --run name two networks; give one of them")
    if system is not None and run is None:
        raise InputError("--system says what the network of a run is; give the run with --run")
    explainer = Explainer.of_run(run, system) if run is not None else Explainer.of_bundle(model)
    with progress() as bar:
        task = bar.add_task("explaining", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        if data is not None:
            from mien.datasets import load_dataset

            if label is None:
                raise InputError("say which expression: --class fear")
            split = load_dataset(data, path).selection
            entries = [
                explain_class(explainer, split, label, out, method=method, count=count, progress=advance),
            ]
        else:
            entries = explain_files(explainer, files or [], out, method=method, label=label, progress=advance)
    if json:
        print_json(entries)
        return
    if data is not None:
        (entry,) = entries
        columns = ["expression", "faces", "mean probability", "maps that mean something", "random maps"]
        share = f"{100 * entry['means_something']:.0f} % of {entry['judged']}"
        chance = f"{100 * entry['means_something_random']:.1f} %"
        print_table(columns, [[entry["label"], str(entry["faces"]), f"{entry['probability']:.2f}", share, chance]])
    else:
        rows = [
            [
                entry["file"],
                entry["label"],
                f"{100 * entry['probability']:.0f} %",
                f"{entry['deletion']:.2f} (chance {entry['deletion_random']:.2f})",
                f"{entry['insertion']:.2f} (chance {entry['insertion_random']:.2f})",
                f"{'yes' if entry['means_something'] else 'no'} (p = {entry['p']:.2f})",
            ]
            for entry in entries
        ]
        print_table(["file", "expression", "probability", "deletion", "insertion", "means something"], rows)
    stderr.print(f"wrote {out / 'index.html'}", soft_wrap=True, highlight=False, markup=False)
