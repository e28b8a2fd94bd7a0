"""``mien train``: a system on a data set, chosen on its selection split."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli import trainings as shared


def train(
    system: Annotated[
        str,
        typer.Argument(
            metavar="SYSTEM|FILE",
            help="Id of a system, as `mien systems list` shows it; or a Python file with CARDS (FILE, FILE:ID), which "
            "is EXECUTED.",
        ),
    ],
    data: shared.Data = None,
    path: shared.DataPath = None,
    recipe: shared.RecipeName = "mien",
    set_: shared.Assignments = None,
    protocol: shared.ProtocolName = None,
    fold: shared.Fold = "all",
    pretrained: shared.Pretrained = None,
    init: shared.Init = None,
    extra_images: shared.ExtraImagesFile = None,
    seed: shared.Seed = 0,
    out: shared.Out = Path("runs"),
    resume: shared.Resume = False,
    device: shared.Device = "auto",
    timeout: shared.Timeout = 600.0,
    json: shared.Json = False,
) -> None:
    """Train a system. The test split stays sealed; Ctrl-C saves the step, --resume goes on."""
    shared.run_trainings(
        system,
        data=data,
        path=path,
        recipe=recipe,
        assignments=set_ or [],
        protocol=protocol,
        fold=fold,
        extra_images=extra_images,
        json=json,
        pretrained=pretrained,
        init=init,
        seed=seed,
        out=out,
        resume=resume,
        device=device,
        timeout=timeout,
    )
