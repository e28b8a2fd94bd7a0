"""``mien search``: many short trainings, chosen on the selection split; the best recipe as TOML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def search(
    space: Annotated[str, typer.Option(help="cnn, or the id of a network for the space of its training.")] = "cnn",
    trials: Annotated[int, typer.Option(min=1, help="In all; the same command again goes on with the study.")] = 20,
    epochs: Annotated[int, typer.Option(min=0, help="Of a trial; 0 is the space's own.")] = 0,
    data: Annotated[str, typer.Option(help="Data set: fer2013, drawn, …")] = "fer2013",
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change the recipe of all trials.")
    ] = None,
    sampler: Annotated[str, typer.Option(help="tpe or random.")] = "tpe",
    pruner: Annotated[str, typer.Option(help="median, asha or none.")] = "median",
    seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    storage: Annotated[str, typer.Option(help="sqlite:///… or postgresql://…; a journal file by default.")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes that search together.")] = 1,
    out: Annotated[Path, typer.Option(help="Folder for searches.")] = Path("searches"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    max_mmacs: Annotated[
        int, typer.Option(min=0, help="Prune networks of more million multiply-accumulates untrained; 0: no bound.")
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="What search.json says, for programs.")] = False,
) -> None:
    """Search a space of recipes; the test split stays sealed. After Ctrl-C the same command goes on."""
    from mien.cli.common import complain, print_json, print_table, progress, stderr, stdout
    from mien.datasets import load_dataset
    from mien.errors import MissingExtraError

    MissingExtraError.check("mien search", "search", "torch", "optuna")
    from mien.evaluation import check_device
    from mien.training.search import search as run_search

    check_device(device)

    face_set = load_dataset(data, path)
    seen = -1
    with progress() as bar:
        task = bar.add_task(f"search {space}", total=trials)

        def show(done: int, total: int, best: float | None) -> None:
            nonlocal seen
            bar.update(
                task,
                completed=done,
                total=total,
                description=f"search {space}" + (f" · best {best:.2%}" if best else ""),
            )
            if done != seen:
                seen = done
                stderr.print(f"trial {done}/{total}" + (f"  best {best:.2%}" if best else ""), highlight=False)

        try:
            found = run_search(
                space,
                face_set,
                trials=trials,
                epochs=epochs,
                settings=set_ or (),
                sampler=sampler,
                pruner=pruner,
                seed=seed,
                storage=storage,
                workers=workers,
                out=out,
                device=device,
                max_mmacs=max_mmacs,
                on_progress=show,
            )
        except KeyboardInterrupt:
            complain("stopped; the same command goes on from there")
            raise typer.Exit(130) from None
    if json:
        import json as text

        print_json(text.loads((found.folder / "search.json").read_text(encoding="utf-8")))
        return
    columns, rows = found.table()
    print_table(columns, rows, keep=2)
    for shown in [int(row[0]) for row in rows]:
        if reason := found.trials[shown]["reason"]:
            stdout.print(f"trial {shown}: {reason}", highlight=False, markup=False, soft_wrap=True)
    if found.best is None:
        stdout.print(found.advice(), highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(1)
    stdout.print(
        f"best {found.value:.2%} on the selection split (never ranked)\n{found.folder / 'best.toml'}\n"
        "trials, and what is trained with their seed 0, are never measured on the test split; "
        f"train it with fresh seeds: mien train {found.best.system_id} --recipe {found.folder / 'best.toml'} --seed 1",
        highlight=False,
        soft_wrap=True,
    )
