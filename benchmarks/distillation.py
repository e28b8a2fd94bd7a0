"""Does a teacher help a student? Seeds with and without it, on PublicTest; PrivateTest is not touched.

    python benchmarks/distillation.py --teacher runs/compact-mien-…-s0            # print
    python benchmarks/distillation.py --teacher RUN --record                      # and write recorded/distillation.json

The same recipe, seeds and number of epochs on both sides; the last epoch counts, so that nothing is chosen. Runs lie in
``runs``; what is there already is used again, so a stopped measurement goes on. The 95 % interval of the difference
comes from the paired bootstrap over groups of copies and seeds that `mien compare` uses.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from lines import in_lines

import mien
from mien.datasets import load_dataset
from mien.evaluation.scorers import score, torch_logits
from mien.results.provenance import source_stamp
from mien.results.statistics import paired_bootstrap
from mien.store import write_text
from mien.systems import card
from mien.training import Recipe, Run, train

RECORDED = Path(__file__).parent / "recorded" / "distillation.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a teacher brings.")
    parser.add_argument("--teacher", type=Path, required=True, help="run folder or bundle")
    parser.add_argument("--student", default="deepemotion")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--weight", type=float, default=0.7)
    parser.add_argument("--temperature", type=float, default=4.0)
    parser.add_argument("--out", type=Path, default=Path("runs"))
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    arguments = parser.parse_args()
    data = load_dataset("fer2013")
    plain = Recipe.of(card(arguments.student)).set(
        ["name=alone", f"epochs={arguments.epochs}", "keep=last", "early_stop=0"]
    )
    taught = plain.set(
        [
            "name=taught",
            f"distill.weight={arguments.weight}",
            f"distill.temperature={arguments.temperature}",
            "distill.targets=face",
        ]
    )
    labels = np.asarray(data.selection.labels)
    right: dict[str, list[np.ndarray]] = {"alone": [], "taught": []}
    for seed in range(arguments.seeds):
        for recipe in (plain, taught):
            teacher = arguments.teacher if recipe is taught else None
            run = train(
                arguments.student, data.train, data.selection,
                recipe=recipe, seed=seed, out=arguments.out, resume=True, teacher=teacher,
            )  # fmt: skip
            right[recipe.name].append(correct(run, data.selection.images, labels))
            print(
                json.dumps({"seed": seed, "recipe": recipe.name, "accuracy": right[recipe.name][-1].mean()}), flush=True
            )
    alone, with_teacher = (np.stack(right[name]) for name in ("alone", "taught"))
    gain = paired_bootstrap(with_teacher, alone, data.selection.groups)
    found = {
        "schema": 1, "date": time.strftime("%Y-%m-%d"), "mien": mien.__version__,
        **source_stamp(),
        "teacher": arguments.teacher.name, "student": arguments.student, "epochs": arguments.epochs,
        "weight": arguments.weight, "temperature": arguments.temperature, "split": "PublicTest",
        "table": {
            "columns": ["", *(f"seed {seed}" for seed in range(arguments.seeds)), "mean", "standard deviation"],
            "rows": [row("alone", alone), row("with its teacher", with_teacher)],
        },
        "difference": as_record(gain),
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if arguments.record:
        write_text(RECORDED, in_lines(found))


def correct(run: Run, faces: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which faces the run's weights get right, float (n,), in full precision and view ``one``."""
    scores = score(faces, run.recipe.input, torch_logits(run.module(), channels_last=run.recipe.channels_last))
    right: np.ndarray = scores.argmax(axis=1) == labels
    return right.astype(float)


def row(name: str, right: np.ndarray) -> list[Any]:
    """A line of the table, in percent."""
    each = 100 * right.mean(axis=1)
    return [name, *(f"{value:.2f}" for value in each), f"{each.mean():.2f}", f"{each.std(ddof=1):.2f}"]


def as_record(gain: Any) -> dict[str, float]:
    """The difference and its interval, in percent points."""
    return {key: round(100 * value, 2) if key != "p" else value for key, value in vars(gain).items()}


if __name__ == "__main__":
    main()
