from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mien.datasets import FaceSet, drawn_faces, read_manifest
from mien.datasets.extra_manifest import ExtraImage, write_entries
from mien.datasets.sdafe import REASONS, Filtered, psnr, sdafe
from mien.errors import DataError, InputError
from mien.labels import FER2013

NEUTRAL, DISGUST, FEAR = (FER2013.id(label) for label in ("neutral", "disgust", "fear"))
Faces = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def drawn() -> FaceSet:
    """Drawn faces of which most that show disgust are called angry, so that disgust is rare."""
    faces = drawn_faces(210, 4)
    labels = np.array(faces._labels)
    rare = faces.rows("train")[labels[faces.rows("train")] == DISGUST][4:]
    labels[rare] = FER2013.id("angry")
    return FaceSet.from_arrays("drawn", FER2013, np.array(faces._images), labels, np.array(faces.splits))


def edited(face: Faces, decibels: float, seed: int = 0) -> Faces:
    """A face with that much noise (in dB, about)."""
    noise = np.random.default_rng(seed).normal(0, 255 / 10 ** (decibels / 20), face.shape)
    return (face + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture
def generated(drawn: FaceSet, tmp_path: Path) -> Callable[..., Path]:
    """Writes images and their manifest: one tuple (image, source row or None, further columns) per image."""

    def write(images: list[tuple[Faces, int | None, dict[str, Any]]], name: str = "all.csv") -> Path:
        entries = []
        (tmp_path / "in").mkdir(exist_ok=True)
        for number, (image, row, columns) in enumerate(images):
            Image.fromarray(image).save(tmp_path / "in" / f"{number}.png")
            columns = {"label": "disgust", "clip_label": "disgust", **columns}
            entries.append(ExtraImage(file=f"in/{number}.png", data="Edits", source_id=row, **columns))
        write_entries(tmp_path / name, entries)
        return tmp_path / name

    return write


def neutral_rows(faces: FaceSet) -> list[int]:
    return faces.train.rows[np.asarray(faces.train.labels) == NEUTRAL].tolist()


def test_psnr_is_that_of_the_formula() -> None:
    random = np.random.default_rng(0)
    one, two = random.integers(0, 256, (2, 48, 48), np.uint8)
    wanted = 20 * math.log10(255) - 10 * math.log10(np.mean((one.astype(float) - two.astype(float)) ** 2))
    assert psnr(one, two) == pytest.approx(wanted, abs=0.005)
    assert psnr(one, one) == math.inf
    assert psnr(np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)) == 0


def test_each_filter_drops_its_own(drawn: FaceSet, generated: Callable[..., Path]) -> None:
    rows = neutral_rows(drawn)
    faces = [np.array(drawn._images[row]) for row in rows]
    path = generated(
        [
            (edited(faces[0], 25), rows[0], {"clip_cos": 0.3}),
            (edited(faces[1], 10), rows[1], {"clip_cos": 0.3}),
            (edited(faces[2], 25), rows[2], {"clip_cos": 0.3, "clip_label": "sad"}),
            (edited(faces[3], 25), rows[3], {"clip_cos": 0.1}),
            (edited(faces[4], 25), None, {"clip_cos": 0.3}),
            (faces[5], rows[5], {"clip_cos": 0.3}),
            (edited(faces[6], 10), rows[6], {"clip_cos": 0.3, "clip_label": "sad"}),
            (edited(faces[7], 45), rows[7], {"clip_cos": 0.3, "label": "fear", "clip_label": "fear"}),
        ]
    )  # fmt: skip
    found = sdafe(path, drawn, min_psnr=15, min_clip_cos=0.2)
    assert found.reasons == ("", "psnr", "clip", "clip", "no_source", "psnr", "psnr", "")
    assert [entry.file for entry in found.kept] == ["in/0.png", "in/7.png"]
    assert found.kept[0].psnr == pytest.approx(25, abs=1.5)
    assert math.isnan(found.psnr[4])
    assert math.isinf(found.psnr[5])
    assert sdafe(path, drawn, min_clip_cos=0.2, max_psnr=40).reasons[-1] == "psnr"
    assert sdafe(path, drawn, clip=False).reasons[2] == ""
    assert sdafe(path, drawn).reasons[3] == "", "without a smallest cosine only the nearest label counts"


def test_the_report_adds_up(drawn: FaceSet, generated: Callable[..., Path]) -> None:
    rows = neutral_rows(drawn)
    images = []
    for n, row in enumerate(rows[:12]):
        image = edited(np.array(drawn._images[row]), 25 if n % 3 else 8, n)
        images.append((image, row, {"clip_label": "sad" if n % 4 == 1 else "disgust"}))
    found = sdafe(generated(images), drawn)
    report = found.to_json()
    disgust = report["balance"][DISGUST]
    assert disgust == {
        "label": "disgust", "before": 4, "offered": 12, "no_source": 0, "psnr": 4, "clip": 2, "surplus": 0,
        "kept": 6, "after": 10,
    }  # fmt: skip
    for row in report["balance"]:
        assert row["offered"] == row["kept"] + sum(row[reason] for reason in REASONS)
    assert (report["offered"], report["kept"]) == (12, 6)
    assert report["dropped"] == {"no_source": 0, "psnr": 4, "clip": 2, "surplus": 0}
    largest = max(row["before"] for row in report["balance"])
    assert report["largest_over_smallest"] == {"before": largest / 4, "after": largest / 10}
    assert report["sources"] == {"neutral": 12}
    assert 6 < report["psnr_quantiles"][0] < 12 < report["psnr_quantiles"][-1] < 28


def test_a_class_is_filled_with_its_best_and_no_further(drawn: FaceSet, generated: Callable[..., Path]) -> None:
    rows = neutral_rows(drawn)
    most = max(drawn.train.counts().values())
    lacking = most - drawn.train.counts()["disgust"]
    count = lacking + 3
    images = [
        (edited(np.array(drawn._images[rows[n % len(rows)]]), 25, n), rows[n % len(rows)], {"clip_cos": n / 100})
        for n in range(count)
    ]
    found = sdafe(generated(images), drawn, fill=True)
    assert found.reasons == ("surplus",) * 3 + ("",) * lacking
    assert found.balance()[DISGUST]["after"] == most


def test_what_stays_is_a_manifest_again(drawn: FaceSet, generated: Callable[..., Path], tmp_path: Path) -> None:
    rows = neutral_rows(drawn)
    images = [(edited(np.array(drawn._images[row]), 25 - 9 * n), row, {"psnr": 99.0}) for n, row in enumerate(rows[:2])]
    path = generated(images)
    found = sdafe(path, drawn)
    written = found.write(tmp_path / "in" / "kept.csv")
    extra = read_manifest(written, drawn)
    assert [(entry.file, entry.source_id) for entry in extra.entries] == [("0.png", rows[0]), ("1.png", rows[1])]
    assert [entry.psnr for entry in extra.entries] == found.psnr.tolist(), "what a generator claims is measured anew"
    assert np.array_equal(extra.images, found.extra.images)
    with pytest.raises(InputError, match="is the manifest that was read"):
        found.write(path)
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(InputError, match="does not lie below"):
        found.write(tmp_path / "elsewhere" / "kept.csv")
    with pytest.raises(InputError, match="no image passed the filters"):
        sdafe(path, drawn, min_psnr=60).write(tmp_path / "none.csv")
    assert not (tmp_path / "none.csv").exists()


def test_somebody_elses_clip_is_asked(drawn: FaceSet, generated: Callable[..., Path]) -> None:
    rows = neutral_rows(drawn)
    images = [(edited(np.array(drawn._images[row]), 25, n), row, {"clip_label": ""}) for n, row in enumerate(rows[:3])]
    images.append((edited(np.array(drawn._images[rows[3]]), 5), rows[3], {}))
    path = generated(images)
    seen: list[tuple[int, ...]] = []

    def agreement(image: Faces) -> list[float]:
        seen.append(image.shape)
        return [0.3 if label == len(seen) % 2 else 0.1 for label in range(7)]  # disgust has the id 1

    found = sdafe(path, drawn, agreement=agreement)
    assert seen == [(48, 48, 3)] * 3, "what PSNR dropped is not asked about"
    assert found.reasons == ("", "clip", "", "psnr")
    assert (found.kept[0].clip_label, found.kept[0].clip_cos) == ("disgust", 0.3)
    with pytest.raises(InputError, match="one cosine per label"):
        sdafe(path, drawn, agreement=lambda image: [0.1])
    with pytest.raises(InputError, match="one cosine per label"):
        sdafe(path, drawn, agreement=lambda image: [25.0] * 7)


def test_unanswered_questions_are_not_passed_over(drawn: FaceSet, generated: Callable[..., Path]) -> None:
    row = neutral_rows(drawn)[0]
    image = edited(np.array(drawn._images[row]), 25)
    path = generated([(image, row, {"clip_label": ""})])
    with pytest.raises(DataError, match=r"all\.csv, line 2: clip_label is empty"):
        sdafe(path, drawn)
    with pytest.raises(DataError, match="clip_cos is empty and a minimum is asked for"):
        sdafe(path, drawn, min_clip_cos=0.2)
    path = generated([(image, row, {"clip_label": "", "clip_cos": 0.25})])
    assert len(sdafe(path, drawn, min_clip_cos=0.2).kept) == 1
    for bounds in ({"min_psnr": 20, "max_psnr": 20}, {"min_psnr": math.nan}, {"min_clip_cos": 2.0}):
        with pytest.raises(InputError):
            sdafe(path, drawn, **bounds)


def test_sources_that_are_measured_on_are_refused_here_too(drawn: FaceSet, generated: Callable[..., Path]) -> None:
    row = int(drawn.rows("test")[0])
    path = generated([(edited(np.array(drawn._images[0]), 25), row, {})])
    with pytest.raises(DataError, match=f"of test .*source_id {row}"):
        sdafe(path, drawn)


def test_on_real_faces(fer2013_npz: Path, tmp_path: Path) -> None:
    """Neutral Training faces, blended with faces that show fear or disgust: a poor man's edit, of known strength."""
    with np.load(fer2013_npz) as arrays:
        images, labels, usage = (arrays[name] for name in ("images", "labels", "usage"))
    keep = np.concatenate([np.flatnonzero(usage == split)[:400] for split in (0, 1)])
    faces = FaceSet.from_arrays(
        "fer2013", FER2013, images[keep], labels[keep], usage[keep], ("Training", "PublicTest"), ("train", "selection")
    )
    random = np.random.default_rng(0)
    neutral = neutral_rows(faces)
    entries = []
    for number in range(60):
        label = ("disgust", "fear")[number % 2]
        shown = faces.train.rows[np.asarray(faces.train.labels) == FER2013.id(label)]
        row, other = neutral[number % len(neutral)], int(random.choice(shown))
        strength = (0.05, 0.2, 0.8)[number % 3]
        blend = (1 - strength) * faces._images[row] + strength * faces._images[other]
        Image.fromarray(blend.astype(np.uint8)).resize((192, 192), Image.Resampling.BICUBIC).save(
            tmp_path / f"{number}.png"
        )
        entries.append(ExtraImage(f"{number}.png", label, "Blends", row, clip_label=label))
    write_entries(tmp_path / "all.csv", entries)
    found: Filtered = sdafe(tmp_path / "all.csv", faces, min_psnr=15, max_psnr=35)
    by_strength = [np.median(found.psnr[start::3]) for start in range(3)]
    assert by_strength[0] > by_strength[1] > 15 > by_strength[2], "the stronger the edit, the lower the PSNR"
    counts = found.to_json()
    assert 0 < counts["kept"] < 60
    assert set(counts["sources"]) == {"neutral"}
    extra = read_manifest(found.write(tmp_path / "kept.csv"), faces)
    assert len(extra) == counts["kept"]
    row = int(faces.rows("PublicTest")[7])
    Image.fromarray(faces._images[row]).save(tmp_path / "leak.png")
    write_entries(tmp_path / "leak.csv", [ExtraImage("leak.png", "fear", "Blends", neutral[0])])
    with pytest.raises(DataError, match=rf"exact copies.*row {row} \(leak\.png\)"):
        read_manifest(tmp_path / "leak.csv", faces)
