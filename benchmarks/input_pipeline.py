"""What share of a training step goes into its input: augmenting, mixing, asking a teacher.

    python benchmarks/input_pipeline.py                                # vggnet, compact and resnet18-tricks
    python benchmarks/input_pipeline.py compact --recipe mien --steps 20 --device cuda
    python benchmarks/input_pipeline.py --record                       # keep the figures

Random faces of FER2013's shape, the whole recipe, arithmetic as it says. The two parts of a step are timed
by the processor seconds of this process, so other programs on the machine do not count; on a GPU by the clock, after
everything that was asked of it is done. The data set lies on the device and is augmented there, so reading is no part.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lines import in_lines

from mien import systems
from mien.datasets import FaceSet
from mien.evaluation.environment import environment
from mien.labels import FER2013
from mien.results.provenance import source_stamp
from mien.store import write_text
from mien.training.given import Given
from mien.training.loop import Loop
from mien.training.pipeline.augmentation import Amount
from mien.training.recipe import Recipe
from mien.training.run import Run

RECORDED = Path(__file__).parent / "recorded" / "input_pipeline.json"
SYSTEMS = ["vggnet", "compact", "resnet18-tricks"]
BUDGET = 0.10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="*", default=SYSTEMS)
    parser.add_argument("--recipe", default="mien")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--record", action="store_true")
    arguments = parser.parse_args()
    rows = [measure(name, arguments.recipe, arguments.steps, arguments.device) for name in arguments.systems]
    for row in rows:
        print(
            f"{row['system']:28} input {row['input_ms']:8.1f} ms  step {row['step_ms']:8.1f} ms  "
            f"share {row['share']:.1%}  {row['faces_per_second']:.0f} faces/s"
        )
    if arguments.record:
        report = {
            "date": time.strftime("%Y-%m-%d"),
            **source_stamp(),
            "budget": BUDGET,
            "environment": environment(arguments.device, "recipe", torch.get_num_threads()),
            "rows": rows,
        }
        write_text(RECORDED, in_lines(report))
    return int(any(row["share"] > BUDGET for row in rows))


def measure(system: str, recipe_name: str, steps: int, device: str) -> dict[str, Any]:
    """Milliseconds of the input and of the whole step, medians over ``steps`` steps."""
    recipe = Recipe.of(systems.card(system), recipe_name).set(["compile=false"])
    recipe = recipe.staged[0].with_(stages=())
    faces = max(2 * recipe.batch_size, 64)
    random_numbers = np.random.default_rng(0)
    images = random_numbers.integers(0, 256, (faces + 7, 48, 48), dtype=np.uint8)
    labels = np.arange(faces + 7).astype(np.uint8) % 7
    splits = np.repeat(np.array([0, 1], np.uint8), [faces, 7])
    data = FaceSet.from_arrays("random", FER2013, images, labels, splits, ("train", "selection"))
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), recipe, {"seed": 0})
        loop = Loop(run, Given(recipe), data.train, data.selection, device, None)
        loop.trainable.train()
        generator, draw = torch.Generator(loop.device).manual_seed(0), random.Random(0)
        rows = torch.arange(recipe.batch_size, device=loop.device)
        clock = seconds_of(loop.device)
        for step in range(2):
            loop._step(rows, 1e-6, step, draw)
        inputs, whole = [], []
        for step in range(steps):
            amount = Amount.drawn(recipe.augment.size or recipe.input.size, recipe.augment, draw)
            inputs.append(clock(lambda amount=amount: loop.batches.made(rows, None, generator, amount)))  # type: ignore[misc]
            whole.append(clock(lambda step=step: loop._step(rows, 1e-6, step + 2, draw)))  # type: ignore[misc]
    given, total = float(np.median(inputs)), float(np.median(whole))
    return {
        "system": system,
        "recipe": recipe_name,
        "batch": recipe.batch_size,
        "input": [recipe.input.channels, recipe.input.size],
        "input_ms": round(1e3 * given, 2),
        "step_ms": round(1e3 * total, 2),
        "share": round(given / total, 4),
        "faces_per_second": round(recipe.batch_size / total, 1),
    }


def seconds_of(device: torch.device) -> Callable[[Callable[[], object]], float]:
    """A stopwatch: processor seconds on the CPU, finished work on a GPU."""

    def on_cpu(work: Callable[[], object]) -> float:
        started = time.process_time()
        work()
        return (time.process_time() - started) / torch.get_num_threads()

    def on_gpu(work: Callable[[], object]) -> float:
        torch.cuda.synchronize(device)
        started = time.perf_counter()
        work()
        torch.cuda.synchronize(device)
        return time.perf_counter() - started

    return on_gpu if device.type == "cuda" else on_cpu


if __name__ == "__main__":
    sys.exit(main())
