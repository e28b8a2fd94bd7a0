from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.errors import InputError
from mien.labels import FER2013
from mien.recognition import Recognizer
from mien.recognition.files import DrawingFolder, FileRecord, recognize_files
from mien.recognition.tables import columns, rows, write_csv


@pytest.fixture
def photos(tmp_path: Path) -> dict[str, Path]:
    """Two faces, no face (a small image, see `recognizer`), and no image."""
    paths = {name: tmp_path / name for name in ("two.png", "none.png", "text.jpg")}
    Image.fromarray(standin.photograph(["happy", "sad"])[0]).save(paths["two.png"])
    Image.new("RGB", (30, 20)).save(paths["none.png"])
    paths["text.jpg"].write_text("no image")
    return paths


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    boxes = standin.photograph(["happy", "sad"])[1]
    return Recognizer(bundle_path, detector=lambda image: boxes if image.shape[1] > 100 else np.zeros((0, 4)))


def test_each_file_has_a_record_in_order(recognizer: Recognizer, photos: dict[str, Path]) -> None:
    files = [photos["text.jpg"], photos["two.png"], photos["none.png"], "missing.jpg"]
    records = list(recognize_files(recognizer, files))
    assert [record.file for record in records] == [str(file) for file in files]
    assert [record.status for record in records] == ["error", "ok", "no face", "error"]
    assert "text.jpg" in records[0].message
    assert "missing.jpg" in records[3].message
    assert records[1].faces is not None
    assert records[1].faces.labels == ["happy", "sad"]


def test_json_objects_have_exactly_the_documented_keys(recognizer: Recognizer, photos: dict[str, Path]) -> None:
    entries = [record.to_dict() for record in recognize_files(recognizer, photos.values())]
    keys = ["file", "status", "width", "height", "faces"]
    assert [list(entry) for entry in entries] == [
        keys + ["message"] * (entry["status"] == "error") for entry in entries
    ]
    assert "text.jpg is no JPEG" in entries[2]["message"]
    assert (entries[0]["width"], entries[0]["height"]) == (312, 176)
    assert [face["label"] for face in entries[0]["faces"]] == ["happy", "sad"]
    assert (entries[1]["status"], entries[1]["width"], entries[1]["faces"]) == ("no face", 30, [])
    assert (entries[2]["status"], entries[2]["width"], entries[2]["faces"]) == ("error", None, [])


def test_min_confidence_leaves_faces_out_but_not_the_file(recognizer: Recognizer, photos: dict[str, Path]) -> None:
    (record,) = recognize_files(recognizer, [photos["two.png"]], min_confidence=1.0)
    assert record.status == "ok"
    assert record.faces is not None
    assert len(record.faces) == 0
    with pytest.raises(InputError):
        recognize_files(recognizer, [], min_confidence=1.1)


def test_standard_input(recognizer: Recognizer, photos: dict[str, Path]) -> None:
    stream = io.BytesIO(photos["two.png"].read_bytes())
    (record,) = recognize_files(recognizer, ["-"], stdin=stream)
    assert (record.file, record.status) == ("-", "ok")
    (again,) = recognize_files(recognizer, ["-"], stdin=stream)
    assert again.status == "error"
    assert "standard input" in again.message


def test_records_without_image_keep_everything_else(recognizer: Recognizer, photos: dict[str, Path]) -> None:
    (record,) = recognize_files(recognizer, [photos["two.png"]])
    bare = record.without_image()
    assert bare.faces is not None
    assert bare.faces.image is None
    assert bare == record
    assert bare.to_dict() == record.to_dict()


def test_csv_has_a_row_per_face_and_per_file_without_one(recognizer: Recognizer, photos: dict[str, Path]) -> None:
    records = list(recognize_files(recognizer, photos.values()))
    out = io.StringIO()
    write_csv(out, records, FER2013)
    table = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert [row["status"] for row in table] == ["ok", "ok", "no face", "error"]
    assert [row["face"] for row in table] == ["1", "2", "", ""]
    assert [row["label"] for row in table] == ["happy", "sad", "", ""]
    assert float(table[0]["p_happy"]) == float(table[0]["confidence"]) > 0.9
    assert [float(table[1][key]) for key in ("x1", "y1", "x2", "y2")] == [176, 40, 272, 136]
    assert list(table[0]) == list(columns(FER2013))


def test_rows_of_ready_crops_have_empty_boxes(bundle_path: Path) -> None:
    faces = Recognizer(bundle_path, detector=None).classify(np.stack([standin.face("fear")]))
    (row,) = rows(FileRecord("crop.png", "ok", faces), FER2013)
    named = dict(zip(columns(FER2013), row, strict=True))
    assert (named["x1"], named["score"], named["label"], named["decided"]) == (None, None, "fear", True)


def test_drawings_never_take_an_inputs_place(tmp_path: Path, recognizer: Recognizer, photos: dict[str, Path]) -> None:
    taken = tmp_path / "two.faces.png"
    taken.write_bytes(photos["two.png"].read_bytes())
    link = tmp_path / "two-2.faces.png"
    os.link(photos["none.png"], link)
    inputs = [photos["two.png"], taken, photos["none.png"]]
    before = {path: path.read_bytes() for path in [*inputs, link]}
    folder = DrawingFolder(tmp_path, inputs, root=photos["two.png"].parent)
    written = [folder.save(record) for record in recognize_files(recognizer, inputs)]
    assert [path.name for path in written if path] == ["two-3.faces.png", "two.faces.faces.png", "none.faces.png"]
    assert {path: path.read_bytes() for path in before} == before
    with Image.open(tmp_path / "two-3.faces.png") as drawn:
        assert drawn.size == (312, 176)


def test_drawings_of_equal_names_are_kept_apart(tmp_path: Path) -> None:
    folder = DrawingFolder(tmp_path, [])
    names = [folder.path_for(file).name for file in ("a/x.jpg", "b/x.png", "c/X.gif", "-", "-")]
    assert names == ["x.faces.png", "x.faces.png", "X.faces.png", "stdin.faces.png", "stdin-2.faces.png"]
    assert len({folder.path_for(file) for file in ("a/x.jpg", "a/x.jpg")}) == 2


def test_images_that_differ_in_their_endings_keep_them(tmp_path: Path) -> None:
    for name in ("x.jpg", "X.png", "y.jpg", "y.txt"):
        (tmp_path / name).touch()
    for inputs in (None, []):
        folder = DrawingFolder(tmp_path / "out", inputs, root=tmp_path)
        names = [folder.path_for(tmp_path / name).name for name in ("x.jpg", "X.png", "y.jpg")]
        assert names == ["x.jpg.faces.png", "X.png.faces.png", "y.faces.png"]


def test_what_a_killed_run_left_of_a_drawing_goes_when_it_is_drawn(
    tmp_path: Path, recognizer: Recognizer, photos: dict[str, Path]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".two.faces.png.0.part").write_bytes(b"half" * 9999)
    (out / ".other.faces.png.0.part").touch()  # of somebody who is still at it, perhaps
    (record,) = recognize_files(recognizer, [photos["two.png"]])
    DrawingFolder(out, root=photos["two.png"].parent).save(record)
    assert sorted(path.name for path in out.iterdir()) == [".other.faces.png.0.part", "two.faces.png"]


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, recognizer: Recognizer, photos: dict[str, Path]
) -> None:
    (tmp_path / "file").write_text("")
    (record,) = recognize_files(recognizer, [photos["two.png"]])
    with pytest.raises(InputError, match="cannot be written"):
        DrawingFolder(tmp_path / "file").save(record)


def test_errors_are_not_drawn(tmp_path: Path) -> None:
    assert DrawingFolder(tmp_path / "out").save(FileRecord("a.jpg", "error", message="a.jpg is empty")) is None
    assert not (tmp_path / "out").exists()
