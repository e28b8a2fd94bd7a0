"""Trains and measures on several processes: ``torchrun several.py '[{"runs": FOLDER, "recipe": FILE, …}]'``.

``kill`` = [rank, epoch, step, signal] lets one process send itself a signal there; ``evaluate`` measures the run on the
test split afterwards and records the result in that folder.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from mien.cli import main
from mien.datasets import DATASETS, DataSet, drawn_faces
from mien.store.launch import rank
from mien.training.loop import Loop


def verb(*arguments: str) -> None:
    try:
        main([*arguments])
    except SystemExit as stop:
        if stop.code:
            raise


def kill_at(where: int, epoch: int, step: int, signal: int) -> None:
    real = Loop._stops

    def stops(loop: Loop, asked: Any, now: int) -> bool:
        if (rank(), len(loop.log), now) == (where, epoch, step):
            os.kill(os.getpid(), signal)
        return real(loop, asked, now)

    Loop._stops = stops  # type: ignore[method-assign]


def act(runs: str, recipe: str, timeout: float = 60, kill: list[int] | None = None, evaluate: str = "") -> None:
    DATASETS._entries["drawn"] = DataSet("drawn", "few", make=lambda: drawn_faces(140))
    if kill:
        kill_at(*kill)
    wait = ["--timeout", str(timeout)]
    common = ["--data", "drawn", "--device", "cpu", *wait]
    verb("train", "compact", "--recipe", recipe, "--out", runs, "--resume", *common)
    if evaluate:
        (run,) = (entry.path for entry in os.scandir(runs))
        verb("evaluate", run, "--split", "test", "--results", evaluate, *common)


if __name__ == "__main__":
    for job in json.loads(sys.argv[1]):
        act(**job)
