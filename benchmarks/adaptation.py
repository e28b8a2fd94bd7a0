"""Does `mien adapt` help, and does it know when it does not? Shifted PublicTest faces, half to adapt to, half to test.

    python benchmarks/adaptation.py            # print
    python benchmarks/adaptation.py --record   # and write benchmarks/recorded/adaptation.json

The default bundle learnt from Training faces as they are; PublicTest chose its epoch, temperature and threshold, which
favours the bundle as it is, if anything. Copies of Training faces are taken out. PrivateTest is not touched.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from distortions import blur, dark, rotate, size, spoil
from lines import in_lines

import mien
from mien.datasets import load_dataset
from mien.recognition import Recognizer
from mien.recognition.adaptation import LEVEL, adapt
from mien.results.metrics import nll, softmax
from mien.results.provenance import source_stamp
from mien.results.randomness import permutation
from mien.store import write_text

RECORDED = Path(__file__).parent / "recorded" / "adaptation.json"
SHIFTS = {
    "none": ("as they are", lambda face, row: face),
    "blur": ("blurred, sigma 1.5 px", blur(1.5)),
    "dark": ("a fifth of the light", dark(0.2)),
    "tilt": ("tilted by 30°", rotate(30)),
    "low resolution": ("16 px", size(16)),
}
CROPS = (50, 100, 200, 500)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what adapting to few crops brings.")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    parser.add_argument("--draws", type=int, default=4, help="sets of crops per shift and number")
    arguments = parser.parse_args()
    data = load_dataset("fer2013")
    own = ~np.isin(data.selection.groups, data.train.groups)
    faces, labels = np.asarray(data.selection.images)[own], np.asarray(data.selection.labels)[own].astype(int)
    recognizer = Recognizer(detector=None)
    runs = []
    for run in measure(recognizer, faces, labels, arguments.draws):
        print(json.dumps(run), flush=True)
        runs.append(run)
    rows = summary(runs)
    for row in rows:
        print(row)
    if arguments.record:
        about = {
            "date": time.strftime("%Y-%m-%d"), "mien": mien.__version__, "bundle": recognizer.card.sha256,
            "split": "PublicTest without copies of Training faces", "faces": len(faces), "draws": arguments.draws,
            "interval_level": LEVEL, **source_stamp(),
        }  # fmt: skip
        write_text(RECORDED, in_lines({**about, "rows": rows, "runs": runs}))


def measure(recognizer: Recognizer, faces: np.ndarray, labels: np.ndarray, draws: int) -> Iterator[dict[str, Any]]:
    first = recognizer.card.temperatures["one"]
    for shift, (_, distortion) in SHIFTS.items():
        shifted = spoil(faces, distortion)
        base, features = recognizer.logits(shifted).astype(float) / first, recognizer.embed(shifted).astype(float)
        for draw in range(draws):
            order = permutation(draw, len(faces))
            pool, test = order[: len(order) // 2], order[len(order) // 2 :]
            for count in CROPS:
                rows = pool[:count]
                start = time.perf_counter()
                found = adapt(recognizer, shifted[rows], labels[rows], seed=draw)
                seconds = time.perf_counter() - start
                fitted = found.correction.times(1 / first).apply(base[test], features[test])
                fitted *= first / found.temperatures["one"]
                before, after = softmax(base[test]), softmax(fitted)
                right = [float((p.argmax(1) == labels[test]).mean()) for p in (before, after)]
                yield {
                    "shift": shift, "crops": count, "draw": draw, "method": found.method,
                    "stated": [round(v, 4) for v in (found.accuracy.before, found.accuracy.after)],
                    "stated_interval": [round(v, 4) for v in (found.accuracy.low, found.accuracy.high)],
                    "gain": found.gain, "gained": list(found.gained),
                    "accuracy": [round(v, 4) for v in right],
                    "nll": [round(nll(p, labels[test]), 4) for p in (before, after)],
                    "seconds": round(seconds, 2),
                }  # fmt: skip


def summary(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Per shift and number of crops: the test half before and after, and whether the stated interval held."""
    rows = []
    for shift, (meaning, _) in SHIFTS.items():
        for count in CROPS:
            some = [run for run in runs if (run["shift"], run["crops"]) == (shift, count)]
            gains = [run["accuracy"][1] - run["accuracy"][0] for run in some]
            held = [
                low <= gain <= high
                for gain, (low, high) in zip(gains, (r["stated_interval"] for r in some), strict=True)
            ]
            rows.append({
                "shift": shift, "meaning": meaning, "crops": count, "runs": len(some),
                "accuracy_before": round(float(np.mean([run["accuracy"][0] for run in some])), 4),
                "accuracy_after": round(float(np.mean([run["accuracy"][1] for run in some])), 4),
                "nll_before": round(float(np.mean([run["nll"][0] for run in some])), 4),
                "nll_after": round(float(np.mean([run["nll"][1] for run in some])), 4),
                "gain_shown": sum(run["gain"] for run in some), "interval_held": sum(held),
            })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()
