"""How well `mien data audit TRAINING --against fer2013` finds test faces, measured on changed copies of real ones.

    python benchmarks/leak_check.py fer2013.npz                 # measure, write benchmarks/recorded/leak_check.json
    python benchmarks/leak_check.py fer2013.npz --sheets OUT    # also draw the pairs to be looked at

docs/guides/audit.md quotes the record; ``mien results docs`` puts it there.

Positives are changed copies of PublicTest faces and of PrivateTest faces (the
numbers that are published). Negatives are Training faces without an exact or near copy (correlation 0.90) in either
test split. Among those the tool finds many that are the same photograph cut out differently; pairs of negatives that it
flags or nearly flags were looked at one by one, and what they are stands in ``recorded/leak_check_looked_at.json``
(row numbers only). Only pixels are compared: no label of any test face is read, and nothing is scored.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from lines import in_lines
from PIL import Image, ImageEnhance

from mien.audit.copies import best_in_split, near
from mien.audit.embedding import SIDE
from mien.audit.leaks import LEAKED, Matches, match
from mien.audit.pictures import Pictures, as_face, from_face_set
from mien.datasets import load_dataset
from mien.faces import decode
from mien.results.provenance import source_stamp

HERE = Path(__file__).parent
RECORDED = HERE / "recorded" / "leak_check.json"
LOOKED_AT = HERE / "recorded" / "leak_check_looked_at.json"
SEED = 2013
FACES, NEGATIVES = 300, 4000
LOOK_FROM = 0.95

Change = Callable[[Image.Image, np.random.Generator], Image.Image]


def jpeg(face: Image.Image, random: np.random.Generator) -> Image.Image:
    out = io.BytesIO()
    face.save(out, "JPEG", quality=int(random.integers(50, 96)))
    return Image.open(io.BytesIO(out.getvalue()))


def turned(face: Image.Image, random: np.random.Generator) -> Image.Image:
    return face.rotate(float(random.uniform(-15, 15)), Image.Resampling.BILINEAR)


def light(face: Image.Image, random: np.random.Generator) -> Image.Image:
    brighter = ImageEnhance.Brightness(face).enhance(float(random.uniform(0.7, 1.3)))
    return ImageEnhance.Contrast(brighter).enhance(float(random.uniform(0.7, 1.3)))


def cropped(face: Image.Image, random: np.random.Generator) -> Image.Image:
    left, top, right, bottom = random.uniform(0, 0.08 * SIDE, 4)
    box = (float(left), float(top), float(SIDE - right), float(SIDE - bottom))
    return face.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def flipped(face: Image.Image, random: np.random.Generator) -> Image.Image:
    return face.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def resized(side: int) -> Change:
    def resize(face: Image.Image, random: np.random.Generator) -> Image.Image:
        return face.resize((side, side), Image.Resampling.BICUBIC)

    return resize


def everything(face: Image.Image, random: np.random.Generator) -> Image.Image:
    if random.random() < 0.5:
        face = flipped(face, random)
    for change in (light, cropped, turned, resized(224), jpeg):
        face = change(face, random)
    return face


CHANGES: dict[str, Change] = {
    "renamed only": lambda face, random: face,
    "JPEG, quality 50–95": jpeg,
    "resized to 64": resized(64),
    "resized to 224": resized(224),
    "mirrored": flipped,
    "turned by up to 15°": turned,
    "brightness and contrast ±30 %": light,
    "cropped by up to 8 % per side": cropped,
    "all of these at once": everything,
}


def changed(images: np.ndarray, change: str, seed: int) -> np.ndarray:
    """Every face changed, stored as a file and read again as the audit reads it."""
    random = np.random.default_rng([SEED, seed])
    faces = []
    for image in images:
        picture = CHANGES[change](Image.fromarray(image), random)
        out = io.BytesIO()
        if picture.format == "JPEG":
            picture.save(out, "JPEG", quality="keep")
        else:
            picture.save(out, "PNG")
        faces.append(as_face(decode(out.getvalue())))
    return np.stack(faces)


def share(mask: np.ndarray) -> float:
    return round(float(np.mean(mask)), 4)


def measure(source: Path, sheets: Path | None) -> dict[str, Any]:
    pictures = from_face_set(load_dataset("fer2013", source))
    random = np.random.default_rng(SEED)
    tests = np.flatnonzero(pictures.splits > 0)
    alive = pictures.images.reshape(len(pictures), -1).std(axis=1) >= 4
    references = pictures.images[tests]
    report: dict[str, Any] = {"faces": FACES, "seed": SEED, "threshold": LEAKED, "changes": {}}

    for split, name in ((1, "PublicTest"), (2, "PrivateTest")):
        rows = random.choice(np.flatnonzero((pictures.splits == split) & alive), FACES, replace=False)
        copies = [changed(pictures.images[rows], change, 10 * k + split) for k, change in enumerate(CHANGES)]
        found = match(np.concatenate(copies), references)
        right = pictures.groups[tests[found.references]] == np.tile(pictures.groups[rows], len(CHANGES))
        for k, change in enumerate(CHANGES):
            part = slice(k * FACES, (k + 1) * FACES)
            scores = found.scores[part]
            report["changes"].setdefault(change, {})[name] = {
                "recall": share(scores >= LEAKED),
                "right_face": share(right[part] & (scores >= LEAKED)),
                "quantiles": [round(float(q), 4) for q in np.quantile(scores, [0.01, 0.05, 0.5])],
            }
            print(name, change, report["changes"][change][name], flush=True)

    pairs = near(pictures)[2]
    copy = np.maximum(best_in_split(pictures, pairs, 1), best_in_split(pictures, pairs, 2)) >= 0.90
    rows = np.flatnonzero((pictures.splits == 0) & ~copy & alive)
    report["training_faces_without_near_copy"] = len(rows)
    rows = random.permutation(rows)[:NEGATIVES]
    started = time.perf_counter()
    found = match(pictures.images[rows], references)
    report["negatives_per_second"] = round(len(rows) / (time.perf_counter() - started), 1)
    turned_found = match(changed(pictures.images[rows[:1000]], "all of these at once", 999), references)
    looked_at = json.loads(LOOKED_AT.read_text())["same"] if LOOKED_AT.exists() else []
    verdicts = {(training, test) for training, test in looked_at}
    half = len(rows) // 2
    report["negatives"] = {
        "choosing": negatives(rows[:half], found, slice(0, half), tests, verdicts),
        "reporting": negatives(rows[half:], found, slice(half, len(rows)), tests, verdicts),
        "changed": negatives(rows[:1000], turned_found, slice(0, 1000), tests, verdicts),
    }
    if sheets is not None:
        draw(pictures, rows, found, tests, sheets / "plain")
        draw(pictures, rows[:1000], turned_found, tests, sheets / "changed")
    return report


def negatives(
    rows: np.ndarray, found: Matches, part: slice, tests: np.ndarray, same: set[tuple[int, int]]
) -> dict[str, Any]:
    scores, reference = found.scores[part], tests[found.references[part]]
    is_copy = np.array([(int(row), int(ref)) in same for row, ref in zip(rows, reference, strict=True)])
    other = scores[~is_copy]
    return {
        "faces": len(rows),
        "flagged": int((scores >= LEAKED).sum()),
        "flagged_and_the_same_photograph": int(((scores >= LEAKED) & is_copy).sum()),
        "flagged_but_another_face": int((other >= LEAKED).sum()),
        "highest_scores_of_other_faces": [round(float(score), 4) for score in np.sort(other)[::-1][:5]],
    }


def draw(pictures: Pictures, rows: np.ndarray, found: Matches, tests: np.ndarray, folder: Path) -> None:
    """Pairs with their numbers, lowest first, for a person to look at; the pictures stay out of the repository."""
    folder.mkdir(parents=True, exist_ok=True)
    chosen = np.flatnonzero(found.scores >= LOOK_FROM)
    chosen = chosen[np.argsort(found.scores[chosen])]
    listing = [[int(rows[i]), int(tests[found.references[i]]), round(float(found.scores[i]), 4)] for i in chosen]
    (folder / "pairs.json").write_text(json.dumps(listing))
    per_sheet, across = 96, 16
    for start in range(0, len(chosen), per_sheet):
        sheet = np.zeros((per_sheet // across, 2 * SIDE + 4, across, SIDE + 4), np.uint8)
        for place, index in enumerate(chosen[start : start + per_sheet]):
            pair = np.vstack([pictures.images[rows[index]], pictures.images[tests[found.references[index]]]])
            sheet[place // across, : 2 * SIDE, place % across, :SIDE] = pair
        image = Image.fromarray(sheet.reshape(sheet.shape[0] * sheet.shape[1], -1))
        image.resize((image.width * 2, image.height * 2)).save(folder / f"{start:04d}.png")


def shown(report: dict[str, Any]) -> dict[str, Any]:
    """What the guide quotes: a table of recalls, and shares that follow from the counts."""
    splits = ("PrivateTest", "PublicTest")
    rows = [
        [change, *(f"{100 * entry[split]['recall']:.1f} %" for split in splits)]
        for change, entry in report["changes"].items()
    ]
    reporting = report["negatives"]["reporting"]
    wrong, faces = reporting["flagged_but_another_face"], reporting["faces"]
    return {
        "columns": ["what was done to the test faces", *(f"found ({split})" for split in splits)],
        "rows": rows,
        "false_positive_rate": wrong / faces,
        "false_positive_rate_upper95": round(upper(wrong, faces), 6),
    }


def upper(count: int, of: int) -> float:
    """One-sided 95 % bound of Clopper and Pearson, by bisection."""
    from math import comb

    low, high = count / of, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        below = sum(comb(of, k) * middle**k * (1 - middle) ** (of - k) for k in range(count + 1))
        low, high = (middle, high) if below > 0.05 else (low, middle)
    return high


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("--sheets", type=Path)
    arguments = parser.parse_args()
    report = {
        "date": time.strftime("%Y-%m-%d"),
        **source_stamp(),
        **measure(arguments.source, arguments.sheets),
    }
    report["shown"] = shown(report)
    RECORDED.parent.mkdir(exist_ok=True)
    RECORDED.write_text(in_lines(report), encoding="utf-8")


if __name__ == "__main__":
    main()
