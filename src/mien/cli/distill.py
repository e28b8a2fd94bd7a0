"""``mien distill``: a system that learns from a trained one as well as from the labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli import trainings as shared


def distill(
    teacher: Annotated[
        list[Path],
        typer.Option(metavar="RUN|BUNDLE", help="A run folder or a bundle; several teach by their mean."),
    ],
    student: Annotated[str, typer.Option(metavar="SYSTEM|FILE", help="What learns; a file as with `mien train`.")],
    alpha: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of the teacher; the recipe's own, or 0.7.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option(min=0.01, help="Divides the logits of both; the recipe's own, or 4.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="The teacher sees the same augmented views, or the plain face once.")
    ] = None,
    data: shared.Data = None,
    path: shared.DataPath = None,
    recipe: shared.RecipeName = "mien",
    set_: shared.Assignments = None,
    protocol: shared.ProtocolName = None,
    fold: shared.Fold = "all",
    pretrained: shared.Pretrained = None,
    init: shared.Init = None,
    extra_images: shared.ExtraImagesFile = None,
    system: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Of a teacher trained with a Python file: that file. It is EXECUTED."),
    ] = None,
    seed: shared.Seed = 0,
    out: shared.Out = Path("runs"),
    resume: shared.Resume = False,
    device: shared.Device = "auto",
    timeout: shared.Timeout = 600.0,
    json: shared.Json = False,
) -> None:
    """Train a student: alpha · T² · KL(teacher ‖ student) + (1 - alpha) · its own loss. Resumable like any training."""
    from mien.training.asked import bring_teachers

    bring_teachers(teacher, student, system)
    assignments = list(set_ or [])
    for key, value in (("weight", alpha), ("temperature", temperature), ("targets", targets)):
        if value is not None:
            assignments.append(f"distill.{key}={value}")
    shared.run_trainings(
        student,
        data=data,
        path=path,
        recipe=recipe,
        assignments=assignments,
        protocol=protocol,
        fold=fold,
        extra_images=extra_images,
        json=json,
        teacher=teacher,
        pretrained=pretrained,
        init=init,
        seed=seed,
        out=out,
        resume=resume,
        device=device,
        timeout=timeout,
    )
