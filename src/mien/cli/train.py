"""``mien train``: a system on a data set, chosen on its selection split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mien.training import Progress


def train(
    system: Annotated[str, typer.Argument(help="Id of a system; `mien systems list` shows all.")],
    data: Annotated[
        str | None, typer.Option(help="Data set: fer2013, ferplus, drawn, …; that of the protocol by default.")
    ] = None,
    path: Annotated[Path | None, typer.Option(help="Where the data set lies, if it is not imported yet.")] = None,
    recipe: Annotated[str, typer.Option(help="A recipe of the system, or a TOML file.")] = "mien",
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field, e.g. optim.lr=0.1.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Whose splits to learn from and choose on; by default that of the data set.")
    ] = None,
    fold: Annotated[
        str, typer.Option(help="Under a protocol with folds: all, or the one that is left out, e.g. 0.")
    ] = "all",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[Path, typer.Option(help="Folder for run folders.")] = Path("runs"),
    resume: Annotated[bool, typer.Option("--resume", help="Continue where a stopped run left off.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="Print what run.json says, for programs.")] = False,
) -> None:
    """Train a system. The test split stays sealed; Ctrl-C loses at most the current epoch (--resume)."""
    from mien import systems
    from mien.cli.common import complain, print_json, progress, stderr, stdout
    from mien.datasets import load_dataset
    from mien.errors import InputError
    from mien.evaluation import parts
    from mien.results import protocols
    from mien.training import recipe_of
    from mien.training import train as train_system

    card = systems.card(system)
    chosen = recipe_of(card, recipe).set(set_ or [])
    if fold != "all" and not fold.isdecimal():
        raise InputError(f"--fold is all or the number of a fold, not {fold!r}")
    face_set = load_dataset(data or (protocol and protocols.get(protocol).face_set) or "fer2013", path)
    wanted = parts(face_set, protocol, None if fold == "all" else int(fold))
    runs, best, finished = [], 0.0, 0
    with progress() as bar:
        task = bar.add_task(f"{card.title}, {chosen.name}", total=None)

        def show(now: Progress) -> None:
            nonlocal best, finished
            bar.update(
                task,
                total=now.epochs * now.steps,
                completed=now.epoch * now.steps + now.step,
                description=f"{card.title} · {now.stage or f'epoch {now.epoch + 1}/{now.epochs}'}"
                + (f" · best selection {best:.2%}" if best else ""),
            )
            if now.entry:
                finished = now.epoch + 1
                best = max(best, now.entry["selection_accuracy"])
                stderr.print(
                    f"epoch {now.epoch + 1:3d}  loss {now.entry['loss']:.4f}  "
                    f"selection {now.entry['selection_accuracy']:.2%}  {now.entry['seconds']:.0f} s",
                    highlight=False,
                )

        try:
            for part in wanted:
                best, finished = 0.0, 0
                if part.name:
                    stderr.print(part.name, highlight=False)
                runs.append(
                    train_system(
                        system,
                        part.train,
                        part.selection,
                        recipe=chosen,
                        seed=seed,
                        out=out,
                        part=part.name,
                        resume=resume,
                        device=device,
                        on_progress=show,
                    )
                )
        except KeyboardInterrupt:
            complain(
                f"stopped after {finished} epochs; the same command with --resume goes on from there"
            )
            raise typer.Exit(130) from None
    if json:
        said = [{"folder": str(run.folder), **run.info} for run in runs]
        print_json(said if len(said) > 1 else said[0])
        return
    for run in runs:
        stdout.print(
            f"selection {run.info['selection_accuracy']:.2%} "
            + (f"at epoch {run.info['best_epoch'] + 1} " if "best_epoch" in run.info else "")
            + f"(never ranked; the test split is still sealed)\n{run.folder}",
            highlight=False,
            soft_wrap=True,
        )
