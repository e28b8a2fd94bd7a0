"""A training of seconds. As a program it trains and kills itself: ``python tiny.py FOLDER EPOCH STEP``."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from mien import systems
from mien.datasets import FaceSet, load_dataset
from mien.systems import card
from mien.training import Progress, Recipe, Run, train

# Everything that draws random numbers or keeps state between steps is on.
SETTINGS = [
    "epochs=3", "batch_size=24", "compile=false", "precision=fp32", "ema=0.9", "clip=5.0",
    "system.widths=[4, 8]", "system.depths=[1, 1]", "system.dropout=0.2", "augment.cutmix=0.5", "schedule.warmup=0.5",
]  # fmt: skip


def recipe(*changes: str) -> Recipe:
    return Recipe.of(card("compact")).set([*SETTINGS, *changes])


# In stages, with a network that has something to switch: where the first change is "staged".
SWITCHING = ["batch_size=24", "compile=false", "precision=fp32", "ema=0.9", "augment.cutmix=0.5"]
OWN = {"switching": "switching", "trunked": "trunked"}


def staged(*changes: str) -> Recipe:
    return Recipe.of(card("switching")).set([*SWITCHING, *changes])


def run(data: FaceSet, out: Any, *changes: str, **options: Any) -> Run:
    chosen = staged(*changes[1:]) if changes[:1] == ("staged",) else recipe(*changes)
    return train(chosen.system_id, data.train, data.selection, recipe=chosen, out=out, device="cpu", **options)


def main(folder: str, epoch: str, step: str, *changes: str) -> None:
    def kill(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (int(epoch), int(step)) and not progress.entry:
            os.kill(os.getpid(), signal.SIGKILL)

    systems._HOME.update(OWN)
    run(load_dataset("drawn", count=140, seed=0), folder, *changes, resume=True, on_progress=kill)


if __name__ == "__main__":
    main(*sys.argv[1:])
