from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from mien.datasets import FaceSet, drawn_faces
from mien.datasets.extra_images import ExtraImages, read_manifest
from mien.datasets.extra_manifest import COLUMNS, ExtraImage, read_entries, write_entries
from mien.errors import DataError, DecodeError, InputError
from mien.labels import FER2013


@pytest.fixture(scope="module")
def drawn() -> FaceSet:
    return drawn_faces(140, 3)


def save(path: Path, image: npt.NDArray[np.uint8]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path.name


def manifest(folder: Path, text: str, name: str = "extra.csv") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def changed(face: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """A face with a mark that no drawn face has."""
    out = np.array(face)
    out[:4, :4] = 255 - out[:4, :4]
    return out


def test_images_come_at_the_size_of_the_faces_with_labels_and_names(drawn: FaceSet, tmp_path: Path) -> None:
    own = changed(drawn.train.images[0])
    save(tmp_path / "in" / "a.png", own)
    large = np.repeat(np.repeat(changed(drawn.train.images[8]), 4, 0), 4, 1)
    save(tmp_path / "b.png", np.stack([large] * 3, axis=2))
    path = manifest(
        tmp_path,
        "file,label,data,source_id,generator,psnr,clip_cos,licence\n"
        "in/a.png,disgust,Edits,0,painter 2,31.5,0.25,CC0\n\n"
        '"b.png",fear,"Edits, large",,,,,\n',
    )
    extra = read_manifest(path, drawn)
    assert (len(extra), extra.images.shape, extra.images.dtype) == (2, (2, 48, 48), np.uint8)
    assert np.array_equal(extra.images[0], own), "an image of the right size keeps its pixels"
    assert np.abs(extra.images[1].astype(int) - changed(drawn.train.images[8])).mean() < 12
    assert extra.labels.tolist() == [FER2013.id("disgust"), FER2013.id("fear")]
    assert extra.names == ("Edits", "Edits, large")
    assert extra.sources.tolist() == [0, -1]
    assert not extra.images.flags.writeable
    assert extra.counts()["fear"] == 1
    assert extra.entries[0] == ExtraImage("in/a.png", "disgust", "Edits", 0, "painter 2", 31.5, 0.25, "", "CC0", line=2)
    info = json.loads(json.dumps(extra.info()))
    assert (info["images"], info["without_source"], info["licences"]) == (2, 1, {"CC0": 1, "not stated": 1})


def test_colour_face_sets_get_colour(drawn: FaceSet, tmp_path: Path) -> None:
    images = np.stack([drawn._images] * 3, axis=3)
    colour = FaceSet.from_arrays("colour", FER2013, images, drawn._labels, drawn.splits)
    save(tmp_path / "a.png", np.full((96, 96, 3), (250, 20, 30), np.uint8))
    extra = read_manifest(manifest(tmp_path, "file,label,data\na.png,happy,Red\n"), colour)
    assert extra.images.shape == (1, 48, 48, 3)
    assert extra.images[0, 5, 5].tolist() == [250, 20, 30]


def test_json_lines_say_the_same_as_a_csv(drawn: FaceSet, tmp_path: Path) -> None:
    save(tmp_path / "a.png", changed(drawn.train.images[3]))
    entry = ExtraImage("a.png", "sad", "Edits", 3, psnr=20.0, clip_label="sad", note="um, ja")
    found = []
    for name in ("extra.csv", "extra.jsonl"):
        write_entries(tmp_path / name, [entry])
        found.append(read_manifest(tmp_path / name, drawn))
    assert found[0].fingerprint == found[1].fingerprint
    assert [e.note for e in (*found[0].entries, *found[1].entries)] == ["um, ja", "um, ja"]


def test_the_fingerprint_follows_pixels_labels_and_names(drawn: FaceSet, tmp_path: Path) -> None:
    def read(label: str = "sad", data: str = "Edits", face: int = 3) -> str:
        save(tmp_path / "a.png", changed(drawn.train.images[face]))
        return read_manifest(manifest(tmp_path, f"file,label,data\na.png,{label},{data}\n"), drawn).fingerprint

    prints = [read(), read(label="fear"), read(data="Others"), read(face=4)]
    assert len(set(prints)) == 4
    assert read() == prints[0]


@pytest.mark.parametrize("split", ["selection", "test"])
def test_sources_that_are_measured_on_are_refused_with_their_rows(drawn: FaceSet, tmp_path: Path, split: str) -> None:
    rows = drawn.rows(split)[:2]
    save(tmp_path / "a.png", changed(drawn.train.images[0]))
    save(tmp_path / "b.png", changed(drawn.train.images[1]))
    save(tmp_path / "c.png", changed(drawn.train.images[2]))
    path = manifest(
        tmp_path,
        f"file,label,data,source_id\na.png,sad,Edits,0\nb.png,sad,Edits,{rows[0]}\nc.png,sad,Edits,{rows[1]}\n",
    )
    with pytest.raises(DataError, match=rf"line 3: refused: 2 images .* of {split} .*{rows[0]}, {rows[1]}"):
        read_manifest(path, drawn)


def test_sources_in_both_sealed_splits_are_all_named(drawn: FaceSet, tmp_path: Path) -> None:
    one, other = (drawn.rows(split)[0] for split in ("selection", "test"))
    save(tmp_path / "a.png", changed(drawn.train.images[0]))
    save(tmp_path / "b.png", changed(drawn.train.images[1]))
    path = manifest(tmp_path, f"file,label,data,source_id\na.png,sad,Edits,{other}\nb.png,sad,Edits,{one}\n")
    said = rf"line 2: refused: 1 image was .* of selection .*{one}, and 1 image was .* of test .*{other}; make images"
    with pytest.raises(DataError, match=said):
        read_manifest(path, drawn)


@pytest.mark.parametrize("split", ["selection", "test"])
@pytest.mark.parametrize("mirrored", [False, True])
def test_copies_of_faces_that_are_measured_on_are_refused(
    drawn: FaceSet, tmp_path: Path, split: str, mirrored: bool
) -> None:
    row = int(drawn.rows(split)[1])
    face = np.array(drawn.all_rows().images[row])
    save(tmp_path / "a.png", face[:, ::-1] if mirrored else face)
    path = manifest(tmp_path, "file,label,data,source_id\na.png,sad,Edits,0\n")
    with pytest.raises(DataError, match=rf"line 2: refused: 1 images are exact copies.*row {row} \(a\.png\)"):
        read_manifest(path, drawn)


def test_copies_of_training_faces_are_not_refused_but_found(drawn: FaceSet, tmp_path: Path) -> None:
    save(tmp_path / "a.png", changed(drawn.train.images[1]))
    save(tmp_path / "b.png", np.array(drawn.train.images[4]))
    save(tmp_path / "c.png", np.array(drawn.train.images[9][:, ::-1]))
    extra = read_manifest(manifest(tmp_path, "file,label,data\na.png,sad,C\nb.png,sad,C\nc.png,sad,C\n"), drawn)
    assert extra.copies_of(drawn.train.images) == [(1, 4), (2, 9)]
    assert extra.copies_of(drawn.train.images[5:]) == [(2, 4)]
    assert extra.data_fingerprint == drawn.fingerprint


def test_face_sets_that_cannot_be_checked_against_are_refused(drawn: FaceSet, tmp_path: Path) -> None:
    save(tmp_path / "a.png", changed(drawn.train.images[0]))
    path = manifest(tmp_path, "file,label,data,source_id\na.png,sad,Edits,0\n")
    with pytest.raises(InputError, match="give the whole face set"):
        read_manifest(path, drawn.without_test())
    shuffled = FaceSet(**{**vars(drawn), "info": {"order": "not as published"}})
    with pytest.raises(InputError, match="not in the published order"):
        read_manifest(path, shuffled)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is missing; a manifest has file"),
        ("file,label,data\n", "names no image"),
        ("file,label\na.png,sad\n", "line 1: data is missing"),
        ("file,label,data,source\na.png,sad,E,3\n", "line 1: a manifest has no 'source'; did you mean 'source_id'"),
        ("file,label,data,data\na.png,sad,E,E\n", "a column stands twice"),
        ("file,label,data\na.png,sad\n", "line 2: it has 2 fields and the header 3"),
        ("file,label,data\na.png,sad,E,F\n", "line 2: it has 4 fields and the header 3"),
        ('file,label,data\n"a.png,sad,E\n', "line 2: it is no csv here"),
        ("file,label,data\na.png,4,E\n", "line 2: the label '4' does not exist; known: angry"),
        ("file,label,data\na.png,hapy,E\n", "line 2: the label 'hapy' does not exist; did you mean 'happy'"),
        ("file,label,data\na.png,,E\n", "line 2: label is empty"),
        ("file,label,data,source_id\na.png,sad,E,1.5\n", "source_id is 1.5; write the row number"),
        ("file,label,data,source_id\na.png,sad,E,-1\n", "source_id is '-1'; write a number from 0"),
        ("file,label,data,source_id\na.png,sad,E,nan\n", "source_id is 'nan'"),
        ("file,label,data,source_id\na.png,sad,E,140\n", "line 2: drawn has no row 140; .* from 0 to 139"),
        ("file,label,data,clip_cos\na.png,sad,E,1.2\n", "clip_cos is '1.2'; write a number from -1 to 1"),
        ("file,label,data\na.png,sad,E\na.png,fear,E\n", "line 3: a.png stands in line 2 already"),
        ("file,label,data\n../a.png,sad,E\n", "no file inside the manifest's folder"),
        ("file,label,data\n/etc/passwd,sad,E\n", "no file inside the manifest's folder"),
        ("file,label,data\nC:/a.png,sad,E\n", "no file inside the manifest's folder"),
        ("file,label,data\nlink/a.png,sad,E\n", "no file inside the manifest's folder"),
        ("file,label,data\nb.png,sad,E\n", r"line 2: b\.png is no file beside the manifest"),
        ("file,label,data\ntext.png,sad,E\n", r"line 2: text\.png is no JPEG, PNG"),
        ("file,label,data\nwide.png,sad,E\n", "line 2: wide.png has 60 × 48 pixels; cut the face out as a square"),
        ("file,label,data\nhuge.png,sad,E\n", "line 2: huge.png has 5000 × 5000 pixels, more than"),
        ('{"file": "a.png", "label": "sad"}\n', "line 1: data is missing"),
        ('{"file": "a.png", "label": "sad", "data": "E"}\n{"file": \n', "line 2: it is no JSON object"),
        ('{"file": "a.png", "label": "sad", "data": "E"}\n[1]\n', "line 2: it is no JSON object"),
        ('{"file": 3, "label": "sad", "data": "E"}\n', "file is 3; write text"),
        ('{"file": "a.png", "label": "sad", "data": "E", "source_id": true}\n', "source_id is 'True'"),
    ],
)  # fmt: skip
def test_broken_manifests_say_what_and_where(
    drawn: FaceSet, tmp_path_factory: pytest.TempPathFactory, text: str, message: str
) -> None:
    folder, elsewhere = tmp_path_factory.mktemp("manifest"), tmp_path_factory.mktemp("elsewhere")
    save(folder / "a.png", changed(drawn.train.images[0]))
    save(elsewhere / "a.png", changed(drawn.train.images[0]))
    save(folder / "wide.png", np.zeros((48, 60), np.uint8))
    (folder / "text.png").write_text("not a picture")
    (folder / "link").symlink_to(elsewhere)
    if "huge" in text:
        save(folder / "huge.png", np.zeros((5000, 5000), np.uint8))
    with pytest.raises((DataError, DecodeError), match=message):
        read_manifest(manifest(folder, text), drawn)


def test_manifests_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(tmp_path, "file,label,data\n" + "".join(f"{i}.png,sad,E\n" for i in range(30)))
    assert len(read_entries(path, FER2013)) == 30
    monkeypatch.setattr("mien.datasets.extra_manifest.MAX_IMAGES", 29)
    with pytest.raises(DataError, match="line 31: it names more than 29 images"):
        read_entries(path, FER2013)
    monkeypatch.setattr("mien.datasets.extra_manifest.MAX_BYTES", 20)
    with pytest.raises(DataError, match="it is larger than"):
        read_entries(path, FER2013)
    with pytest.raises(DataError, match="cannot be read"):
        read_entries(tmp_path / "no.csv", FER2013)
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="UTF-8"):
        read_entries(tmp_path / "bytes.csv", FER2013)


def test_a_byte_order_mark_and_dos_lines_are_harmless(tmp_path: Path) -> None:
    (tmp_path / "extra.csv").write_bytes("\ufefffile,label,data\r\nä.png,sad,E\r\n".encode())
    assert read_entries(tmp_path / "extra.csv", FER2013)[0].file == "ä.png"
    assert COLUMNS[:3] == ("file", "label", "data")


def test_reading_tells_how_far_it_is(drawn: FaceSet, tmp_path: Path) -> None:
    lines = [f"{save(tmp_path / f'{i}.png', changed(drawn.train.images[i]))},sad,E" for i in range(70)]
    told: list[tuple[int, int]] = []
    path = manifest(tmp_path, "\n".join(["file,label,data", *lines]))
    extra: ExtraImages = read_manifest(path, drawn, progress=lambda done, total: told.append((done, total)))
    assert len(extra) == 70
    assert told == [(64, 70), (70, 70)]
