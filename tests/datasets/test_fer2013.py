from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from faces_on_disk import USAGES, Faces, write_folder, write_tar, write_zip
from PIL import Image

from mien.datasets import UNLABELLED, FaceSet, import_dataset, load_dataset
from mien.datasets.fer2013 import read_fer2013
from mien.errors import DataError, MienError, SealedSplitError
from mien.results import Ledger


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


LAYOUTS = {
    "fer2013.csv": lambda f, p: write(p / "fer2013.csv", f.csv()),
    "another name": lambda f, p: write(p / "faces.txt", f.csv()),
    "icml_face_data.csv": lambda f, p: write(p / "icml_face_data.csv", f.csv("emotion, Usage, pixels")),
    "npz": lambda f, p: f.npz(p / "fer2013.npz"),
    "folder with the csv": lambda f, p: write_folder({"fer2013/README": b"x", "fer2013/fer2013.csv": f.csv()}, p / "d"),
    "zip of csv": lambda f, p: write_zip({"fer2013.csv": f.csv()}, p / "a.zip"),
    "tar.gz of csv": lambda f, p: write_tar({"fer2013/fer2013.csv": f.csv(), "fer2013/README": b"x"}, p / "a.tar.gz"),
    "zip of icml": lambda f, p: write_zip({"x/icml_face_data.csv": f.csv("emotion, Usage, pixels")}, p / "a.zip"),
    "tar.gz of npz": lambda f, p: write_tar({"d/a.npz": f.npz(p / "a.npz").read_bytes()}, p / "a.tar.gz"),
    "challenge": lambda f, p: write_zip(
        {
            "train.csv": b"emotion,pixels\n",
            "test.csv": b"pixels\n",
            "icml_face_data.csv": f.csv("emotion, Usage, pixels"),
            "fer2013.tar.gz": b"not looked at",
        },
        p / "challenge.zip",
    ),
    "folders": lambda f, p: write_folder(f.pictures(), p / "archive"),
    "folders, deeper": lambda f, p: write_folder(f.pictures(), p / "archive" / "images").parent,
    "zip of folders": lambda f, p: write_zip({**f.pictures(), "__MACOSX/train/angry/._a.png": b"x"}, p / "f.zip"),
    "tar.gz of folders": lambda f, p: write_tar({f"x/{k}": v for k, v in f.pictures().items()}, p / "f.tar.gz"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_face_set(layout: str, faces: Faces, tmp_path: Path) -> None:
    got = read_fer2013(LAYOUTS[layout](faces, tmp_path))
    want = FaceSet.from_arrays(
        "fer2013", got.label_set, faces.images, faces.labels, faces.usage, USAGES, ("train", "selection", "test")
    )
    assert got.fingerprint == want.fingerprint
    np.testing.assert_array_equal(got.all_rows().images, faces.images)
    np.testing.assert_array_equal(got.train.labels, faces.labels[faces.usage == 0])
    np.testing.assert_array_equal(got.selection.images, faces.images[faces.usage == 1])
    assert (got.info["official_content"], got.info["official_file"]) == (False, None)
    assert got.info["images_differ"] == len(faces.images)
    assert not got.info["lossy"]


def test_folders_in_another_order_say_so(faces: Faces, tmp_path: Path) -> None:
    got = read_fer2013(write_folder(faces.pictures(names="split"), tmp_path / "f"))
    assert got.split_names == USAGES
    assert "not as published" in got.info["order"]
    assert "order of the rows differs" in " ".join(got.info["notes"])
    for split in ("train", "selection"):
        mine = getattr(got, split)
        chosen = faces.usage == USAGES.index(mine.name)
        assert sorted(image.tobytes() for image in mine.images) == sorted(i.tobytes() for i in faces.images[chosen])


def test_the_order_of_an_archive_does_not_matter(faces: Faces, tmp_path: Path) -> None:
    files = faces.pictures(names="plain")
    one = read_fer2013(write_zip(files, tmp_path / "a.zip"))
    other = read_fer2013(write_tar(files, tmp_path / "b.tar.gz"))
    assert one.fingerprint == other.fingerprint


def test_a_merged_test_split_is_flagged_and_cannot_pass_for_private_test(faces: Faces, tmp_path: Path) -> None:
    got = read_fer2013(write_folder(faces.pictures(names="plain"), tmp_path / "f"))
    assert (got.split_names, got.roles) == (("Training", "Test"), ("train", "test"))
    assert "fer2013/private@1" in got.info["notes"][0]
    with pytest.raises(DataError, match=r"no selection split.*merged"):
        _ = got.selection

    ledger = Ledger(tmp_path / "ledger.jsonl")
    opening = ledger.open_split("own/test@1", "PrivateTest", "x", "run", "00", "00", "one", got.fingerprint)
    with pytest.raises(SealedSplitError, match="cannot stand in"):
        got.test.open(opening)


def test_one_name_without_split_merges_all(faces: Faces, tmp_path: Path) -> None:
    files = faces.pictures()
    name = next(name for name in files if "PublicTest" in name)
    files["test/happy/im.png"] = files.pop(name)
    got = read_fer2013(write_folder(files, tmp_path / "f"))
    assert got.split_names == ("Training", "Test")
    assert len(got.test) == int((faces.usage > 0).sum())


def test_jpeg_copies_are_flagged(faces: Faces, tmp_path: Path) -> None:
    got = read_fer2013(write_folder(faces.pictures(suffix="jpg", names="split"), tmp_path / "f"))
    assert got.info["lossy"]
    assert got.info["format"] == "folders of JPEG"
    assert "JPEG" in " ".join(got.info["notes"])


def test_class_names_and_kinds_of_png(faces: Faces, tmp_path: Path) -> None:
    renamed = {"angry": "Anger", "happy": "happiness", "surprise": "surprised", "fear": "fearful"}
    files = {}
    for name, data in faces.pictures().items():
        split, label, file = name.split("/")
        out = io.BytesIO()
        Image.open(io.BytesIO(data)).convert("RGB" if label == "sad" else "L").save(out, "PNG")
        files[f"{split}/{renamed.get(label, label)}/{file}"] = out.getvalue()
    got = read_fer2013(write_folder(files, tmp_path / "f"))
    np.testing.assert_array_equal(got.all_rows().images, faces.images)


def test_the_two_files_of_the_challenge(faces: Faces, tmp_path: Path) -> None:
    train, test = Faces(14, seed=1), Faces(7, seed=2)
    source = write_folder({"train.csv": train.csv("emotion,pixels"), "test.csv": test.csv("pixels")}, tmp_path / "c")
    got = read_fer2013(source)
    assert (got.split_names, len(got.train), len(got.test)) == (("Training", "Test"), 14, 7)
    assert "neither labels nor Usage" in got.info["notes"][0]
    assert set(got._labels[14:]) == {UNLABELLED}

    ledger = Ledger(tmp_path / "ledger.jsonl")
    opening = ledger.open_split("own/test@1", "Test", "x", "run", "00", "00", "one", got.fingerprint)
    with pytest.raises(DataError, match="no labels"):
        got.test.open(opening)
    alone = read_fer2013(source / "train.csv")
    assert alone.split_names == ("Training",)
    with pytest.raises(DataError, match="no test split"):
        _ = alone.test
    assert read_fer2013(source / "test.csv").split_names == ("Test",)


def replaced(files: dict[str, bytes], name: str, data: bytes) -> dict[str, bytes]:
    return {**files, name: data}


def png(size: tuple[int, int], mode: str = "L") -> bytes:
    out = io.BytesIO()
    Image.new(mode, size).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("train/angry/a.png", b"no image", "no readable PNG or JPEG"),
        ("train/angry/a.png", b"", "no readable PNG or JPEG"),
        ("train/angry/a.png", png((48, 48))[:60], "no readable PNG or JPEG"),
        ("train/angry/a.png", png((48, 47)), "48 x 47 pixels, but FER2013 is 48 x 48"),
        ("train/angry/a.png", png((48, 48), "I;16"), "8-bit grey"),
        ("train/angry/a.png", bytes((1 << 20) + 1), "more than 1,048,576 bytes"),
        ("train/contempt/a.png", png((48, 48)), "no class of FER2013"),
        ("train/3/a.png", png((48, 48)), "no class of FER2013"),
        ("elsewhere/angry/a.png", png((48, 48)), "names no split"),
        ("train/angry/PrivateTest_7.png", png((48, 48)), "mixed the splits"),
        ("test/angry/Training_7.png", png((48, 48)), "mixed the splits"),
    ],
)
@pytest.mark.parametrize("pack", [write_folder, write_zip])
def test_bad_pictures_are_named(pack, name: str, data: bytes, words: str, faces: Faces, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    source = pack(replaced(faces.pictures(), name, data), tmp_path / "f")
    with pytest.raises(DataError, match=words) as caught:
        read_fer2013(source)
    assert str(caught.value.file).endswith(name)


def arrays(faces: Faces, path: Path, **changes: object) -> Path:
    values = {"images": faces.images, "labels": faces.labels, "usage": faces.usage, **changes}
    np.savez(path, **{name: value for name, value in values.items() if value is not None})  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, "no array 'labels'"),
        ({"images": np.zeros((42, 47, 48), np.uint8)}, r"images are uint8 \(42, 47, 48\)"),
        ({"images": np.zeros((42, 48, 48), np.float32)}, "images are float32"),
        ({"labels": np.full(42, 7)}, r"labels\[0\] is 7"),
        ({"usage": np.full(42, -1)}, r"usage\[0\] is -1"),
        ({"usage": np.zeros(41, int)}, r"usage are int64 \(41,\)"),
        ({"labels": np.array([None] * 42)}, "cannot be read as an npz"),
    ],
)
def test_bad_npz_are_named(changes: dict[str, object], words: str, faces: Faces, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=words):
        read_fer2013(arrays(faces, tmp_path / "f.npz", **changes))


@pytest.mark.parametrize("data", [b"", b"nothing", b"PK\x03\x04" + bytes(40)])
def test_what_is_no_npz_is_named(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it is no npz|damaged"):
        read_fer2013(write(tmp_path / "f.npz", data))


def test_an_npz_bomb_is_refused(faces: Faces, tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "f.npz", images=np.zeros((8_000, 48, 48), np.uint8))
    with pytest.raises(DataError, match="packed size"):
        read_fer2013(tmp_path / "f.npz")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda f, p: p / "nowhere.csv", "no such file or folder"),
        (lambda f, p: write_folder({"train/.DS_Store/x": b""}, p / "d"), "the file is empty"),
        (lambda f, p: write_zip({}, p / "d.zip"), "nothing in it"),
        (lambda f, p: write_folder({"a.txt": b"x", "b.txt": b"y"}, p / "d"), "none of its 2 files"),
        (lambda f, p: write_zip({"a.txt": b"x", "b.txt": b"y"}, p / "d.zip"), "none of its 2 files"),
        (lambda f, p: write(p / "fer2013.csv", b""), "empty"),
        (lambda f, p: write(p / "photo.jpg", b"\xff\xd8\xff\xe0" + bytes(99)), "this is no text file"),
        (lambda f, p: write_zip({"fer2013.csv": f.csv()[:-700]}, p / "a.zip"), "breaks off"),
        (lambda f, p: write_zip({"fer2013.csv": bytes(20 << 20)}, p / "a.zip"), "packed size"),
        (lambda f, p: write_zip({"../fer2013.csv": f.csv()}, p / "a.zip"), "outside the archive"),
        (lambda f, p: write_tar({"/fer2013.csv": f.csv()}, p / "a.tar.gz"), "outside the archive"),
    ],
)
def test_bad_sources_leave_nothing_behind(make, words: str, faces: Faces, tmp_path: Path, mien_cache: Path) -> None:  # type: ignore[no-untyped-def]
    source = make(faces, tmp_path)
    with pytest.raises(DataError, match=words) as caught:
        load_dataset("fer2013", source)
    assert str(source) in str(caught.value)
    assert not mien_cache.exists()
    with pytest.raises(MienError, match="not imported yet"):
        load_dataset("fer2013")


def test_an_error_in_an_archive_names_member_line_and_column(faces: Faces, tmp_path: Path) -> None:
    bad = faces.csv().replace(b"\n2,", b"\n8,", 1)
    source = write_tar({"d/fer2013.csv": bad}, tmp_path / "a.tar.gz")
    with pytest.raises(DataError, match=r"a\.tar\.gz!/d/fer2013\.csv, line 4, column 1: the emotion is '8'"):
        read_fer2013(source)


def test_a_crash_while_writing_leaves_the_old_import(
    faces: Faces, tmp_path: Path, mien_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = import_dataset("fer2013", write(tmp_path / "fer2013.csv", faces.csv()))
    write(tmp_path / "fer2013.csv", Faces(14, seed=5).csv())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(DataError, match=r"No space left.*make room"):
        load_dataset("fer2013", tmp_path / "fer2013.csv")
    monkeypatch.undo()
    monkeypatch.setenv("MIEN_CACHE", str(mien_cache))
    assert load_dataset("fer2013").fingerprint == old.fingerprint
    assert not [path for path in mien_cache.rglob("*") if path.name.endswith((".part", ".old"))]


def test_zip_member_order_and_stored_zip(faces: Faces, tmp_path: Path) -> None:
    path = tmp_path / "stored.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/fer2013.csv", faces.csv())
    assert len(read_fer2013(path)) == len(faces.images)
