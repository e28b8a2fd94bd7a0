"""How faces must be cut so that they look like FER2013's: photographs are made of PublicTest faces, and undone.

Every face is enlarged to 64–300 px, turned and put somewhere on a neutral canvas; the detector looks for it there; and
the crop is compared with the face as it lies in the data set, for every margin, shift, alignment and filter:

    python benchmarks/framing.py --data fer2013.csv                        # agreement of pixels, needs no network
    python benchmarks/framing.py --data fer2013.csv --bundle model.onnx    # and accuracy, against the ready crops
    python benchmarks/framing.py --data fer2013.csv --bundle model.onnx --count 3589 --pairs \
        --json benchmarks/recorded/framing.json                            # a few candidates, compared in pairs

PublicTest only: a framing is a choice, and choices are made on the selection split.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import mien
from mien.bundle import Framing, read_bundle
from mien.faces import Detections, Detector, crop_faces, open_detector, open_session
from mien.faces.detect import intersection_over_union
from mien.faces.views import get_view
from mien.results.provenance import source_stamp

CANVASES = ("grey", "noise", "blur")
FILTERS = ("area", "bilinear", "bicubic", "lanczos")


@dataclass(frozen=True)
class Scene:
    """A canvas with one face: the whole picture, and where the face's square lies."""

    image: np.ndarray
    box: tuple[float, float, float, float]
    side: float
    roll: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="FER2013 in any form that `mien data import` takes")
    parser.add_argument("--bundle", help="classify with this model as well")
    parser.add_argument("--detector", default="centerface")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--roll", type=float, default=10.0, help="standard deviation of the roll in degrees")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--pairs", action="store_true", help="compare the candidates with the shipped framing")
    parser.add_argument("--json", type=Path, help="write every figure here")
    options = parser.parse_args()

    split = mien.load_dataset("fer2013", options.data).selection
    rows = np.sort(np.random.default_rng(2013).permutation(len(split))[: options.count])
    faces, labels = np.asarray(split.images)[rows], np.asarray(split.labels)[rows]
    detector = open_detector(options.detector, threads=options.threads)
    report: dict[str, Any] = {"count": len(faces), "roll": options.roll, "detector": options.detector}

    everything: list[tuple[int, Scene, Detections]] = []
    for canvas in CANVASES:
        rng = np.random.default_rng(7)
        found, began = [], time.perf_counter()
        for index, face in enumerate(faces):
            scene = compose(face, canvas, rng, options.roll)
            detections = detector.detect(scene.image)
            overlap = intersection_over_union(detections.boxes, [scene.box])[:, 0]
            if len(overlap) and overlap.max() > 0.2:
                found.append((index, scene, detections[[int(overlap.argmax())]]))
        seconds = time.perf_counter() - began
        share = len(found) / len(faces)
        report[f"found_{canvas}"] = share
        print(
            f"{canvas:6} canvas: {len(found)} of {len(faces)} faces found ({100 * share:.1f} %), {seconds:.0f} s",
            flush=True,
        )
        everything += found
    report["box"] = box_statistics(everything)
    print("box against face square:", json.dumps(report["box"]), flush=True)

    classifier = Classifier(options.bundle, options.threads) if options.bundle else None
    if classifier:
        ready = classifier.right(faces, labels)
        report["ready"] = float(ready.mean())
        print(f"ready crops: {100 * ready.mean():.2f} % of {len(faces)}")

    if options.pairs:
        assert classifier, "--pairs compares accuracies: give --bundle as well"
        report |= pairs(everything, faces, labels, classifier)
        if options.json:
            report |= {"date": time.strftime("%Y-%m-%d"), **source_stamp()}
            options.json.write_text(json.dumps(report, indent=1) + "\n")
        return

    def judge(framing: Framing) -> dict[str, Any]:
        size = classifier.size if classifier else 48
        crops = np.concatenate(
            [crop_faces(s.image, d.boxes, d.landmarks, size=size, framing=framing) for _, s, d in everything]
        )
        owners = np.array([index for index, _, _ in everything])
        row: dict[str, Any] = {**asdict(framing), **agreement(crops, faces[owners])}
        if classifier:
            right = classifier.right(crops, labels[owners])
            row |= {"accuracy": float(right.mean()), "loss": float(ready[owners].mean() - right.mean())}
        return row

    coarse = itertools.product((0.8, 0.9, 1.0, 1.1, 1.2, 1.3), (-0.12, -0.08, -0.04, 0.0, 0.04), ("none", "roll"))
    report["coarse"] = show(
        "margin × shift × align", [judge(Framing(m, s, a, "area")) for m, s, a in coarse], bool(classifier)
    )
    best = {align: next(r for r in report["coarse"] if r["align"] == align) for align in ("none", "roll")}
    fine = [
        Framing(round(row["margin"] + dm, 3), round(row["shift"] + ds, 3), align, "area")
        for align, row in best.items()
        for dm, ds in itertools.product((-0.05, 0.0, 0.05), (-0.02, 0.0, 0.02))
    ]
    report["fine"] = show("finer", [judge(framing) for framing in fine], bool(classifier))
    top = report["fine"][0]
    filters = [Framing(top["margin"], top["shift"], top["align"], name) for name in FILTERS]
    report["filters"] = show("filter", [judge(framing) for framing in filters], bool(classifier))
    chosen = Framing(top["margin"], top["shift"], top["align"], "area")
    report["borders"] = borders(everything, faces, detector, chosen)
    if options.json:
        report |= {"date": time.strftime("%Y-%m-%d"), **source_stamp()}
        options.json.write_text(json.dumps(report, indent=1))


SHIPPED = Framing(1.05, -0.02, "none", "area")
CANDIDATES = {
    "shipped": SHIPPED,
    "best upright by accuracy": Framing(1.00, -0.02, "none", "area"),
    "aligned": Framing(1.05, 0.02, "roll", "area"),
    "aligned, shipped margin and shift": Framing(1.05, -0.02, "roll", "area"),
    "bilinear": Framing(1.05, -0.02, "none", "bilinear"),
}


def pairs(
    everything: list[tuple[int, Scene, Detections]], faces: np.ndarray, labels: np.ndarray, classifier: Classifier
) -> dict[str, Any]:
    """Accuracy of each candidate on the very same found faces, and its paired difference from the shipped framing.

    A face lies on three canvases, so whole faces are drawn again by the bootstrap, not scenes.
    """
    owners = np.array([index for index, _, _ in everything])
    ready = classifier.right(faces, labels)
    right = {"ready crops": ready[owners]}
    for name, framing in CANDIDATES.items():
        crops = np.concatenate(
            [crop_faces(s.image, d.boxes, d.landmarks, size=classifier.size, framing=framing) for _, s, d in everything]
        )
        right[name] = classifier.right(crops, labels[owners])
    seen = np.bincount(owners, minlength=len(faces))
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(len(faces), np.full(len(faces), 1 / len(faces)), size=10_000)
    rows = {}
    for name, hits in right.items():
        gain = np.bincount(owners, hits.astype(float) - right["shipped"], minlength=len(faces))
        differences = (drawn @ gain) / (drawn @ seen)
        low, high = np.percentile(differences, [2.5, 97.5])
        difference = float(gain.sum() / seen.sum())
        rows[name] = {
            "framing": asdict(CANDIDATES[name]) if name in CANDIDATES else None,
            "accuracy": float(hits.mean()),
            "difference": difference,
            "difference_ci95": [float(low), float(high)],
        }
        print(
            f"{name:36} {100 * hits.mean():6.2f} %  {100 * difference:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]",
            flush=True,
        )
    scenes = len(CANVASES) * len(faces)
    whole = {
        "scenes": scenes,
        "found": len(everything),
        "accuracy_ready": float(ready.mean()),
        "accuracy_end_to_end": float(right["shipped"].sum() / scenes),
    }
    print(json.dumps(whole))
    return {"candidates": rows, **whole, "shown": _shown(rows)}


def _shown(rows: dict[str, Any]) -> dict[str, Any]:
    """The table of docs/decisions/0002-framing.md."""

    def points(value: float) -> str:
        return f"{100 * value:+.2f}".replace("-", "−")

    cells = []
    for name, row in rows.items():
        low, high = row["difference_ci95"]
        against = ["–", "–"] if name == "shipped" else [points(row["difference"]), f"{points(low)} to {points(high)}"]
        cells.append([name, f"{100 * row['accuracy']:.2f} %", *against])
    return {
        "columns": ["framing", "accuracy", "against the shipped one, in points", "95 % interval"],
        "rows": cells,
    }


def compose(face: np.ndarray, canvas: str, rng: np.random.Generator, roll_sd: float) -> Scene:
    """Put a face (48, 48) on a canvas of 640 × 480, turned, somewhere, with a side of 64–300 px."""
    side = round(math.exp(rng.uniform(math.log(64), math.log(300))))
    roll = float(np.clip(rng.normal(0, roll_sd), -30, 30))
    width, height = 640, 480
    if canvas == "grey":
        ground = np.full((height, width), rng.integers(40, 216), np.uint8)
    elif canvas == "noise":
        coarse = Image.fromarray(rng.integers(40, 216, (12, 16), dtype=np.uint8))
        ground = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    else:  # the face itself, out of focus: no edge in brightness around the square
        blurred = Image.fromarray(face).resize((4, 4), Image.Resampling.BOX)
        ground = np.asarray(blurred.resize((width, height), Image.Resampling.BICUBIC))
    large = Image.fromarray(face).resize((side, side), Image.Resampling.BICUBIC)
    turned = large.rotate(-roll, Image.Resampling.BICUBIC, expand=True)
    mask = Image.new("L", (side, side), 255).rotate(-roll, Image.Resampling.BILINEAR, expand=True)
    x = int(rng.integers(0, width - turned.width + 1))
    y = int(rng.integers(0, height - turned.height + 1))
    picture = Image.fromarray(np.ascontiguousarray(ground))
    picture.paste(turned, (x, y), mask)
    cx, cy = x + turned.width / 2, y + turned.height / 2
    box = (cx - side / 2, cy - side / 2, cx + side / 2, cy + side / 2)
    return Scene(np.repeat(np.asarray(picture)[..., None], 3, axis=2), box, side, roll)


class Classifier:
    """A bundle, asked with view `one`."""

    def __init__(self, path: str, threads: int | None) -> None:
        bundle = read_bundle(path)
        self.spec, self.session = bundle.card.input, open_session(bundle.model, threads=threads)
        self.size = getattr(self.spec, "face_size", self.spec.size)

    def right(self, faces: np.ndarray, labels: np.ndarray) -> np.ndarray:
        view, done = get_view("one"), []
        for start in range(0, len(faces), 256):
            scores = view.scores(
                faces[start : start + 256], self.spec, lambda x: self.session.run(["logits"], {"input": x})[0]
            )
            done.append(scores.argmax(1) == labels[start : start + 256])
        return np.concatenate(done)


def agreement(crops: np.ndarray, faces: np.ndarray) -> dict[str, float]:
    """Mean absolute difference in grey levels, and mean correlation, of crops and the faces they show."""
    if crops.shape[1:] != faces.shape[1:]:
        side = faces.shape[1:][::-1]
        crops = np.stack([np.asarray(Image.fromarray(c).resize(side, Image.Resampling.BOX)) for c in crops])
    a, b = crops.reshape(len(crops), -1).astype(np.float32), faces.reshape(len(faces), -1).astype(np.float32)
    difference = float(np.abs(a - b).mean())
    a, b = a - a.mean(1, keepdims=True), b - b.mean(1, keepdims=True)
    norm = np.sqrt((a * a).sum(1) * (b * b).sum(1)) + 1e-6
    return {"difference": difference, "correlation": float(((a * b).sum(1) / norm).mean())}


def box_statistics(everything: list[tuple[int, Scene, Detections]]) -> dict[str, float]:
    """How detected boxes lie in the squares that FER2013 cut: medians and spreads."""
    margin, shift, roll = [], [], []
    for _, scene, found in everything:
        if found.landmarks is None:
            raise SystemExit("the roll is measured between the eyes: give a --detector that finds landmarks")
        x1, y1, x2, y2 = found.boxes[0].tolist()
        margin.append(scene.side / max(x2 - x1, y2 - y1))
        shift.append(((scene.box[1] + scene.box[3]) / 2 - (y1 + y2) / 2) / scene.side)
        (ax, ay), (bx, by) = found.landmarks[0][:2].tolist()
        roll.append(math.degrees(math.atan2(by - ay, bx - ax)) - scene.roll)
    figures = {"margin": margin, "shift": shift, "roll_error": roll}
    return {f"{name}_p{p}": round(float(np.percentile(v, p)), 3) for name, v in figures.items() for p in (10, 50, 90)}


def borders(
    everything: list[tuple[int, Scene, Detections]], faces: np.ndarray, detector: Detector, framing: Framing
) -> dict[str, dict[str, float]]:
    """A picture that ends within the face: continue its last pixels, or stretch what there is?

    The left or right 5–25 % of the face's square are cut away; the crops are compared with the whole face.
    """
    rng, owners = np.random.default_rng(11), []
    crops: dict[str, list[np.ndarray]] = {"continued": [], "stretched": []}
    for index, scene, _ in everything[: len(faces)]:
        share, left = rng.uniform(0.05, 0.25), bool(rng.integers(2))
        cut = round(scene.box[0] + share * scene.side if left else scene.box[2] - share * scene.side)
        image = np.ascontiguousarray(scene.image[:, cut:] if left else scene.image[:, :cut])
        found = detector.detect(image)
        expected = (scene.box[0] - cut, scene.box[1], scene.box[2] - cut, scene.box[3]) if left else scene.box
        overlap = intersection_over_union(found.boxes, [expected])[:, 0]
        if not len(overlap) or overlap.max() <= 0.2:
            continue
        found = found[[int(overlap.argmax())]]
        owners.append(index)
        crops["continued"].append(crop_faces(image, found.boxes, size=48, framing=framing)[0])
        x1, y1, x2, y2 = found.boxes[0].tolist()
        side = framing.margin * max(x2 - x1, y2 - y1)
        x, y = (x1 + x2) / 2, (y1 + y2) / 2 + framing.shift * side
        square = np.array([x - side / 2, y - side / 2, x + side / 2, y + side / 2])
        inside = square.clip(0, [image.shape[1], image.shape[0]] * 2)
        picture = Image.fromarray(image).convert("L").resize((48, 48), Image.Resampling.BOX, box=tuple(inside))
        crops["stretched"].append(np.asarray(picture))
    figures = {name: agreement(np.stack(rows), faces[owners]) for name, rows in crops.items()}
    print(f"\n{len(owners)} faces cut by the picture's border:", json.dumps(figures))
    return figures


def show(title: str, rows: list[dict[str, Any]], classified: bool) -> list[dict[str, Any]]:
    """Print the best rows, best first, and return all."""
    rows = sorted(rows, key=lambda row: -row["accuracy"] if classified else -row["correlation"])
    print(f"\n{title}\n margin  shift  align  filter    |Δ|   corr." + ("  accuracy   loss" if classified else ""))
    for row in rows[:12]:
        line = f"{row['margin']:7.2f} {row['shift']:6.2f}  {row['align']:5}  {row['resample']:8}"
        line += f" {row['difference']:5.1f}  {row['correlation']:.4f}"
        if classified:
            line += f"   {100 * row['accuracy']:6.2f}  {100 * row['loss']:5.2f}"
        print(line, flush=True)
    return rows


if __name__ == "__main__":
    main()
