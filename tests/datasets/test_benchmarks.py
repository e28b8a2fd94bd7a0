"""The other data sets in each form they travel in, whole and broken."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import benchmarks_on_disk as made
import numpy as np
import pytest
from faces_on_disk import write_folder, write_tar, write_zip

from mien.datasets import DATASETS, FaceSet, import_dataset, load_dataset
from mien.datasets.disk import open_face_set, write_face_set
from mien.datasets.faceset import UNLABELLED
from mien.datasets.readers import records
from mien.datasets.report import check, describe, list_datasets
from mien.errors import DataError
from mien.faces.detect import Detections
from mien.labels import AFFECTNET, CKPLUS_PEAK, FER2013, FERPLUS, JAFFE, RAFDB

COPIES: dict[str, tuple[str, Callable[[], made.Files]]] = {
    "jaffe": ("jaffe", made.jaffe),
    "jaffe by class": ("jaffe", lambda: made.jaffe(by_class=True)),
    "ckplus": ("ckplus", made.ckplus),
    "ck48": ("ckplus", made.ck48),
    "ferg": ("ferg", made.ferg),
    "rafdb": ("rafdb", made.rafdb),
    "rafdb tables": ("rafdb", lambda: made.rafdb("csv")),
    "rafdb folders": ("rafdb", lambda: made.rafdb("folders")),
    "affectnet": ("affectnet", made.affectnet),
    "affectnet npy": ("affectnet", lambda: made.affectnet("npy")),
    "affectnet folders": ("affectnet", lambda: made.affectnet("folders")),
    "expw": ("expw", made.expw),
    "folder": ("folder", lambda: made.folder(FER2013)),
    "folder with contempt": ("folder", lambda: made.folder(FERPLUS, ("",))),
}


class Middle:
    """Finds one face in the middle of every picture."""

    def detect(self, image: np.ndarray) -> Detections:
        height, width = image.shape[:2]
        return Detections([[width / 8, height / 8, width * 7 / 8, height * 7 / 8]], [0.9])


@pytest.fixture(autouse=True)
def middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "open_detector", Middle)


def read(name: str, files: made.Files, tmp_path: Path) -> FaceSet:
    entry = DATASETS[name]
    assert entry.read is not None
    return entry.read(write_folder(files, tmp_path / "copy"), None)


def counts(face_set: FaceSet) -> dict[str, list[int]]:
    return {
        name: np.bincount(face_set._labels[face_set.rows(name)], minlength=len(face_set.label_set)).tolist()
        for name in face_set.split_names
    }


@pytest.mark.parametrize("copy", COPIES)
def test_a_folder_a_zip_and_a_tar_hold_the_same(copy: str, tmp_path: Path) -> None:
    name, make = COPIES[copy]
    files = {**make(), ".DS_Store": b"litter", "__MACOSX/._x.png": b"litter"}
    face_set = read(name, files, tmp_path)
    assert (face_set.name, UNLABELLED in face_set._labels) == (name, False)
    entry = DATASETS[name]
    assert entry.read is not None
    for source in (write_zip(files, tmp_path / "a.zip"), write_tar(files, tmp_path / "a.tar.gz")):
        again = entry.read(source, None)
        assert again.fingerprint == face_set.fingerprint
        assert {key: its.names for key, its in again.attributes.items()} == {
            key: its.names for key, its in face_set.attributes.items()
        }
        assert (Path(again.info["source"]), again.info["format"]) == (source, face_set.info["format"])
    # Rows of one split lie together, so that a split of a stored set is a view of the map.
    assert (np.diff(face_set.splits.astype(int)) >= 0).all()
    stored = write_face_set(face_set, tmp_path / "stored")
    opened = open_face_set(tmp_path / "stored")
    assert stored.fingerprint == opened.fingerprint == face_set.fingerprint
    for key, attribute in face_set.attributes.items():
        assert opened.attributes[key].names == attribute.names
        assert np.array_equal(opened.attributes[key].values, attribute.values)


def test_jaffe_says_what_its_names_say(tmp_path: Path) -> None:
    face_set = read("jaffe", made.jaffe(), tmp_path)
    assert counts(face_set) == {"all": [3] * 7}
    assert face_set.image_shape == (112, 112)
    subject = face_set.attributes["subject"]
    assert subject.names == ("KA", "KL", "KM")
    assert np.bincount(subject.values).tolist() == [7, 7, 7]
    said = " ".join(face_set.info["notes"])
    assert "3 angry (not 30), 3 disgust (not 29)" in said
    assert "It shows 3 subjects, 10 are published." in said


def test_the_face_is_cut_out_of_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    middle = read("jaffe", made.jaffe(), tmp_path)._images
    whole = Detections([[0, 0, 96, 96]], [0.9])
    monkeypatch.setattr(records, "open_detector", lambda: type("All", (), {"detect": lambda self, image: whole})())
    assert not np.array_equal(middle, read("jaffe", made.jaffe(), tmp_path)._images)
    nothing = Detections.empty()
    monkeypatch.setattr(records, "open_detector", lambda: type("No", (), {"detect": lambda self, image: nothing})())
    face_set = read("jaffe", made.jaffe(), tmp_path)
    said = "In 21 pictures no face was found, so they are whole: KA.AN1.1.tiff, KA.DI1.2.tiff, KA.FE1.3.tiff, …."
    assert said in face_set.info["notes"]
    assert not any("no face was found" in note for note in read("ckplus", made.ckplus(), tmp_path / "x").info["notes"])


def test_the_first_frame_is_neutral_and_the_last_three_show_the_expression(tmp_path: Path) -> None:
    face_set = read("ckplus", made.ckplus(), tmp_path)
    # Seven labelled sequences of each of three people; the eighth has no label.
    assert counts(face_set) == {"all": [21, 9, 9, 9, 9, 9, 9, 9]}
    assert face_set.attributes["subject"].names == ("S005", "S006", "S007")
    assert "3 sequences have no label and were left out." in face_set.info["notes"]
    without = read("ckplus", made.ckplus(landmarks=False), tmp_path / "second")
    assert counts(without) == counts(face_set)
    assert without.fingerprint != face_set.fingerprint


def test_ck48_has_no_neutral(tmp_path: Path) -> None:
    face_set = read("ckplus", made.ck48(), tmp_path)
    assert face_set.label_set == CKPLUS_PEAK
    assert counts(face_set) == {"all": [6] * 7}
    assert face_set.image_shape == (48, 48)
    assert face_set.attributes["subject"].names == ("S010", "S011", "S012")
    assert not any("neutral" in note for note in face_set.info["notes"])


def test_pictures_of_the_right_size_stay_as_they_are(tmp_path: Path) -> None:
    face_set = read("ckplus", {"anger/S010_004_00000017.png": made.picture("angry", 3, "PNG", 48, True)}, tmp_path)
    face = made.draw_face("angry", size=48, person=3)
    grey = np.asarray(made.Image.fromarray(face).convert("L"))
    assert np.array_equal(face_set._images[0], grey)


@pytest.mark.parametrize("layout", ["list", "csv", "folders"])
def test_rafdb_keeps_a_tenth_of_train_for_selection(layout: str, tmp_path: Path) -> None:
    face_set = read("rafdb", made.rafdb(layout), tmp_path)
    assert face_set.roles == ("train", "selection", "test")
    by_split = counts(face_set)
    assert by_split["test"] == [1] * 7
    assert (np.array(by_split["train"]) + by_split["selection"]).tolist() == [4] * 7
    assert 0 < sum(by_split["selection"]) < 10
    assert face_set.label_set == RAFDB
    assert "Split 'train' has 4 surprise (not 1,290)" in face_set.info["notes"][0]
    if layout == "list":
        assert face_set.attributes["gender"].names == ("female", "male")
        assert face_set.attributes["age"].names == ("20-39",)


def test_all_forms_of_affectnet_hold_the_same_labels(tmp_path: Path) -> None:
    found = {
        layout: read("affectnet", made.affectnet(layout), tmp_path / layout) for layout in ("csv", "npy", "folders")
    }
    for face_set in found.values():
        assert face_set.label_set == AFFECTNET
        by_split = counts(face_set)
        assert by_split["validation"] == [2] * 8
        assert (np.array(by_split["train"]) + by_split.get("selection", [0] * 8)).tolist() == [10] * 8
    assert "2 faces are labelled none, uncertain or no face, and were left out." in found["csv"].info["notes"]
    assert found["csv"].fingerprint != found["npy"].fingerprint  # the boxes of the full set are cut out


def test_the_faces_of_a_photograph_of_expw_stay_together(tmp_path: Path) -> None:
    face_set = read("expw", made.expw(), tmp_path)
    assert len(face_set) == 80
    assert face_set.roles == ("train", "selection", "test")
    assert all(len(face_set.rows(name)) % 2 == 0 for name in face_set.split_names)
    assert face_set.attributes["confidence"].names == ("40-60", "60-80")
    assert not np.array_equal(face_set._images[0], face_set._images[1])  # two boxes of one photograph
    assert "There are 80 faces, 91,793 are published." in face_set.info["notes"]


def test_own_folders(tmp_path: Path) -> None:
    face_set = read("folder", made.folder(FER2013), tmp_path)
    assert counts(face_set) == {"train": [1] * 7, "selection": [1] * 7, "test": [1] * 7}
    assert face_set.attributes["subject"].names == ("p0", "p1", "p2")
    pool = read("folder", made.folder(FERPLUS, ("",), subjects=False), tmp_path / "second")
    assert (pool.label_set, pool.roles, pool.attributes) == (FERPLUS, ("train",), {})


def test_a_class_without_faces_is_told(tmp_path: Path) -> None:
    files = {name: data for name, data in made.ferg().items() if "_joy_" not in name}
    assert "No face is labelled happy." in read("ferg", files, tmp_path).info["notes"]


@pytest.mark.parametrize(
    ("name", "make"),
    [("rafdb", lambda end: made.rafdb("list", end)), ("rafdb", lambda end: made.rafdb("csv", end)),
     ("affectnet", lambda end: made.affectnet("csv", end)), ("expw", made.expw)],
)  # fmt: skip
def test_windows_line_ends_change_nothing(name: str, make: Callable[[str], made.Files], tmp_path: Path) -> None:
    one, other = read(name, make("\n"), tmp_path / "n"), read(name, make("\r\n"), tmp_path / "rn")
    assert one.fingerprint == other.fingerprint


LIST = "basic/EmoLabel/list_patition_label.txt"


def _without(files: made.Files, *parts: str) -> made.Files:
    return {name: data for name, data in files.items() if not any(part in name for part in parts)}


def _line(files: made.Files, name: str, number: int, line: bytes) -> made.Files:
    lines = files[name].split(b"\n")
    lines[number - 1] = line
    return {**files, name: b"\n".join(lines)}


def _renamed(files: made.Files, old: str, new: str) -> made.Files:
    return {name.replace(old, new): data for name, data in files.items()}


BROKEN: dict[str, tuple[str, Callable[[], made.Files], str]] = {
    "rafdb: no label file": (
        "rafdb", lambda: _without(made.rafdb(), LIST),
        r"test_0001_aligned\.jpg: neither list_patition_label\.txt nor folders .* put the authors' list",
    ),
    "rafdb: one table missing": (
        "rafdb", lambda: _without(made.rafdb("csv"), "test_labels"), "there is train_labels.csv but no test_labels.csv",
    ),
    "rafdb: label without image": (
        "rafdb", lambda: _without(made.rafdb(), "test_0003_al", "test_0004_al"),
        r"list_patition_label\.txt, line 31: there is no picture 'test_0003_aligned\.jpg' \(2 of 35 are missing",
    ),
    "rafdb: image without label": (
        "rafdb", lambda: _line(made.rafdb(), LIST, 2, b""), r"train_00002_aligned\.jpg: no list labels it \(1 pictures",
    ),
    "rafdb: wrong label": (
        "rafdb", lambda: _line(made.rafdb(), LIST, 5, b"train_00005.jpg 8"), r"line 5: 'train_00005\.jpg 8' is no name",
    ),
    "rafdb: labelled twice": (
        "rafdb", lambda: _line(made.rafdb(), LIST, 5, b"train_00004.jpg 1"), r"line 5: train_00004 was labelled before",
    ),
    "rafdb: wrong encoding": (
        "rafdb", lambda: _line(made.rafdb(), LIST, 7, b"tr\xe4in_00007.jpg 1"), "line 7: the line is no UTF-8 text",
    ),
    "rafdb: UTF-16": (
        "rafdb", lambda: {**made.rafdb(), LIST: made.rafdb()[LIST].decode().encode("utf-16")}, "line 1: it is UTF-16",
    ),
    "rafdb: attribute": (
        "rafdb", lambda: _line(made.rafdb(), "basic/Annotation/manual/train_00003_manu_attri.txt", 6, b"9"),
        r"train_00003_manu_attri\.txt, line 6: gender is '9'",
    ),
    "rafdb: damaged picture": (
        "rafdb", lambda: {**made.rafdb(), "basic/Image/aligned/train_00001_aligned.jpg": b"\xff\xd8\xff\xe0nothing"},
        r"train_00001_aligned\.jpg: the picture cannot be read",
    ),
    "affectnet: one table missing": (
        "affectnet", lambda: _without(made.affectnet(), "validation.csv"), "there is no validation.csv",
    ),
    "affectnet: label without image": (
        "affectnet", lambda: _without(made.affectnet(), "train3.jpg"),
        r"training\.csv, line 5: there is no picture '0/train3",
    ),
    "affectnet: expression": (
        "affectnet", lambda: _line(made.affectnet(), "training.csv", 4, b"2/train2.jpg,4,4,60,60,,joy,0,0"),
        r"training\.csv, line 4: box or expression is no number",
    ),
    "affectnet: cut off": (
        "affectnet", lambda: _line(made.affectnet(), "training.csv", 4, b"2/train2.jpg,4,4"),
        "line 4: the line has 3 of 9 fields",
    ),
    "affectnet: image without annotation": (
        "affectnet", lambda: _without(made.affectnet("npy"), "val_set/annotations/3_exp"),
        r"val_set/images/3\.jpg: no annotation labels it",
    ),
    "affectnet: annotation without image": (
        "affectnet", lambda: _without(made.affectnet("npy"), "val_set/images/3."),
        r"3_exp\.npy: there is no picture 'val_set/images/3\.jpg'",
    ),
    "expw: no list": ("expw", lambda: _without(made.expw(), "label.lst"), "there is no label.lst in it; mien reads"),
    "expw: line": ("expw", lambda: _line(made.expw(), "label.lst", 3, b"x.jpg 0 1 2"),
        "line 3: 'x.jpg 0 1 2' is no line"),
    "expw: empty box": (
        "expw", lambda: _line(made.expw(), "label.lst", 3, b"x.jpg 0 10 20 20 40 50 1"), "line 3: the box from 20, 10",
    ),
    "expw: box outside": (
        "expw", lambda: {**made.expw(), "label.lst": b"angry_african_1.jpg 0 100 100 120 120 50 1\n"},
        r"label\.lst, line 1: the box .* lies outside the image",
    ),
    "expw: photograph missing": (
        "expw", lambda: _without(made.expw(), "african_7."),
        r"label\.lst, line \d+: there is no picture 'angry_african_7\.jpg'",
    ),
    "ckplus: no labels": (
        "ckplus", lambda: _without(made.ckplus(), "Emotion/"),
        r"no file ends in _emotion\.txt; put the authors' folder Emotion",
    ),
    "ckplus: label without frames": (
        "ckplus", lambda: _without(made.ckplus(), "images/S006/002"),
        r"S006_002_00000005_emotion\.txt, line 1: the sequence S006/002 that it labels has 0 frames",
    ),
    "ckplus: label": (
        "ckplus", lambda: {**made.ckplus(), "Emotion/S005/002/S005_002_00000005_emotion.txt": b"  8.0000000e+00\n"},
        r"emotion\.txt, line 1: '8\.0000000e\+00' is no label",
    ),
    "ckplus: empty label": (
        "ckplus", lambda: {**made.ckplus(),
        "Emotion/S005/002/S005_002_00000005_emotion.txt": b""}, "line 1: it is empty",
    ),
    "ck48: folder": (
        "ckplus", lambda: _renamed(made.ck48(), "/disgust/", "/disgusto/"),
        "'disgusto' is no expression of CK.48; did you mean",
    ),
    "jaffe: name": (
        "jaffe", lambda: _renamed(made.jaffe(), "KA.AN1.1.", "portrait."), r"portrait\.tiff: its name says neither",
    ),
    "jaffe: folder against name": (
        "jaffe", lambda: _renamed(made.jaffe(by_class=True), "angry/KA", "happy/KA"),
        "lies in 'happy', but its name says angry",
    ),
    "jaffe: twice": (
        "jaffe", lambda: {**made.jaffe(), **made.jaffe(by_class=True)}, "it is there twice, also as",
    ),
    "jaffe: nothing": ("jaffe", lambda: {"readme.txt": b"hello"}, "there is no picture in it; mien reads"),
    "ferg: character": ("ferg", lambda: _renamed(made.ferg(), "bonnie", "bonny"),
        "no character .* did you mean 'bonnie'"),
    "ferg: expression": ("ferg", lambda: _renamed(made.ferg(), "ray_joy", "ray_boredom"), "no expression of FERG-DB"),
    "folder: expression": (
        "folder", lambda: _renamed(made.folder(FER2013, subjects=False), "happy", "hapy"), "did you mean 'happy'",
    ),
    "folder: subject in two splits": (
        "folder", lambda: _line(made.folder(FER2013), "attributes.csv", 9, b"selection/angry/10.png,p0,20"),
        r"attributes\.csv, line 9: subject 'p0' is in two splits, train .* and selection",
    ),
    "folder: line without picture": (
        "folder", lambda: _without(made.folder(FER2013), "test/sad/"),
        r"attributes\.csv, line 20: there is no picture 'test/sad",
    ),
    "folder: picture without line": (
        "folder", lambda: _line(made.folder(FER2013), "attributes.csv", 9, b""), "it says nothing of 1 pictures",
    ),
    "folder: outside of the splits": (
        "folder", lambda: {**made.folder(FER2013, subjects=False), "sad/x.png": made.picture("sad", 77)},
        r"sad/x\.png: it lies in no split, while others",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_broken_is_one_sentence_with_its_place(case: str, tmp_path: Path) -> None:
    name, make, said = BROKEN[case]
    with pytest.raises(DataError) as caught:
        read(name, make(), tmp_path)
    message = str(caught.value)
    assert re.search(said, message), message
    assert message.startswith(str(tmp_path / "copy"))
    assert "\n" not in message


@pytest.mark.usefixtures("mien_cache")
def test_import_list_info_and_check(tmp_path: Path) -> None:
    source = write_folder(made.jaffe(), tmp_path / "jaffe")
    face_set = import_dataset("jaffe", source)
    assert load_dataset("jaffe").fingerprint == load_dataset("jaffe", source).fingerprint == face_set.fingerprint
    report = check("jaffe")
    assert len(report["findings"]) == 2
    assert report["card"]["counts"][0]["all"]["angry"] == 30
    assert check("jaffe", source)["findings"] == report["findings"]
    assert describe(face_set)["attributes"]["subject"] == {"KA": 7, "KL": 7, "KM": 7}
    entry = next(entry for entry in list_datasets() if entry["name"] == "jaffe")
    assert entry["imported"] == [str(source)]
    assert entry["card"]["labels"] == list(JAFFE.labels)


def test_large_sets_are_read_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mien_cache: Path) -> None:
    small = read("ferg", made.ferg(), tmp_path)
    monkeypatch.setattr(records, "IN_MEMORY", 1000)
    large = read("ferg", made.ferg(), tmp_path)
    assert large.fingerprint == small.fingerprint
    assert isinstance(large._images.base, np.memmap)
    assert not [path for path in mien_cache.rglob("*") if path.is_file()]


@pytest.mark.parametrize("name", [name for name, entry in DATASETS.items() if entry.card])
def test_cards_are_whole(name: str) -> None:
    card = DATASETS[name].card
    assert card is not None
    for table in card.counts:
        for classes in table.values():
            assert set(classes) <= set(card.label_set.labels)
    assert all((card.title, card.licence, card.obtain, card.layouts, card.splits))
    totals = {"ckplus": 1308, "jaffe": 213, "rafdb": 15_339, "affectnet": 291_651, "ferg": 55_767, "expw": 91_793}
    if name in totals:
        assert totals[name] == card.faces or sum(sum(c.values()) for c in card.counts[0].values()) == totals[name]
