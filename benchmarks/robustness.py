"""How much of its accuracy the default bundle keeps when faces are spoiled, on PublicTest.

    python benchmarks/robustness.py            # print
    python benchmarks/robustness.py --record   # and write benchmarks/recorded/robustness.json, for the model card

PublicTest chose the epoch of the default bundle, so its figures are a little high; the losses are what counts here.
PrivateTest is not touched.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from distortions import Distortion, blur, cover, dark, jpeg, noise, occlude, rotate, size, spoil
from lines import in_lines

import mien
from mien.datasets import load_dataset
from mien.recognition import Recognizer
from mien.results.provenance import source_stamp
from mien.results.statistics import bootstrap_interval
from mien.store import write_text

RECORDED = Path(__file__).parent / "recorded" / "robustness.json"
KINDS: dict[str, tuple[str, dict[float | str, Distortion]]] = {
    "face size": ("px", {s: size(s) for s in (16, 20, 24, 32, 40, 48, 64, 96, 128, 200)}),
    "blur": ("sigma, px of 48", {s: blur(s) for s in (0, 0.5, 1, 1.5, 2, 3)}),
    "noise": ("sd, grey levels", {s: noise(s) for s in (0, 5, 10, 20, 30, 40)}),
    "JPEG": ("quality", {q: jpeg(q) for q in (90, 70, 50, 30, 20, 10)}),
    "darkness": ("share of the light", {s: dark(s) for s in (1, 0.5, 0.3, 0.2, 0.1, 0.05)}),
    "rotation": ("degrees", {d: rotate(d) for d in (0, 10, 20, 30, 45, 60, 90)}),
    "occlusion": ("share of the face", {s: occlude(s) for s in (0, 0.05, 0.1, 0.2, 0.3, 0.4)}),
    "covered": ("part", {part: cover(part) for part in ("eyes", "mouth")}),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the accuracy on spoiled faces.")
    parser.add_argument("--record", action="store_true", help=f"write {RECORDED.name}")
    arguments = parser.parse_args()
    split = load_dataset("fer2013").selection
    faces, labels, groups = np.asarray(split.images), np.asarray(split.labels), np.asarray(split.groups)
    recognizer = Recognizer(detector=None)
    rows = []
    for kind, (unit, strengths) in KINDS.items():
        for strength, distortion in strengths.items():
            found = recognizer.classify(spoil(faces, distortion))
            right = found.ids == labels
            decided = found.decided
            row = {
                "kind": kind, "unit": unit, "strength": strength,
                "accuracy": round(float(right.mean()), 4),
                "ci95": [round(end, 4) for end in bootstrap_interval(right, groups)],
                "decided": round(float(decided.mean()), 4),
                "accuracy_decided": round(float(right[decided].mean()), 4) if decided.any() else None,
            }  # fmt: skip
            print(row, flush=True)
            rows.append(row)
    if arguments.record:
        about = {
            "date": time.strftime("%Y-%m-%d"), "mien": mien.__version__, "bundle": recognizer.card.sha256,
            "split": split.name, "faces": len(faces), "view": "one", **source_stamp(),
        }  # fmt: skip
        plain = float((recognizer.classify(faces).ids == labels).mean())
        write_text(RECORDED, in_lines({**about, "accuracy": round(plain, 4), "rows": rows}))


if __name__ == "__main__":
    main()
