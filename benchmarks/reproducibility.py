"""What changes the outcome of one training: the same seed with other threads, processes, precision, on drawn faces.

    python benchmarks/reproducibility.py            # measure; a minute on two free cores
    python benchmarks/reproducibility.py --record   # and write benchmarks/recorded/reproducibility.json

Every training runs on its own, started anew. docs/guides/several-processes.md quotes the record; ``mien results docs``
puts it there. No accuracy of a data set is measured: drawn faces are for trying things. Figures are about the sameness
of outcomes, not about speed, so a busy machine does no harm.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from lines import in_lines

HERE = Path(__file__).parent
RECORDED = HERE / "recorded" / "reproducibility.json"
FACES = 350
PLAIN = [
    "compile=false", "precision=fp32", "system.widths=[8, 16]", "system.depths=[1, 1]", "system.dropout=0",
    "batch_size=32", "sync_batch_norm=true", "optim.name=adamw", "optim.lr=0.003", "schedule.warmup=0.5",
]  # fmt: skip
# What is varied → threads, processes, changes of the recipe.
VARIANTS: dict[str, tuple[int, int, list[str]]] = {
    "reference": (1, 1, []),
    "again": (1, 1, []),
    "threads": (2, 1, []),
    "processes_2": (1, 2, []),
    "processes_2_again": (1, 2, []),
    "bf16": (1, 1, ["precision=bf16"]),
    "bf16_again": (1, 1, ["precision=bf16"]),
    "unsynchronised": (1, 2, ["sync_batch_norm=false"]),
    "seed": (1, 1, []),
}
AGAIN = {"again": "reference", "processes_2_again": "processes_2", "bf16_again": "bf16"}
WORDS = {
    "reference": "one process, one thread, fp32", "again": "the same once more", "threads": "two threads",
    "processes_2": "two processes, sync_batch_norm", "processes_2_again": "the same once more",
    "bf16": "bf16", "bf16_again": "the same once more",
    "unsynchronised": "two processes, statistics of the shares", "seed": "another seed",
}  # fmt: skip


def train_one(folder: str, seed: str, *changes: str) -> None:
    """In a process of its own, or in several."""
    from mien.datasets import load_dataset
    from mien.systems import card
    from mien.training import Recipe, train

    data = load_dataset("drawn", count=FACES, seed=0)
    recipe = Recipe.of(card("compact")).set([*PLAIN, *changes])
    train("compact", data.train, data.selection, recipe=recipe, seed=int(seed), out=folder, device="cpu")


def trained(name: str, folder: Path, epochs: int) -> Any:
    from mien.training import Run

    threads, processes, changes = VARIANTS[name]
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    seed = "1" if name == "seed" else "0"
    subprocess.run(
        [sys.executable, *launcher, __file__, "--one", str(folder / name), seed, f"epochs={epochs}", *changes],
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
        check=True,
    )
    (path,) = (folder / name).iterdir()
    return Run.open(path)


def scores(run: Any) -> np.ndarray:
    from mien.datasets import load_dataset
    from mien.evaluation import score
    from mien.evaluation.scorers import torch_logits

    faces = load_dataset("drawn", count=FACES, seed=0).selection.images
    return score(faces, run.recipe.input, torch_logits(run.module()))


def table(found: dict[str, Any]) -> dict[str, Any]:
    """The figures as the guide shows them: differences are those from the first row."""
    rows = [
        [WORDS[name], one["weights_sha256"][:8], one["loss_first"], one["loss_last"], one["logits"],
         str(one["other_answers"])]
        for name, one in found.items()
    ]  # fmt: skip
    columns = ["training", "weights", "loss, first epoch", "loss, last epoch", "logits", "other answers"]
    return {"columns": columns, "rows": rows}


def apart(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="epochs of each training")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        train_one(*given.one)
        return 0
    import torch

    from mien.evaluation.environment import environment
    from mien.results.provenance import source_stamp
    from mien.store import write_text
    from mien.training.compute.precision import has_bf16

    if given.record and not has_bf16():
        parser.error("this processor has no fast bf16, so the row bf16 would be of fp32; record elsewhere")
    torch.set_num_threads(1)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        with ThreadPoolExecutor(2) as pool:  # most of the time goes into starting
            made = pool.map(lambda name: trained(name, Path(folder), given.rounds), VARIANTS)
            runs = dict(zip(VARIANTS, made, strict=True))
        answers = {name: scores(run) for name, run in runs.items()}
        logs = {name: [entry["loss"] for entry in run.log] for name, run in runs.items()}
    logits = answers["reference"]
    for name, run in runs.items():
        found[name] = {
            "weights_sha256": run.info["weights_sha256"],
            "loss_first": apart(abs(logs[name][0] / logs["reference"][0] - 1)),
            "loss_last": apart(abs(logs[name][-1] / logs["reference"][-1] - 1)),
            "logits": apart(float(np.abs(answers[name] - logits).max() / np.abs(logits).max())),
            "other_answers": int((answers[name].argmax(1) != logits.argmax(1)).sum()),
        }
    same = {name: found[name]["weights_sha256"] == found[other]["weights_sha256"] for name, other in AGAIN.items()}
    record: dict[str, Any] = {
        **source_stamp(),
        "about": {"faces": FACES, "epochs": given.rounds, "selection": len(logits), **environment("cpu", "fp32", 1)},
        "found": found,
        "again_same": same,
        "table": table(found),
    }
    print(json.dumps({"found": found, "again_same": same}, indent=2))
    if given.record:
        write_text(RECORDED, in_lines(record))
    return int(not all(same.values()))


if __name__ == "__main__":
    sys.exit(main())
