"""What ``mien train`` and ``mien distill`` share: data, progress lines, and what is said in the end."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from mien.training import Beginning, Progress

Data = Annotated[
    str | None, typer.Option(help="Data set: fer2013, ferplus, drawn, …; that of the protocol by default.")
]
DataPath = Annotated[Path | None, typer.Option("--path", help="Where the data set lies, if it is not imported yet.")]
RecipeName = Annotated[str, typer.Option("--recipe", help="A recipe of the system, or a TOML file.")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a field, e.g. optim.lr=0.1.")
]
ProtocolName = Annotated[
    str | None, typer.Option("--protocol", help="Whose splits to learn from and choose on; by default the data set's.")
]
Fold = Annotated[str, typer.Option(help="Under a protocol with folds: all, or the one that is left out, e.g. 0.")]
Seed = Annotated[int, typer.Option(min=0)]
Out = Annotated[Path, typer.Option(help="Folder for run folders.")]
Resume = Annotated[bool, typer.Option("--resume", help="Continue where a stopped run left off.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, mps.")]
Pretrained = Annotated[
    str | None, typer.Option(metavar="timm|FILE", help="Start from the published weights: timm gets them, or a file.")
]
Init = Annotated[
    Path | None, typer.Option(metavar="RUN", help="Start from the weights of this run of the same system.")
]
ExtraImagesFile = Annotated[
    Path | None, typer.Option("--extra-images", metavar="MANIFEST", help="Learn from these images as well.")
]
Timeout = Annotated[
    float, typer.Option(min=1, metavar="SECONDS", help="Under torchrun: how long a process waits for another one.")
]
Json = Annotated[bool, typer.Option("--json", help="Print what run.json says, for programs; epochs count from 0.")]


def run_trainings(
    system: str,
    *,
    data: str | None,
    path: Path | None,
    recipe: str,
    assignments: list[str],
    protocol: str | None,
    fold: str,
    extra_images: Path | None,
    json: bool,
    **options: Any,
) -> None:
    """Train under every part of the protocol and say how it went; ``options`` go to `mien.train`."""
    from mien import systems
    from mien.cli.common import complain, print_json, progress, stderr, stdout
    from mien.datasets import DATASETS, load_dataset, read_manifest
    from mien.errors import InputError
    from mien.results import protocols
    from mien.site.listing import recorded_recipe
    from mien.systems.brought import bring
    from mien.training.asked import check_asked
    from mien.training.values import check_recipe_system

    # What is misspelt is told at once: torch and faces are loaded last.
    if fold != "all" and not fold.isdecimal():
        raise InputError(f"--fold is all or the number of a fold, not {fold!r}")
    if data is not None:
        DATASETS[data]
    if protocol is not None:
        protocols.get(protocol)
    given = {"init": options.get("init"), "pretrained": options.get("pretrained")}
    # Nothing will fill in the hash of such a recipe, so its run folder is known now.
    settled = fold == "all" and not any((protocol, extra_images, options.get("teacher"), *given.values()))
    check_asked(
        system,
        recipe,
        assignments,
        device=options["device"],
        teachers=options.get("teacher") or (),
        extra_images=extra_images,
        run_in=(options["out"], options["seed"]) if settled else None,
        resume=bool(options.get("resume")),
        hint=recorded_recipe,
        **given,
    )
    with progress() as bar:
        bar.add_task("Loading PyTorch and faces", total=None)
        system = bring(system)
        if recipe.endswith(".toml"):
            check_recipe_system(Path(recipe), system)  # the id that a file has is known now
        card = systems.card(system)

        from mien.evaluation import parts
        from mien.evaluation.data_choice import USUAL
        from mien.evaluation.processes import joined
        from mien.training import Recipe, recipe_of, train

        chosen = recipe_of(card, recipe).set(assignments)
        systems.check_options(card, chosen.system)
        with joined(options["timeout"]).first_ahead():  # an import is one process's
            face_set = load_dataset(data or (protocol and protocols.get(protocol).face_set) or USUAL, path)
        wanted = parts(face_set, protocol, None if fold == "all" else int(fold))
    runs, best, finished = [], 0.0, 0
    stages: set[str] = set()
    with progress() as bar:
        task = bar.add_task(f"{card.title}, {chosen.name}", total=None)

        def begin(now: Beginning) -> None:
            if options.get("resume"):
                stderr.print(
                    f"goes on after {now.epochs} epochs: {now.folder}"
                    if now.resumed and isinstance(chosen, Recipe)
                    else f"goes on: {now.folder}"
                    if now.resumed
                    else f"--resume found no earlier run of these settings, so this one begins anew: {now.folder}",
                    highlight=False,
                    markup=False,
                    soft_wrap=True,
                )
            if isinstance(chosen, Recipe) and chosen.precision != now.precision:
                stderr.print(
                    f"computed in {now.precision}: the processor has no fast {chosen.precision}", highlight=False
                )

        def show(now: Progress) -> None:
            nonlocal best, finished
            if now.stage and now.stage not in stages:
                stages.add(now.stage)
                stderr.print(now.stage, highlight=False, markup=False)
            bar.update(
                task,
                total=now.epochs * now.steps,
                completed=now.epoch * now.steps + now.step,
                description=f"{card.title} · {now.stage or f'epoch {now.epoch + 1}/{now.epochs}'}"
                + (f" · best selection {best:.2%}" if best else ""),
            )
            if now.entry:
                finished = now.epoch + 1
                accuracy = now.entry.get("selection_accuracy")
                best = max(best, accuracy or 0.0)
                stage = f"{now.entry['stage']}  " if "stage" in now.entry else ""
                stderr.print(
                    f"epoch {now.epoch + 1:3d}  {stage}loss {now.entry['loss']:.4f}  "
                    + (f"selection {accuracy:.2%}  " if accuracy is not None else "")
                    + f"{now.entry['seconds']:.0f} s",
                    highlight=False,
                    markup=False,
                )

        try:
            if extra_images is not None:
                options["extra_images"] = read_manifest(
                    extra_images,
                    face_set,
                    unlabelled=options.get("teacher") is not None,
                    progress=lambda done, total: bar.update(
                        task, description="Reading extra images", completed=done, total=total
                    ),
                )
            for part in wanted:
                best, finished = 0.0, 0
                stages.clear()
                if part.name:
                    stderr.print(part.name, highlight=False)
                runs.append(
                    train(
                        system,
                        part.train,
                        part.selection,
                        recipe=chosen,
                        part=part.name,
                        on_progress=show,
                        on_begin=begin,
                        **options,
                    )
                )
        except KeyboardInterrupt:
            complain(f"stopped after {finished} epochs; the same command with --resume goes on from there")
            raise typer.Exit(130) from None
    if json:
        said = [{"folder": str(run.folder), **run.info} for run in runs]
        print_json(said if len(said) > 1 else said[0])
        return
    from mien.training.carrying import said as began

    for run in runs:
        if beginning := began(run.info.get("start", {})):
            stdout.print(beginning, highlight=False, soft_wrap=True)
        stdout.print(
            f"selection {run.info['selection_accuracy']:.2%} "
            + (f"at epoch {run.info['best_epoch'] + 1} " if "best_epoch" in run.info else "")
            + f"(never ranked; the test split is still sealed)\n{run.folder}",
            highlight=False,
            soft_wrap=True,
        )
