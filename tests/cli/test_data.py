from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mien.cli import main
from mien.cli.common import progress
from mien.datasets import DATASETS, DataSet, drawn_faces

pytestmark = pytest.mark.usefixtures("mien_cache")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    faces = drawn_faces(70, 0)
    np.savez(tmp_path / "own.npz", images=faces._images, labels=faces._labels, usage=faces.splits)
    return tmp_path / "own.npz"


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", *map(str, arguments)])
    return int(stop.value.code or 0)


def test_list_import_info_check(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    assert "not imported" in capsys.readouterr().out
    assert run("import", "fer2013", source) == 0
    said = capsys.readouterr().out
    assert "PrivateTest" in said
    assert "differs from the published data set: 35,817 of its 35,887 faces are missing" in said
    assert run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["imported"] for entry in listed if entry["name"] == "fer2013"] == [[str(source)]]
    assert run("info", "fer2013", "--json") == 0
    info = json.loads(capsys.readouterr().out)
    assert (info["faces"], info["official_content"], info["images_differ"]) == (70, False, 70)
    assert info["splits"][2] == {"name": "PrivateTest", "role": "test", "faces": 7, "copies_in_other_splits": 0}
    assert (info["faces_published"], info["faces_missing"]) == (35_887, 35_817)
    assert run("check", "fer2013") == 1
    assert "images are not those that were published" in capsys.readouterr().out
    assert run("check", "fer2013", source, "--json") == 1
    assert json.loads(capsys.readouterr().out)["findings"]


def test_info_of_drawn_faces_keeps_the_seal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = DataSet("drawn", "few", make=lambda: drawn_faces(70))
    monkeypatch.setitem(DATASETS._entries, "drawn", few)
    assert run("info", "drawn") == 0
    assert "sealed" in capsys.readouterr().out
    assert run("info", "drawn", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)["counts"]) == {"train", "selection"}


def test_check_finds_changed_files(source: Path, mien_cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("import", "fer2013", source) == 0
    path = next(mien_cache.rglob("labels.npy"))
    data = bytearray(path.read_bytes())
    data[-1] = 1
    path.write_bytes(data)
    capsys.readouterr()
    assert run("check", "fer2013") == 1
    assert "changed after the import" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("import", "fer2013", "nowhere.csv"), "no such file or folder"),
        (("info", "fer2013"), "mien data import fer2013 PATH"),
        (("info", "fer"), "no data set is called 'fer'"),
        (("check", "drawn"), "nothing to check"),
        (("import", "drawn", "."), "needs no import"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments) == 2
    captured = capsys.readouterr()
    assert words in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_a_broken_csv_is_named_by_line_and_column(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = tmp_path / "fer2013.csv"
    broken.write_text("emotion,pixels,Usage\n0,300 " + "1 " * 2302 + "1,Training\n")
    assert run("import", "fer2013", broken) == 2
    assert "line 2, column 3: pixel 1 is '300'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "data", [b"sFpD" + bytes(range(200)), b"%PDF-1.4\n\0\1", b"\x89PNG\r\n\x1a\n" + bytes(99), b"\0" * 99_999]
)
def test_what_is_no_text_is_told_as_such(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "fer2013.csv").write_bytes(data)
    assert run("import", "fer2013", tmp_path / "fer2013.csv") == 2
    said = capsys.readouterr().err
    assert "this is no text file" in said
    assert "header" not in said


def test_ctrl_c_says_what_was_stored(
    source: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*given: object, **named: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mien.datasets.import_dataset", stop)
        assert run("import", "fer2013", source) == 130
    assert "nothing was stored" in capsys.readouterr().err
    monkeypatch.setattr("mien.datasets.report.describe", stop)
    assert run("import", "fer2013", source) == 130
    assert "after the data set was stored" in capsys.readouterr().err


def test_bytes_are_shown_in_megabytes() -> None:
    shown = progress()
    task = shown.add_task("reading", total=None)
    shown.update(task, completed=25_165_824, total=301_072_766, bytes=True)
    assert "25/301 MB" in str(shown.columns[2](shown.tasks[0]))
    shown.update(task, completed=7, total=42, bytes=False)
    assert "7/42" in str(shown.columns[2](shown.tasks[0]))
