from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from mien.audit import Pictures, audit, match, read_pictures
from mien.audit.copies import SAME_PHOTOGRAPH
from mien.errors import DataError, InputError

RECORDED = Path(__file__).parents[2] / "benchmarks" / "recorded" / "leak_check.json"


def jpeg(face: Image.Image) -> Image.Image:
    out = io.BytesIO()
    face.save(out, "JPEG", quality=80)
    return Image.open(io.BytesIO(out.getvalue()))


CHANGES = {
    "renamed": lambda face: face,
    "jpeg": jpeg,
    "64": lambda face: face.resize((64, 64), Image.Resampling.BICUBIC),
    "224": lambda face: face.resize((224, 224), Image.Resampling.BICUBIC).convert("RGB"),
    "mirrored": lambda face: face.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda face: face.rotate(-13, Image.Resampling.BILINEAR),
    "bright": lambda face: ImageEnhance.Brightness(face).enhance(1.25),
    "dull": lambda face: ImageEnhance.Contrast(face).enhance(0.7),
    "cropped": lambda face: face.resize((48, 48), Image.Resampling.BICUBIC, box=(3, 1, 47, 46)),
}


def save(picture: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_test_face_is_found_in_a_folder(drawn, tmp_path, change):
    rows = drawn.all_rows()
    test = int(drawn.test.rows[5])
    for row in (0, 1, 2):  # faces of training are no leak
        save(Image.fromarray(rows.images[row]), tmp_path / "train" / "happy" / f"{row}.png")
    picture = CHANGES[change](Image.fromarray(rows.images[test]))
    suffix = "jpg" if change == "jpeg" else "png"
    save(picture, tmp_path / "train" / "happy" / f"img_0815.{suffix}")
    report = audit(tmp_path, against=drawn)
    leak = report.finding("test-faces")
    assert leak.id_lines() == [f"train/happy/img_0815.{suffix}\tdrawn:{test}"]
    assert report.found
    assert report.size == 4
    assert {row[0]: row[3] for row in report.tables[0].rows} == {"selection": 0, "test": 1}


def test_a_face_that_is_in_training_as_well_is_told_apart(make, drawn, tmp_path):
    images = drawn.all_rows().images[:40].copy()
    images[39] = images[3]
    data = make(images)
    for row in (3, 38):
        save(Image.fromarray(images[row]), tmp_path / f"{row}.png")
    report = audit(tmp_path, against=data)
    assert report.finding("test-faces").id_lines() == ["38.png\town:38"]
    assert report.finding("test-faces-also-in-training").id_lines() == ["3.png\town:39"]
    (tmp_path / "38.png").unlink()
    assert not audit(tmp_path, against=data).found


def test_npz_zip_and_csv_are_read(drawn, tmp_path):
    rows = drawn.all_rows()
    test = drawn.test.rows[:2]
    float_images = rows.images[test][:, None] / 255.0
    np.savez(tmp_path / "train.npz", x=float_images, y=np.zeros(2))
    found = audit(tmp_path / "train.npz", against=drawn).finding("test-faces")
    assert [line.split("\t")[0] for line in found.id_lines()] in (
        ["train.npz:x:0", "train.npz:x:1"],
        ["train.npz:x:1", "train.npz:x:0"],
    )
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        out = io.BytesIO()
        Image.fromarray(rows.images[test[0]]).save(out, "PNG")
        archive.writestr("data/sad/x.png", out.getvalue())
        archive.writestr("data/sad/broken.png", out.getvalue()[:200])
        archive.writestr("__MACOSX/data/._x.png", b"no picture")
    report = audit(tmp_path / "a.zip", against=drawn)
    assert report.finding("test-faces").id_lines() == [f"data/sad/x.png\tdrawn:{test[0]}"]
    assert report.finding("unreadable-files").id_lines() == ["data/sad/broken.png"]
    pixels = " ".join(map(str, rows.images[test[1]].ravel()))
    (tmp_path / "own.csv").write_text(f"emotion,pixels\n3,{pixels}\n")
    report = audit(tmp_path / "own.csv", against=drawn)
    assert report.finding("test-faces").id_lines() == [f"own.csv:0\tdrawn:{test[1]}"]


def test_labels_and_splits_of_a_folder(drawn, tmp_path):
    images = drawn.all_rows().images
    for name in ("train/happy/1.png", "train/sad/2.png", "test/sad/3.png"):
        save(Image.fromarray(images[int(name[-5])]), tmp_path / name)
    pictures = read_pictures(tmp_path)
    assert pictures.ids == ("test/sad/3.png", "train/happy/1.png", "train/sad/2.png")
    assert [pictures.label(row) for row in range(3)] == ["sad", "happy", "sad"]
    assert [pictures.split_names[split] for split in pictures.splits] == ["test", "train", "train"]


@pytest.mark.parametrize("content", ["nothing", "text", "objects", "truncated npz", "text npz"])
def test_bad_input_is_one_sentence(tmp_path, drawn, content):
    path = tmp_path / "data.npz"
    if content == "nothing":
        path = tmp_path / "empty"
        path.mkdir()
    elif content == "text":
        path = tmp_path / "notes.txt"
        path.write_text("no picture")
    elif content == "objects":
        np.savez(path, x=np.array([{}], object))
    elif content == "truncated npz":
        np.savez(path, x=drawn.all_rows().images[:4])
        path.write_bytes(path.read_bytes()[:1000])
    else:
        np.savez(path, x=np.array(["a", "b"]))
    with pytest.raises(DataError, match=r"^[^\n]+$"):
        audit(path, against=drawn)


def test_unknown_sources_and_data_sets(drawn, tmp_path):
    with pytest.raises(InputError, match="no file, no folder and no data set"):
        audit("fer2031")
    with pytest.raises(InputError, match="nothing to leak"):
        audit(drawn, against=drawn.without_test().__class__(**{**vars(drawn), "splits": drawn.splits * 0}))


@pytest.mark.parametrize("change", ["jpeg", "224", "mirrored", "turned", "cropped"])
def test_real_faces_are_found_and_others_are_not(fer2013: Pictures, change):
    tests = np.flatnonzero(fer2013.splits == 1)[:700]
    chosen = tests[5::70]
    from mien.audit.pictures import as_face

    changed = np.stack([as_face(np.asarray(CHANGES[change](Image.fromarray(fer2013.images[r])))) for r in chosen])
    found = match(changed, fer2013.images[tests])
    assert (found.scores >= SAME_PHOTOGRAPH).mean() >= 0.9
    assert (fer2013.groups[tests[found.references]] == fer2013.groups[chosen]).mean() >= 0.9
    others = match(fer2013.images[:30], fer2013.images[tests])
    assert (others.scores >= SAME_PHOTOGRAPH).sum() <= 3


def test_the_recorded_measurement_belongs_to_this_threshold():
    report = json.loads(RECORDED.read_text())
    assert report["threshold"] == SAME_PHOTOGRAPH
    # Chosen on PublicTest and one half of the negatives: no other face of that half reaches the threshold.
    assert report["negatives"]["choosing"]["flagged_but_another_face"] == 0
    assert report["changes"]["renamed only"]["PrivateTest"]["recall"] == 1


def test_a_manifest_beside_its_pictures_is_passed_over_and_told(tmp_path: Path) -> None:
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(tmp_path / "a.png")
    (tmp_path / "all.csv").write_text("file,label,data\na.png,happy,drawn\n")
    pictures = read_pictures(tmp_path)
    assert len(pictures.images) == 1
    assert pictures.notes == ("all.csv is no csv of faces and was passed over.",)
    (tmp_path / "a.png").unlink()
    with pytest.raises(DataError, match="a csv of FER2013 starts with"):
        read_pictures(tmp_path)
