"""Do visual words help a trained network? Local Learning Deep+BOW beside its members, on PublicTest alone.

    python benchmarks/deep_bow.py --words RUN --joined RUN RUN … --seeds RUN RUN …             # print
    python benchmarks/deep_bow.py --words RUN --joined RUN RUN … --seeds RUN RUN … --record    # recorded/deep_bow.json

``--words`` is a run of local-learning-bow; ``--joined`` are runs of local-learning-deep-bow, each fitted with the
features of another network beside those words, and ``--seeds`` such runs with one network trained from several seeds.
A joined system is compared with the better of its two members, face by face (paired bootstrap over groups of copies,
p-values after Holm; for the seeds over these as well), and once more on the faces whose photograph Training holds in no
cut, since nearest neighbours live on those.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from lines import in_lines

import mien
from mien.datasets import load_dataset
from mien.results import facts
from mien.results.provenance import source_stamp
from mien.results.statistics import Difference, holm, paired_bootstrap
from mien.store import write_text
from mien.systems import card

RECORDED = Path(__file__).parent / "recorded" / "deep_bow.json"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what visual words bring to networks.")
    parser.add_argument("--words", type=Path, required=True, help="run of local-learning-bow")
    parser.add_argument("--joined", type=Path, nargs="+", required=True, help="runs of local-learning-deep-bow")
    parser.add_argument("--seeds", type=Path, nargs="+", required=True, help="such runs with one network's seeds")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    arguments = parser.parse_args()
    split = load_dataset("fer2013").selection
    unseen = ~facts.load("fer2013").has_photograph_in("Training")[split.rows]
    by_words = correct(mien.Run.open(arguments.words), split)
    networks = [measured(folder, by_words, split) for folder in arguments.joined]
    gains = [paired_bootstrap(each.joined[None], each.better[None], split.groups) for each in networks]
    rows = [
        row(each.name, each.network, by_words, each.joined, gain, p, each.gain_on(unseen))
        for each, gain, p in zip(networks, gains, holm([gain.p for gain in gains]), strict=True)
    ]
    seeds = [measured(folder, by_words, split) for folder in arguments.seeds]
    over = paired_bootstrap(
        np.stack([each.joined for each in seeds]), np.stack([each.better for each in seeds]), split.groups
    )
    first = mien.Run.open(arguments.joined[0])
    options = {**card(first.system).options, **first.recipe.system}
    found = {
        "schema": 2, "date": time.strftime("%Y-%m-%d"), "mien": mien.__version__,
        **source_stamp(),
        "words": arguments.words.name, "joined": [folder.name for folder in arguments.joined],
        "seeds": [folder.name for folder in arguments.seeds], "split": "PublicTest",
        "neighbours": options["neighbours"], "penalty": options["penalty"], "unseen": int(unseen.sum()),
        "table": {
            "columns": [
                "network", "alone", "words alone", "joined", "joined − better member", "95 % interval", "p, Holm",
                "the same where no cut was trained on",
            ],
            "rows": rows,
        },
        "over_seeds": {
            "count": len(seeds),
            **{key: round(100 * value, 2) if key != "p" else value for key, value in vars(over).items()},
        },
    }  # fmt: skip
    print(json.dumps(found, indent=1))
    if arguments.record:
        write_text(RECORDED, in_lines(found))


@dataclass(frozen=True)
class Measured:
    """Which faces each of three gets right, bool (n,): a network, it and the words together, the better of both."""

    name: str
    network: np.ndarray
    joined: np.ndarray
    better: np.ndarray

    def gain_on(self, faces: np.ndarray) -> float:
        """Joined less the better member, on some of the faces."""
        return float(self.joined[faces].mean() - self.better[faces].mean())


def measured(folder: Path, by_words: np.ndarray, split: Any) -> Measured:
    run = mien.Run.open(folder)
    (bundle,) = run.recipe.system["features"]
    network = correct(bundle, split)
    return Measured(Path(bundle).stem, network, correct(run, split), max(network, by_words, key=np.mean))


def correct(subject: Any, split: Any) -> np.ndarray:
    """Which faces it gets right, bool (n,), in view ``one``."""
    scores = mien.evaluate(subject, split).selection_scores
    assert scores is not None  # this split is what was measured
    return np.asarray(scores.argmax(axis=1) == split.labels)


def row(
    name: str, network: np.ndarray, words: np.ndarray, joined: np.ndarray, gain: Difference, p: float, unseen: float
) -> list[str]:
    """A line of the table, in percent."""
    interval = f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}"
    figures = [f"{100 * right.mean():.2f}" for right in (network, words, joined)]
    return [name, *figures, f"{100 * gain.difference:+.2f}", interval, f"{p:.2g}", f"{100 * unseen:+.2f}"]


if __name__ == "__main__":
    main()
