"""Trains and measures on several processes: ``torchrun several.py '[{"runs": FOLDER, "recipe": FILE, …}]'``.

Several jobs run one after the other. ``kill`` = [rank, epoch, step, signal] lets one process send itself a signal
there; ``save`` saves after each step; ``evaluate`` measures the run on the test split afterwards and records the result
in that folder.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from mien.cli import main
from mien.datasets import DATASETS, DataSet, drawn_faces
from mien.store.launch import rank
from mien.training import checkpoints
from mien.training import loop as module
from mien.training.loop import Loop
from mien.training.stopping import Place


def verb(*arguments: str) -> None:
    try:
        main([*arguments])
    except SystemExit as stop:
        if stop.code:
            raise


def kill_at(where: int, epoch: int, step: int, signal: int) -> None:
    real = Loop._stops

    def stops(loop: Loop, now: int) -> bool:
        if (rank(), len(loop.log), now) == (where, epoch, step):
            os.kill(os.getpid(), signal)
        return real(loop, now)

    Loop._stops = stops  # type: ignore[method-assign]


def save_each_step() -> list[Place]:
    """What is saved from now on."""
    checkpoints.SAVE_EVERY, module.STEPS_BETWEEN = -1.0, 1
    places: list[Place] = []
    real = Loop._save

    def save(loop: Loop, place: Place | None = None) -> None:
        places.extend([place] if place else [])
        real(loop, place)

    Loop._save = save  # type: ignore[method-assign]
    return places


def act(
    runs: str, recipe: str, timeout: float = 60, kill: list[int] | None = None, save: bool = False, evaluate: str = ""
) -> None:
    DATASETS._entries["drawn"] = DataSet("drawn", "few", make=lambda count=140, seed=0: drawn_faces(count, seed))
    if kill:
        kill_at(*kill)
    places = save_each_step() if save else None
    wait = ["--timeout", str(timeout)]
    common = ["--data", "drawn", "--device", "cpu", *wait]
    verb("train", "compact", "--recipe", recipe, "--out", runs, "--resume", *common)
    assert places is None or len(places) > 2, "nothing was saved within an epoch"
    if evaluate:
        (run,) = (entry.path for entry in os.scandir(runs))
        verb("evaluate", run, "--split", "test", "--results", evaluate, *common)


def act_all(jobs: Iterable[dict[str, Any]]) -> None:
    for job in jobs:
        act(**job)


if __name__ == "__main__":
    act_all(json.loads(sys.argv[1]))
