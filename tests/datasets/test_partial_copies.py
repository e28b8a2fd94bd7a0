"""What is said of copies that are not whole, or not quite in the authors' form."""

from __future__ import annotations

from pathlib import Path

import benchmarks_on_disk as made
import pytest
from faces_on_disk import write_folder

from mien.datasets.readers import records
from mien.datasets.report import check
from mien.errors import DataError
from mien.faces.detect import Detections


class Middle:
    def detect(self, image: object) -> Detections:
        return Detections([[4, 4, 28, 28]], [0.9])


@pytest.fixture(autouse=True)
def middle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "open_detector", Middle)


def found(name: str, files: made.Files, tmp_path: Path) -> list[str]:
    findings: list[str] = check(name, write_folder(files, tmp_path / "copy"))["findings"]
    return findings


def test_a_copy_is_compared_with_the_edition_of_its_labels(tmp_path: Path) -> None:
    said = " ".join(found("ckplus", made.ckplus(), tmp_path))
    assert "neutral (not 327)" in said
    assert "3 sequences have no label and were left out" in said
    assert "neutral" not in " ".join(found("ckplus", made.ck48(), tmp_path / "48"))


def test_one_split_alone_is_described(tmp_path: Path) -> None:
    npy = {name: data for name, data in made.affectnet("npy").items() if name.startswith("val")}
    assert found("affectnet", npy, tmp_path)[0] == "There is no split 'train' (287,651 faces as published)."
    faces = {name: data for name, data in made.ferg().items() if "disgust" not in name}
    said = found("ferg", faces, tmp_path / "ferg")
    assert said == [
        "There are 36 faces, 55,767 are published.", "No face is labelled disgust.",
        "It shows 3 subjects, 6 are published.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "make", "change", "said"),
    [
        ("ferg", made.ferg, ("aia_joy", "aia_jooy"), "'aia_jooy' names no expression of FERG-DB; did you mean 'joy'"),
        ("ckplus", made.ck48, ("sadness", "sadnes"), "'sadnes' is no expression of CK.48; did you mean 'sadness'"),
        ("jaffe", made.jaffe, ("KA.AN1", "KA.XX1"), "says neither subject nor expression"),
    ],
)
def test_the_authors_words_are_suggested(
    name: str, make: object, change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    files = {path.replace(*change): data for path, data in make().items()}  # type: ignore[operator]
    with pytest.raises(DataError, match=said):
        found(name, files, tmp_path)


def test_a_pickled_annotation_is_not_opened(tmp_path: Path) -> None:
    files = made.affectnet("npy")
    files["train_set/annotations/3_exp.npy"] = b"\x80\x04."
    with pytest.raises(DataError, match=r"3_exp\.npy: it is no NumPy array of one expression") as refused:
        found("affectnet", files, tmp_path)
    assert "allow_pickle" not in str(refused.value)


def test_other_forms_of_the_same_files(tmp_path: Path) -> None:
    ckplus = {
        ("CK+/" + name).replace("/Emotion/", "/Emotion_labels/Emotion/"): data.replace(b"\n", b"\r\n")
        if name.endswith("_emotion.txt")
        else data
        for name, data in made.ckplus().items()
    }
    assert check("ckplus", write_folder(ckplus, tmp_path / "ckplus"))["faces"] == 84
    jaffe = {f"jaffedbase/{name}": data for name, data in made.jaffe().items()} | {"jaffedbase/README": b"read me"}
    assert check("jaffe", write_folder(jaffe, tmp_path / "jaffe"))["faces"] == 21
    rafdb = {
        name: data.replace(b".jpg", b"_aligned.jpg") if name.endswith("label.txt") else data
        for name, data in made.rafdb().items()
    }
    assert check("rafdb", write_folder(rafdb, tmp_path / "rafdb"))["faces"] == 35
