from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.cli import main

ASTRONAUT = Path(__file__).parents[2] / "examples" / "astronaut.jpg"


@pytest.fixture
def crops(tmp_path: Path) -> dict[str, str]:
    """Label → file with one face of it."""
    paths = {}
    for label in ("happy", "sad", "fear"):
        paths[label] = str(tmp_path / f"{label}.png")
        Image.fromarray(standin.face(label, 96)).save(paths[label])
    return paths


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture
def predict(bundle_path: Path) -> list[str | Path]:
    return ["predict", "--model", bundle_path, "--detector", "none"]


def test_json_is_a_list_with_one_object_per_file(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*predict, *crops.values(), "--json") == 0
    out, err = capsys.readouterr()
    entries = json.loads(out)
    assert err == ""
    assert [entry["file"] for entry in entries] == list(crops.values())
    assert [entry["faces"][0]["label"] for entry in entries] == list(crops)
    for entry in entries:
        assert list(entry) == ["file", "status", "width", "height", "faces"]
        assert (entry["status"], entry["width"], entry["height"]) == ("ok", 96, 96)
        (face,) = entry["faces"]
        assert list(face) == ["box", "score", "label", "confidence", "decided", "probabilities", "landmarks"]


def test_the_table_names_what_was_found(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*predict, crops["happy"], crops["sad"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["file", "face", "box", "expression", "confidence", "runner-up"]
    assert "0 0 96 96" in lines[1]
    assert "happy" in lines[1]
    assert "sad" in lines[2]


@pytest.mark.skipif(not ASTRONAUT.exists(), reason="examples/ is not part of an installed package")
def test_the_embedded_detector_finds_the_astronaut(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("predict", "--model", bundle_path, ASTRONAUT, "--json", "--draw", tmp_path / "out") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    (face,) = entry["faces"]
    assert face["score"] > 0.4
    assert len(face["landmarks"]) == 5
    with Image.open(tmp_path / "out" / "astronaut.faces.png") as drawn, Image.open(ASTRONAUT) as original:
        assert drawn.size == original.size
        assert not np.array_equal(np.asarray(drawn), np.asarray(original))


def test_a_photograph_without_a_face_is_no_error(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (120, 90), (90, 120, 60)).save(tmp_path / "lawn.png")
    assert run("predict", "--model", bundle_path, tmp_path / "lawn.png", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["status"], entry["width"], entry["height"], entry["faces"]) == ("no face", 120, 90, [])
    assert run("predict", "--model", bundle_path, tmp_path / "lawn.png") == 0
    assert "no face" in capsys.readouterr().out


def test_a_file_that_is_no_image_stops_nothing(
    predict: list[str], crops: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.jpg").write_text("no image")
    files = [tmp_path / "notes.jpg", crops["happy"], tmp_path / "missing.png", tmp_path]
    assert run(*predict, *files, "--json") == 2
    out, err = capsys.readouterr()
    entries = json.loads(out)
    assert [entry["status"] for entry in entries] == ["error", "ok", "error", "error"]
    complaints = err.strip().splitlines()
    assert [f"mien: {entry['message']}" for entry in entries if "message" in entry] == complaints
    assert "message" not in entries[1]
    assert len(complaints) == 3
    assert "notes.jpg" in complaints[0]
    assert "missing.png" in complaints[1]
    assert "Traceback" not in err


def test_csv_to_a_file_and_to_standard_output(
    predict: list[str], crops: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "deep" / "faces.csv"
    assert run(*predict, *crops.values(), "--csv", target) == 0
    assert "happy" in capsys.readouterr().out  # the table is printed as well
    assert run(*predict, *crops.values(), "--csv", "-") == 0
    printed = capsys.readouterr().out
    assert printed == target.read_text()
    assert [row["label"] for row in csv.DictReader(io.StringIO(printed))] == list(crops)


def test_json_and_csv_cannot_share_standard_output(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*predict, crops["sad"], "--json", "--csv", "-") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--csv" in err


def test_csv_never_takes_an_inputs_place(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path(crops["sad"]).read_bytes()
    assert run(*predict, crops["sad"], "--csv", crops["sad"]) == 2
    assert "overwrite" in capsys.readouterr().err
    assert Path(crops["sad"]).read_bytes() == before


@pytest.mark.parametrize("option", ["--csv", "--out"])
def test_a_folder_in_the_tables_place_is_refused_at_once(
    predict: list[str], crops: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    (tmp_path / "d.csv").mkdir()
    before = sorted(tmp_path.rglob("*"))
    assert run(*predict, crops["sad"], tmp_path / "missing.png", option, tmp_path / "d.csv") == 2
    out, err = capsys.readouterr()
    assert (out, err.count("mien:")) == ("", 1)  # nothing was recognised, so nobody was told of the missing file
    assert "d.csv is a folder; name a file in it" in err
    assert sorted(tmp_path.rglob("*")) == before


def test_drawings_have_names_of_their_own_beside_the_inputs(
    predict: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "a" / "x.png", tmp_path / "b" / "x.png"]
    for file, label in zip(files, ("happy", "sad"), strict=True):
        file.parent.mkdir()
        Image.fromarray(standin.face(label, 96)).save(file)
    before = files[0].read_bytes()
    assert run(*predict, *files, "--draw", tmp_path / "a") == 0
    found = sorted(path.relative_to(tmp_path).as_posix() for path in (tmp_path / "a").rglob("*.png"))
    assert found == ["a/a/x.faces.png", "a/b/x.faces.png", "a/x.png"]
    assert files[0].read_bytes() == before
    assert "wrote" in capsys.readouterr().err
    assert run(*predict, *files, "--draw", tmp_path / "table", "--out", tmp_path / "t.csv") == 0
    drawn = sorted(path.relative_to(tmp_path / "table").as_posix() for path in (tmp_path / "table").rglob("*.png"))
    assert drawn == ["a/x.faces.png", "b/x.faces.png"]  # as without a table


def test_standard_input(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(crops["fear"]).read_bytes())))
    assert run(*predict, "-", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert (entry["file"], entry["faces"][0]["label"]) == ("-", "fear")


def test_min_confidence_and_views(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*predict, crops["happy"], "--json", "--views", "flip") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert 0.4 < entry["faces"][0]["confidence"] < 0.6  # happy and its mirror image, surprise or fear
    assert run(*predict, crops["happy"], "--json", "--views", "flip", "--min-confidence", "0.9") == 0
    assert json.loads(capsys.readouterr().out)[0]["faces"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--views", "rot8"], "not calibrated"),
        (["--views", "flop"], "flip"),
        (["--detector", "centreface"], "centerface"),
        (["--model", "missing.onnx"], "missing.onnx"),
        (["--min-confidence", "3"], "min-confidence"),
    ],
)
def test_impossible_options_are_one_sentence_and_status_2(
    predict: list[str],
    crops: dict[str, str],
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(*predict, crops["sad"], *arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert "Traceback" not in err


def test_without_files_a_sentence_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("predict") == 2
    assert "give images, or a folder with --recursive" in capsys.readouterr().err


def test_a_folder_becomes_one_table(
    predict: list[str], crops: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = Path(crops["sad"]).parent, tmp_path / "out" / "faces.csv"
    assert run(*predict, folder, "--recursive", "--out", out, "--draw", tmp_path / "out") == 0
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == f"{out}: 3 faces in 3 files\n"
    with out.open() as stream:
        assert [row["label"] for row in csv.DictReader(stream)] == ["fear", "happy", "sad"]
    assert (tmp_path / "out" / "sad.faces.png").is_file()
    assert run(*predict, folder, "--recursive", "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["faces"] == 3  # its own drawings are no photographs

    (folder / "broken.png").write_text("no image")
    assert run(*predict, folder, "-r", "--out", out) == 2
    assert "1 could not be read (see the column message)" in capsys.readouterr().err


def test_an_unreadable_folder_is_named_and_the_others_are_done(
    predict: list[str],
    crops: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, out, real = Path(crops["sad"]).parent, tmp_path / "out" / "faces.csv", os.scandir
    (folder / "locked").mkdir()

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr("os.scandir", scandir)
    assert run(*predict, folder, "-r") == 2
    assert f"{folder / 'locked'} cannot be read: Permission denied" in capsys.readouterr().err
    assert run(*predict, folder, "-r", "--out", out) == 2
    assert "3 faces in 4 files; 1 could not be read" in capsys.readouterr().err
    with out.open() as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["ok", "ok", "ok", "error"]


def test_nothing_to_do_is_an_error_and_not_an_empty_table(
    predict: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    for arguments in ([], ["--out", tmp_path / "f.csv"], ["--json"]):
        assert run(*predict, tmp_path / "empty", "-r", *arguments) == 2
        printed = capsys.readouterr()
        assert (printed.out, printed.err.count("there is no image in ")) == ("", 1)
    assert run(*predict, "") == 2
    assert "one of the paths is empty" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_own_boxes_come_from_a_table(bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image, boxes = standin.photograph(["happy", "sad"])
    Image.fromarray(image).save(tmp_path / "two.png")
    cells = ",".join(f"{value:g}" for value in boxes[1])
    (tmp_path / "boxes.csv").write_text(f"file,x1,y1,x2,y2\ntwo.png,{cells}\n")
    assert run("predict", "--model", bundle_path, "--boxes", tmp_path / "boxes.csv", "--json") == 0
    (entry,) = json.loads(capsys.readouterr().out)
    assert entry["file"] == str(tmp_path / "two.png")
    assert [(face["box"], face["score"]) for face in entry["faces"]] == [(boxes[1].tolist(), None)]
    assert run("predict", "--boxes", tmp_path / "boxes.csv", "--crops") == 2
    assert "give one of them" in capsys.readouterr().err


def test_crops_of_a_list_and_what_was_left_out(
    bundle_path: Path, crops: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "list.csv").write_text("file\nsad.png\nhappy.png\n")
    arguments = ["predict", "--model", bundle_path, "--crops", "--list", tmp_path / "list.csv", "--min-confidence", "1"]
    assert run(*arguments) == 0
    printed = capsys.readouterr()
    assert printed.out.count("1 left out") == 2
    assert printed.err == "2 faces below the minimal confidence were left out (--min-confidence 1)\n"


def test_two_tables_at_once_are_refused(
    predict: list[str], crops: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*predict, crops["sad"], "--out", "a.csv", "--csv", "b.csv") == 2
    assert run(*predict, crops["sad"], "--out", "a.txt") == 2
    assert "a.txt says no format; let its name end in .csv, .jsonl or .parquet" in capsys.readouterr().err


def test_a_stopped_run_says_how_it_goes_on(
    predict: list[str],
    crops: dict[str, str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mien.recognition.batch.write_table", stop)
        assert run(*predict, *crops.values(), "--out", tmp_path / "f.csv") == 130
    assert capsys.readouterr().err == "mien: stopped; the same command goes on from here\n"
    assert run(*predict, *crops.values(), "--out", tmp_path / "f.csv") == 0
    assert "3 files done by an earlier run" in capsys.readouterr().err
