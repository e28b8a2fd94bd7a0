from __future__ import annotations

import csv
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.errors import InputError, MissingExtraError
from mien.labels import FER2013
from mien.recognition import Recognizer, files, tables
from mien.recognition.batch import recognize_to_table
from mien.recognition.files import recognize_files
from mien.recognition.listing import Job
from mien.recognition.shards import Shard
from mien.recognition.tables import columns
from mien.recognition.unfinished import Unfinished

LABELS = FER2013.labels


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 images: two faces (0, 4, 8, …), one face, none (the small ones), and files that are no image."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(24):
        path = folder / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(exist_ok=True)
        if number % 4 == 2:
            Image.new("RGB", (30, 20)).save(path)
        elif number % 12 == 7:
            path.write_text("no image")
        else:
            faces = [LABELS[number % 7], LABELS[number % 5]][: 2 - number % 2]
            Image.fromarray(standin.photograph(faces)[0]).save(path)
    return folder


@pytest.fixture
def jobs(photos: Path) -> list[str]:
    return [str(path) for path in sorted(photos.rglob("*.png"))]


def detector(image: np.ndarray) -> np.ndarray:
    faces = (image.shape[1] - 40) // 136
    return standin.photograph(["sad"] * faces)[1]


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, detector=detector, threads=1)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_face_and_every_file_has_a_row_in_order(recognizer: Recognizer, jobs: list[str], tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "deep" / "faces.csv"
    summary = recognize_to_table(recognizer, jobs, out, progress=lambda *of: seen.append(of), workers=3)
    table = read(out)
    assert list(dict.fromkeys(row["file"] for row in table)) == jobs
    status = {row["file"]: row["status"] for row in table}
    assert (summary.files, summary.faces, summary.without, summary.errors, summary.resumed) == (24, 22, 6, 2, 0)
    assert sum(row["face"] != "" for row in table) == 22
    assert [list(status.values()).count(kind) for kind in ("ok", "no face", "error")] == [16, 6, 2]
    assert all("convert it" in row["message"] for row in table if row["status"] == "error")
    first = [row for row in table if row["file"].endswith("00.png")]
    assert [(row["face"], row["label"], row["decided"]) for row in first] == [("1", "angry", "1"), ("2", "angry", "1")]
    assert seen[0] == (0, 24)
    assert seen[-1] == (24, 24)
    assert "22 faces in 24 files; 6 without a face; 2 could not be read" in str(summary)
    assert list(tmp_path.glob("**/*.unfinished*")) == []


def test_all_formats_say_the_same(recognizer: Recognizer, jobs: list[str], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    for ending in ("csv", "jsonl", "parquet"):
        recognize_to_table(recognizer, jobs, tmp_path / f"faces.{ending}")
    lines = [json.loads(line) for line in (tmp_path / "faces.jsonl").read_text().splitlines()]
    table = parquet.read_table(tmp_path / "faces.parquet")
    assert table.column_names == list(columns(FER2013)) == list(lines[0])
    kinds = {name: str(table.schema.field(name).type) for name in ("file", "face", "x1", "decided", "p_sad")}
    assert kinds == {"file": "string", "face": "int32", "x1": "float", "decided": "bool", "p_sad": "float"}
    for row, line, cells in zip(table.to_pylist(), lines, read(tmp_path / "faces.csv"), strict=True):
        for name, value in line.items():
            assert row[name] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
            plain = int(value) if isinstance(value, bool) else value
            assert cells[name] == ("" if value is None else str(plain))
    about = json.loads(table.schema.metadata[b"mien"])
    assert (about["model"], about["views"], about["detector"]) == ("standin", "one", "function")


def test_parquet_needs_its_extra_before_any_work(
    recognizer: Recognizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"mien\[table\]"):
        recognize_to_table(recognizer, ["a.jpg"], tmp_path / "faces.parquet")
    with pytest.raises(InputError, match=r"says no format; let its name end in \.csv, \.jsonl or \.parquet"):
        recognize_to_table(recognizer, ["a.jpg"], tmp_path / "faces.parqet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shard", [None, Shard(1, 2)])
def test_a_place_that_cannot_be_written_is_refused_before_any_work(
    bundle_path: Path, tmp_path: Path, shard: Shard | None
) -> None:
    def work(image: np.ndarray) -> np.ndarray:
        raise AssertionError("it was begun")

    unused = Recognizer(bundle_path, detector=work)
    (tmp_path / "taken.csv").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"taken\.csv is a folder; name a file in it"):
        recognize_to_table(unused, ["a.jpg"], tmp_path / "taken.csv", shard=shard)
    with pytest.raises(InputError, match=r"faces\.csv cannot be written: Not a directory; choose another path"):
        recognize_to_table(unused, ["a.jpg"], tmp_path / "file" / "faces.csv", shard=shard)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.csv"]
    assert list((tmp_path / "taken.csv").iterdir()) == []


def test_standard_input_is_refused(recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read again"):
        recognize_to_table(recognizer, ["a.jpg", "-"], tmp_path / "f.csv")
    assert list(tmp_path.iterdir()) == []


def test_rows_are_written_in_groups(jobs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "_BATCH", 4)
    rows = [["a.jpg", "no face", *[None] * (len(columns(FER2013)) - 2)]] * 10
    with (tmp_path / "t.parquet").open("wb") as out:
        tables.write_table(out, "parquet", iter(rows), FER2013, {})
    assert parquet.ParquetFile(tmp_path / "t.parquet").num_row_groups == 3
    with (tmp_path / "none.parquet").open("wb") as out:
        tables.write_table(out, "parquet", iter([]), FER2013, {})
    assert parquet.read_table(tmp_path / "none.parquet").num_rows == 0


def test_own_boxes_and_those_outside(bundle_path: Path, photos: Path, tmp_path: Path) -> None:
    file = str(photos / "a" / "00.png")
    first, second = (tuple(map(float, box)) for box in standin.photograph(["angry", "angry"])[1])
    jobs = [Job(file, (second, first)), Job(file, ()), Job(file, ((5000.0, 1, 5001, 2),))]
    recognize_to_table(Recognizer(bundle_path), jobs, tmp_path / "f.csv")
    table = read(tmp_path / "f.csv")
    assert [row["status"] for row in table] == ["ok", "ok", "no face", "error"]
    assert [float(row["x1"]) for row in table[:2]] == [second[0], first[0]]
    assert table[0]["score"] == ""
    assert "outside the image" in table[3]["message"]
    assert file in table[3]["message"]


def test_faces_below_the_minimal_confidence_are_counted(
    recognizer: Recognizer, jobs: list[str], tmp_path: Path
) -> None:
    summary = recognize_to_table(recognizer, jobs, tmp_path / "f.csv", min_confidence=1.0)
    assert (summary.faces, summary.left_out) == (0, 22)
    assert "22 less certain" in str(summary)
    (row,) = [row for row in read(tmp_path / "f.csv") if row["file"].endswith("00.png")]
    assert (row["status"], row["face"], row["message"][:40]) == ("ok", "", "2 faces below the minimal confidence wer")


def test_drawings_mirror_the_folders(recognizer: Recognizer, jobs: list[str], photos: Path, tmp_path: Path) -> None:
    recognize_to_table(recognizer, jobs, tmp_path / "f.csv", draw=tmp_path / "drawn", root=photos)
    drawn = sorted(path.relative_to(tmp_path / "drawn").as_posix() for path in (tmp_path / "drawn").rglob("*.png"))
    assert drawn[0] == "a/00.faces.png"
    assert len(drawn) == 22  # all but the two that are no image


def test_images_in_work_are_bounded(bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three workers, room for two images: never three at once, and one larger than the room gets its turn."""
    lock, now, most = threading.Lock(), 0, 0

    def slow(image: np.ndarray) -> np.ndarray:
        nonlocal now, most
        with lock:
            now += image.shape[0] * image.shape[1]
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= image.shape[0] * image.shape[1]
        return np.zeros((0, 4))

    monkeypatch.setattr(files, "HELD_PIXELS", 2 * 40 * 30)
    sizes = [(40, 30)] * 8 + [(90, 80)] + [(40, 30)] * 3
    for number, size in enumerate(sizes):
        Image.new("L", size).save(tmp_path / f"{number:02}.png")
    records = recognize_files(Recognizer(bundle_path, detector=slow), sorted(tmp_path.iterdir()), workers=3)
    assert [record.faces.size for record in records if record.faces is not None] == sizes
    assert most == 90 * 80  # alone, although it does not fit; the others never exceeded 2 × 40 × 30


def test_an_unfinished_table_is_for_its_own_settings_and_one_process(
    recognizer: Recognizer, bundle_path: Path, jobs: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "f.csv"

    def stop(done: int, total: int) -> None:
        if done == 10:
            with pytest.raises(InputError, match="another process is writing"):
                recognize_to_table(recognizer, jobs, out)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        recognize_to_table(recognizer, jobs, out, progress=stop, workers=1)
    assert not out.exists()
    with pytest.raises(InputError, match="begun with other settings \\(min_confidence\\)"):
        recognize_to_table(recognizer, jobs, out, min_confidence=0.5)
    with pytest.raises(InputError, match="begun with other settings \\(views\\)"):
        recognize_to_table(Recognizer(bundle_path, detector=detector, views="flip"), jobs, out)
    with pytest.raises(InputError, match="begun with other settings \\(files\\)"):
        recognize_to_table(recognizer, jobs[1:], out)
    summary = recognize_to_table(recognizer, jobs, out)
    assert (summary.files, summary.faces, summary.resumed) == (24, 22, 10)
    recognize_to_table(recognizer, jobs, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_folder_of_somebody_elses_is_left_alone(recognizer: Recognizer, jobs: list[str], tmp_path: Path) -> None:
    own = tmp_path / "f.csv.unfinished"
    own.mkdir()
    (own / "thesis.txt").write_text("years")
    with pytest.raises(InputError, match=r"none of an unfinished table \(thesis.txt\)"):
        recognize_to_table(recognizer, jobs, tmp_path / "f.csv")
    assert [path.name for path in own.iterdir()] == ["thesis.txt"]
    (own / "thesis.txt").unlink()
    # What a kill leaves before the list of jobs stands is ours, and is cleared away.
    for name in ("lock", "files.jsonl", ".job.json.x1y2.part", "000000000000-000000000003.jsonl"):
        (own / name).touch()
    assert recognize_to_table(recognizer, jobs, tmp_path / "f.csv").files == 24
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]


SCRIPT = """
import sys, time
sys.path.insert(0, {tests!r})
import numpy as np
from test_batch import detector
from mien.recognition import Recognizer
from mien.recognition.batch import recognize_to_table
def slow(image):
    time.sleep(0.01)
    return detector(image)
slow.__qualname__ = "function"
recognizer = Recognizer({bundle!r}, detector=slow, threads=1)
print("ready", flush=True)
print(recognize_to_table(recognizer, {jobs!r}, {out!r}, stretch=3, workers=2).resumed)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_run_is_finished_without_a_lost_or_doubled_row(
    recognizer: Recognizer, bundle_path: Path, jobs: list[str], tmp_path: Path
) -> None:
    out, draw = tmp_path / "f.csv", random.Random(3)
    many = jobs * 4
    script = SCRIPT.format(tests=str(Path(__file__).parent), bundle=str(bundle_path), jobs=many, out=str(out))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    kills = 0

    def parts() -> int:
        return len(list(tmp_path.glob("f.csv.unfinished/*-*.jsonl")))

    for attempt in range(4):
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            if attempt < 3:
                before = parts()
                while parts() == before and process.poll() is None:
                    time.sleep(0.002)
                time.sleep(draw.random() * 0.05)
                process.send_signal(signal.SIGKILL)
            rest = process.stdout.read()
        if process.returncode == -signal.SIGKILL:
            kills += 1
            assert not out.exists()
            continue
        assert process.returncode == 0
        break
    assert kills >= 2
    assert int(rest) > 0  # something was kept
    recognize_to_table(recognizer, many, tmp_path / "whole.csv")
    assert out.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.csv", "whole.csv"]


def test_a_kill_after_the_table_was_written_changes_nothing(
    recognizer: Recognizer, jobs: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "f.csv"
    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "remove", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            recognize_to_table(recognizer, jobs, out)
    whole = out.read_bytes()
    assert recognize_to_table(recognizer, jobs, out).resumed == 24
    assert out.read_bytes() == whole
    (tmp_path / ".f.csv.unfinished.1.old").mkdir()  # killed while it was cleared away
    recognize_to_table(recognizer, jobs, out)
    assert [path.name for path in tmp_path.iterdir()] == ["f.csv"]
