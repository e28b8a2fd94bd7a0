"""A worker of a search as a process of its own: ``python searching.py OUT STORAGE TRIALS PAUSE [KEY=VALUE …]``.

It says ``epoch N`` on standard output after each epoch, and then waits PAUSE seconds, so that it can be killed there.
"""

from __future__ import annotations

import sys
import time
from typing import Any

TINY = [
    "compile=false", "precision=fp32", "ema=0", "system.widths=[4, 8]", "system.depths=[1, 1]", "schedule.warmup=0",
]  # fmt: skip


def main(out: str, storage: str, trials: str, pause: str, *options: str) -> None:
    import torch

    from mien.datasets import load_dataset
    from mien.errors import MienError
    from mien.training.search import search, worker
    from mien.training.search.storage import Patience

    torch.set_num_threads(1)
    train = worker.train_run

    def slowly(*given: Any, on_progress: Any, **named: Any) -> Any:
        def told(progress: Any) -> None:
            if progress.entry is not None:
                print(f"epoch {progress.epoch}", flush=True)
                time.sleep(float(pause))
            on_progress(progress)

        return train(*given, on_progress=told, **named)

    worker.train_run = slowly
    given: dict[str, Any] = {key: int(value) for key, value in (word.split("=") for word in options)}
    patience = Patience(given.pop("beat", 1), given.pop("dead", 4), given.pop("away", 60))
    faces = load_dataset("drawn", count=140, seed=0)
    common: dict[str, Any] = {"epochs": 2, "settings": TINY, "sampler": "random", "pruner": "none", "device": "cpu"}
    try:
        found = search(
            "compact", faces, trials=int(trials), storage=storage, out=out, patience=patience, **(common | given)
        )
    except MienError as error:
        sys.exit(f"mien: {error}")
    print(f"made {len(found.trials)} best {found.value}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
