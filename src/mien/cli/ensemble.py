"""``mien ensemble``: average recorded results, bundles or runs; chosen on the selection split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def ensemble(
    members: Annotated[
        list[str],
        typer.Argument(
            help="A named ensemble, or at least two results (ids or .json), bundles (.onnx) or run folders."
        ),
    ],
    choose: Annotated[str, typer.Option(help="all, greedy or weights; decided on the selection split.")] = "all",
    name: Annotated[str, typer.Option(help="What the ensemble is called in results.")] = "ensemble",
    split: Annotated[str, typer.Option(help="selection or test. Opening test is noted in the ledger.")] = "selection",
    views: Annotated[str, typer.Option(help="View of the members; of a named ensemble its own by default.")] = "",
    data: Annotated[
        str | None, typer.Option(help="Data set, for bundles and runs; that of the first one by default.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of results and ledger; results, or my-results for trials, own data and own systems."),
    ] = None,
    save: Annotated[bool, typer.Option(help="Record the result in that folder.")] = True,
    onnx: Annotated[Path | None, typer.Option(help="Write an ensemble of bundles as one bundle to this file.")] = None,
    device: Annotated[str, typer.Option(help="Of runs: auto, cpu, cuda, mps; bundles run on the CPU.")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Average the probabilities of several networks; the recipe stands in the result."""
    from mien.cli.common import print_json, print_table, progress, stdout
    from mien.ensembles import make
    from mien.evaluation import check_device

    check_device(device)
    with progress() as bar:
        task = bar.add_task(name, total=None)
        result, bundle = make(
            members,
            how=choose,
            name=name,
            split=split,
            views=views,
            data=data,
            path=path,
            results=results,
            onnx=onnx,
            device=device,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    saved = result.save(results or result.home) if save else None
    if json:
        print_json({**result.to_json(), "path": str(saved) if saved else None})
        return
    print_table(
        ["member", "seed", "views", "temperature", "weight"],
        [
            [
                m.get("result") or m["system"],
                str(m["seed"]),
                m["views"],
                f"{m['temperature']:.3f}" if m["temperature"] else "–",
                f"{m['weight']:.3f}",
            ]
            for m in result.recipe["members"]
        ],
    )
    stdout.print(f"{result.system} · {result.protocol} · {result.views}\n[bold]{result}[/]", highlight=False)
    if saved:
        stdout.print(str(saved), soft_wrap=True, highlight=False)
    if bundle is not None:
        parity = bundle.card.notes["export"]["parity"]
        stdout.print(
            f"{onnx}: {len(bundle.model) / 1e6:.1f} MB, largest difference of a probability "
            f"{parity['largest_difference']:.1g} over {parity['faces']} faces",
            soft_wrap=True,
            highlight=False,
        )
