"""``mien evaluate``: a run or a bundle over a split under a named view → a recorded result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    subject: Annotated[
        list[Path] | None, typer.Argument(help="A run folder, a bundle (.onnx) or default; or the runs of all folds.")
    ] = None,
    onnx: Annotated[Path | None, typer.Option(help="Instead: any network as ONNX file, with --adapter.")] = None,
    adapter: Annotated[
        Path | None, typer.Option(help="Python file that says how to use it. It is EXECUTED: read it first.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set; that of the protocol, else of the run or bundle, by default.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    system: Annotated[
        str | None, typer.Option(metavar="FILE", help="Of a run trained with a Python file: that file. It is EXECUTED.")
    ] = None,
    split: Annotated[str, typer.Option(help="selection or test. Opening test is noted in the ledger.")] = "selection",
    views: Annotated[
        str, typer.Option(help="one, flip, tencrop@40, tencrop@44, tencrop@224, rot8, rot10, lhc60.")
    ] = "one",
    protocol: Annotated[str | None, typer.Option(help="By default the one that is about this data set.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of results and ledger; results, or my-results for trials, own data and own systems."),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(metavar="ATTRIBUTE", help="Tell groups apart: subject, gender, age, … of the data set."),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write the groups of the recorded result into the bundle's card.")
    ] = False,
    save: Annotated[bool, typer.Option(help="Record the result in that folder.")] = True,
    confusion: Annotated[Path | None, typer.Option(help="Write the confusion matrix to this PNG.")] = None,
    device: Annotated[str, typer.Option(help="Of a run: auto, cpu, cuda, mps; bundles run on the CPU.")] = "cpu",
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Under torchrun: how long a process waits for another one.")
    ] = 600.0,
    json: Annotated[bool, typer.Option("--json", help="JSON for programs.")] = False,
) -> None:
    """Measure a run or a bundle under a protocol, and record the predictions with the numbers."""
    from mien.bundle import Bundle
    from mien.cli.common import print_json, print_table, progress, stdout
    from mien.errors import InputError
    from mien.evaluation import check_device, foreign_subject
    from mien.evaluation import evaluate as measure
    from mien.evaluation.across import said
    from mien.evaluation.data_choice import USUAL, behind, data_for
    from mien.evaluation.folds import FOLDS
    from mien.evaluation.groups import by_attribute, check_attribute, group_rows
    from mien.evaluation.processes import joined
    from mien.faces.views import get_view
    from mien.results import protocols, tables
    from mien.training.trained import open_trained

    if split not in ("selection", "test"):
        raise InputError(f"--split is selection or test, not {split!r}")
    # What is misspelt is told before torch and faces are loaded.
    if views != "members":
        get_view(views)
    about = protocols.get(protocol).face_set if protocol else None
    check_device(device)
    opened: list[object] = [open_trained(each, system=system) for each in subject or []]
    if system is not None and all(isinstance(each, Bundle) for each in opened):
        raise InputError("--system FILE belongs to a run folder; a bundle or an ONNX file brings its network along")
    if (onnx is None) != (adapter is None) or (onnx is None) == (not opened):
        raise InputError("give runs or a bundle, or a network with --onnx FILE --adapter FILE")
    if onnx is not None and adapter is not None:
        opened = [foreign_subject(onnx, adapter)]
    folds = len(opened) > 1
    if folds and data is None and protocol is None and behind(opened[0]).name in ("", USUAL):
        protocol = FOLDS
        about = protocols.get(protocol).face_set
    processes = joined(timeout)
    with processes.first_ahead():  # an import is one process's
        face_set = data_for(opened, data or about, path)
    whole = folds or set(face_set.roles) == {"train"}  # a data set without splits is measured as it is
    if card and (not groups or not save or not subject or len(subject) > 1 or subject[0].suffix != ".onnx"):
        raise InputError(
            "--card writes the groups of a recorded result into its bundle: BUNDLE.onnx --groups ATTRIBUTE"
        )
    if groups:
        check_attribute(face_set, groups)  # before anything is opened for it
    with progress() as bar:
        task = bar.add_task(f"{[*(subject or ()), onnx or Path()][0].name} · {views}", total=None)
        result = measure(
            opened if folds else opened[0],
            face_set.train if whole else face_set.test if split == "test" else face_set.selection,
            views=views,
            results=results,
            protocol=protocol,
            device=device,
            timeout=timeout,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    told = by_attribute(result, face_set, groups) if groups else []
    folder = results or result.home
    saved = result.save(folder) if save else None
    if card and subject and processes.first:
        from mien.export import add_groups

        add_groups(subject[0], result, told)
    if confusion is not None and processes.first:
        from mien.results.diagram import confusion_diagram

        confusion_diagram(result, confusion)
    if json:
        print_json(
            {
                **result.to_json(),
                "path": str(saved) if saved else None,
                **({"groups": [group.to_json() for group in told]} if groups else {}),
            }
        )
        return
    stdout.print(f"{result.system} · {result.protocol} · {result.views}\n[bold]{result}[/]", highlight=False)
    if crossed := said(result, opened[0], face_set):
        stdout.print(crossed, highlight=False)
    table = tables.confusion_table(result)
    print_table(table.columns, table.rows)
    if told:
        print_table(*group_rows(told))
    noted = f"the opening of the test split is noted in {folder / 'ledger.jsonl'}" if result.opening else ""
    done = "; ".join(part for part in ("recorded" if saved else "", noted) if part)
    if done:
        stdout.print(done + (f":\n{saved}" if saved else ""), soft_wrap=True, highlight=False, markup=False)
