"""Do visual words help a trained network? Local Learning Deep+BOW beside its members, on PublicTest alone.

    python benchmarks/deep_bow.py --words RUN --joined RUN RUN …             # print
    python benchmarks/deep_bow.py --words RUN --joined RUN RUN … --record    # and write recorded/deep_bow.json

``--words`` is a run of local-learning-bow, each ``--joined`` a run of local-learning-deep-bow that was fitted with the
features of one network beside those words. A joined system is compared with the better of its two members, face by
face: the interval comes from the paired bootstrap over groups of copies, and over the draws for all of them together.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

import mien
from mien.datasets import load_dataset
from mien.results.provenance import source_state
from mien.results.statistics import Difference, paired_bootstrap
from mien.store import write_text
from mien.systems import card

RECORDED = Path(__file__).parent / "recorded" / "deep_bow.json"
ALL = "all draws"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what visual words bring to networks.")
    parser.add_argument("--words", type=Path, required=True, help="run of local-learning-bow")
    parser.add_argument("--joined", type=Path, nargs="+", required=True, help="runs of local-learning-deep-bow")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    arguments = parser.parse_args()
    split = load_dataset("fer2013").selection
    words = mien.Run.open(arguments.words)
    by_words = correct(words, split)
    joined, best, rows = [], [], []
    for folder in arguments.joined:
        run = mien.Run.open(folder)
        (bundle,) = run.recipe.system["features"]
        network, both = correct(bundle, split), correct(run, split)
        joined.append(both)
        best.append(max(network, by_words, key=np.mean))
        rows.append(
            row(Path(bundle).stem, network, by_words, both, paired_bootstrap(both[None], best[-1][None], split.groups))
        )
        print(json.dumps(rows[-1]), flush=True)
    together = paired_bootstrap(np.stack(joined), np.stack(best), split.groups)
    rows.append(row(ALL, None, by_words, np.mean(joined, axis=0), together))
    options = {**card(run.system).options, **run.recipe.system}
    found = {
        "schema": 1, "date": time.strftime("%Y-%m-%d"), "mien": mien.__version__,
        **dict(zip(("commit", "dirty"), source_state(), strict=True)),
        "words": arguments.words.name, "joined": [folder.name for folder in arguments.joined], "split": "PublicTest",
        "neighbours": options["neighbours"], "penalty": options["penalty"], "draws": len(joined),
        "table": {
            "columns": ["network", "alone", "words alone", "joined", "joined − better member", "95 % interval"],
            "rows": rows,
        },
        "difference": {key: round(100 * value, 2) if key != "p" else value for key, value in vars(together).items()},
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if arguments.record:
        write_text(RECORDED, json.dumps(found, indent=1, ensure_ascii=False) + "\n")


def correct(subject: Any, split: Any) -> np.ndarray:
    """Which faces it gets right, bool (n,), in view ``one``."""
    scores = mien.evaluate(subject, split).selection_scores
    assert scores is not None  # this split is what was measured
    return np.asarray(scores.argmax(axis=1) == split.labels)


def row(name: str, network: np.ndarray | None, words: np.ndarray, joined: np.ndarray, gain: Difference) -> list[str]:
    """A line of the table, in percent."""
    figures = ["–" if right is None else f"{100 * right.mean():.2f}" for right in (network, words, joined)]
    return [name, *figures, f"{100 * gain.difference:+.2f}", f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"]


if __name__ == "__main__":
    main()
