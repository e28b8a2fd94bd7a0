from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
import standin
from mien.cli import main
from mien.errors import InputError, MissingExtraError
from mien.recognition import Recognizer
from mien.recognition.batch import Summary, model_facts, recognize_to_table
from mien.recognition.listing import Plan, plan
from mien.scale import batch, parts, places, worker
from mien.scale.batch import recognize_with_ray
from mien.scale.parts import MODEL, PartedTable, Stretch
from mien.scale.places import StoreError, list_address
from mien.scale.worker import Task, Worker

parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs the extra table")
fsspec = pytest.importorskip("fsspec", reason="object stores need the extra scale")

COUNT = 12


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 2 inputs and lists of 5, so that a part ends early at the end of a list."""
    for name, value in {"LIST": 5, "SMALLEST": 1, "LARGEST": 2, "SHARES": 1}.items():
        monkeypatch.setattr(parts, name, value)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    folder.mkdir()
    for number in range(COUNT):
        path = folder / f"{number:02}.png"
        if number == 5:
            path.write_text("no image")
        else:
            Image.fromarray(standin.face(["sad", "happy"][number % 2], 60)).save(path)
    return folder


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, detector=None, threads=1)


class Job:
    """What `recognize_with_ray` does, without Ray: one worker, which dies when it is told to."""

    def __init__(self, recognizer: Recognizer, wanted: Plan, out: str) -> None:
        self.about = {"mien": mien.__version__, **model_facts(recognizer)}
        self.table = PartedTable(out, {**self.about, **wanted.settings})
        self.finished = self.table.open(wanted.jobs, 2)
        self.table.place.write(MODEL, recognizer.bundle.model)
        task = Task(None, "one", 0.5, 10.0, 0.0, out, self.about, str(Path.cwd()), mien.__version__)
        self.worker = Worker(task)
        self.answered: dict[str, Counter[str]] = {}

    def run(self, most: int = 10_000) -> int:
        """How many stretches were done."""
        done = 0
        for stretches in self.table.lists():
            for stretch in stretches:
                if done == most:
                    return done
                answer = self.worker({"stretch": np.array([Stretch.to_json(stretch)], dtype=object)})
                assert answer["fault"] == [""]
                counts = {key: answer[key][0] for key in ("faces", "without", "errors", "left_out")}
                self.answered[answer["name"][0]] = Counter(counts)
                done += 1
        return done

    def finish(self) -> Summary:
        return self.table.finish(self.answered)


def read(folder: str | Path) -> list[dict[str, object]]:
    return parquet.read_table(folder).sort_by("file").to_pylist()


def test_every_input_has_its_rows_once_after_a_stop(recognizer: Recognizer, photos: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "many.parquet")

    def job() -> Job:
        return Job(recognizer, plan(["photos"], recursive=True), out)

    first = job()
    assert first.run(3) == 3
    (tmp_path / "many.parquet" / ".part-000000000005-000000000007.parquet.x.part").touch()  # killed while it wrote
    with pytest.raises(InputError, match=r"lacks part-000000000005-000000000007\.parquet; start it again"):
        first.finish()
    Image.new("L", (60, 60)).save(photos / "zz.png")  # came later: not in the list
    second = job()
    assert second.table.done() == 5
    assert second.run() == 4
    made = second.finish()
    assert (made.files, made.faces, made.errors, made.resumed) == (COUNT, COUNT - 1, 1, 5)
    (photos / "zz.png").unlink()
    wanted = plan(["photos"], recursive=True)
    recognize_to_table(recognizer, wanted.jobs, tmp_path / "one.parquet", settings=wanted.settings)
    assert read(out) == read(tmp_path / "one.parquet")
    names = sorted(path.name for path in (tmp_path / "many.parquet").iterdir())
    assert names[:2] == ["_SUCCESS", "_mien"]
    assert len(names) == 2 + 7
    assert sorted(path.name for path in (tmp_path / "many.parquet" / "_mien").iterdir()) == [
        "inputs-000000000000.jsonl", "inputs-000000000005.jsonl", "inputs-000000000010.jsonl", "job.json", "model.onnx",
    ]  # fmt: skip

    again = job()  # finished: nothing is done twice
    assert again.finished is not None
    assert (again.finished.files, again.finished.faces, again.finished.resumed) == (COUNT, COUNT - 1, COUNT)
    Image.new("L", (60, 60)).save(photos / "zz.png")
    with pytest.raises(InputError, match=r"finished table of 12 images, and now there are others \(13\)"):
        job()


def test_a_finished_table_that_lost_a_part_is_not_finished(
    recognizer: Recognizer, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "many.parquet"

    def job() -> Job:
        return Job(recognizer, plan(["photos"], recursive=True), str(out))

    first = job()
    first.run()
    first.finish()
    before = read(out)
    (out / "part-000000000002-000000000004.parquet").unlink()
    second = job()
    assert second.finished is None
    assert not (out / "_SUCCESS").exists()  # readers would believe it
    assert (second.run(), second.finish().files, read(out)) == (1, COUNT, before)
    (out / "other.parquet").touch()
    with pytest.raises(InputError, match=r"holds other\.parquet, which is none of its parts; move that file away"):
        job()


def test_a_stretch_that_is_done_twice_is_there_once(recognizer: Recognizer, photos: Path, tmp_path: Path) -> None:
    job = Job(recognizer, plan(["photos"], recursive=True), str(tmp_path / "many.parquet"))
    (first, *_), *_ = job.table.lists()
    for _ in range(2):
        assert job.worker.do(first)[2] == ""
    job.run()
    assert job.finish().files == COUNT
    assert len(read(tmp_path / "many.parquet")) == COUNT


def test_objects_in_and_parts_out(recognizer: Recognizer, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fsspec.filesystem("memory")
    for path in photos.iterdir():
        store.pipe_file(f"/in/{path.name}", path.read_bytes())
    wanted = plan(["memory://in"], recursive=True, expand=list_address)
    job = Job(recognizer, wanted, "memory://out/many.parquet")
    store.rm_file("/in/03.png")  # after the list was made
    store.pipe_file("/in/04.png", (photos / "04.png").read_bytes()[:-20])
    job.run()
    made = job.finish()
    assert (made.files, made.faces, made.errors) == (COUNT, COUNT - 3, 3)
    store.get("/out/many.parquet", "back.parquet", recursive=True)
    status = {str(row["file"])[-6:]: row["message"] for row in read("back.parquet") if row["status"] == "error"}
    assert sorted(status) == ["03.png", "04.png", "05.png"]
    assert "there is nothing at memory:///in/03.png" in str(status["03.png"])
    assert "is cut off" in str(status["04.png"])
    assert "convert it" in str(status["05.png"])
    store.rm("/in", recursive=True)
    store.rm("/out", recursive=True)


def test_a_worker_that_dies_over_and_over_stops_the_job(
    recognizer: Recognizer, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = Job(recognizer, plan(["photos"], recursive=True), str(tmp_path / "many.parquet"))
    (first, *_), *_ = job.table.lists()

    def die(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(worker, "recognize_file", die)
        for _ in range(worker.DEATHS + 1):
            with pytest.raises(SystemExit):
                job.worker.do(first)
    said = job.worker.do(first)[2]
    assert said.startswith(
        f"a worker died {worker.DEATHS + 1} times over the images photos/00.png to photos/01.png; take"
    )
    # Whoever starts the job again has changed something: it counts anew.
    job = Job(recognizer, plan(["photos"], recursive=True), str(tmp_path / "many.parquet"))
    job.run()
    assert job.finish().files == COUNT


def test_damaged_strange_and_other_tables_are_refused(recognizer: Recognizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "many.parquet"
    wanted = plan(["photos"], recursive=True)
    Job(recognizer, wanted, str(out)).run()
    part = next(out.glob("part-*"))
    whole = part.read_bytes()
    part.write_bytes(whole[:-30])
    with pytest.raises(InputError, match=f"{part.name} is damaged; remove it and start"):
        Job(recognizer, plan(["photos"], recursive=True), str(out)).finish()
    part.write_bytes(whole)
    (out / "mine.parquet").touch()
    with pytest.raises(InputError, match=r"holds mine\.parquet, which is none of its parts; move that file away"):
        Job(recognizer, plan(["photos"], recursive=True), str(out)).finish()
    (out / "mine.parquet").unlink()
    with pytest.raises(InputError, match="begun with other settings \\(files\\)"):
        Job(recognizer, plan(["photos/00.png"], recursive=True), str(out))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").touch()
    with pytest.raises(InputError, match=r"holds something else \(thesis.txt\)"):
        Job(recognizer, wanted, str(tmp_path / "own"))
    Path("none").mkdir()
    with pytest.raises(InputError, match="there is no image in none"):
        Job(recognizer, plan(["none"], recursive=True), str(tmp_path / "new.parquet"))


def test_other_versions_do_not_work_together(recognizer: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"runs here and 0\.0 where the job was started"):
        Worker(Task(None, "one", 0.5, 10.0, 0.0, str(tmp_path / "t.parquet"), {}, ".", "0.0"))


def test_what_is_missing_or_impossible_is_said_before_any_work(
    recognizer: Recognizer,
    bundle_path: Path,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = plan(["photos"], recursive=True)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "find_spec", lambda name: None if name == "ray" else name)
        with pytest.raises(MissingExtraError, match=r"--engine ray needs .*pip install 'mien\[scale\]'"):
            recognize_with_ray(recognizer, wanted, "out.parquet")
    monkeypatch.setattr(batch, "find_spec", lambda name: name)
    with pytest.raises(InputError, match=r"does not end in \.parquet; --engine ray writes a folder"):
        recognize_with_ray(recognizer, wanted, "out.csv")
    with pytest.raises(InputError, match="a detector of your own does not travel"):
        recognize_with_ray(Recognizer(bundle_path, detector=lambda image: []), wanted, "out.parquet")
    for arguments, said in (
        (["--engine", "spark", "--out", "o.parquet"], "no engine is called 'spark'"),
        (["--engine", "ray"], "--engine makes a table; say which with --out"),
        (["--engine", "ray", "--out", "o.parquet", "--draw", "d"], "leave --draw away"),
        (["--out", "s3://bucket/o.parquet"], "only --engine ray writes to object stores"),
    ):
        with pytest.raises(SystemExit) as stop:
            main(["predict", "photos", "-r", *arguments])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]
    assert json.loads(json.dumps(wanted.settings))["files"] == ["photos"]


def test_a_table_that_may_not_be_read_is_not_begun_again(
    recognizer: Recognizer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = places._system("memory")
    wanted = plan(["photos"], recursive=True)
    Job(recognizer, wanted, "memory://kept/many.parquet").run(2)
    before = {path: store.cat_file(path) for path in store.find("/kept")}

    def forbidden(*_: object, **__: object) -> bytes:
        raise PermissionError from ClientError()

    for name in ("cat_file", "ls"):
        table = PartedTable("memory://kept/many.parquet", wanted.settings)
        with monkeypatch.context() as patch:
            patch.setattr(store, name, forbidden)
            with pytest.raises(StoreError, match="may not be read or written"):
                table.open(wanted.jobs, 2)
        assert {path: store.cat_file(path) for path in store.find("/kept")} == before
    store.rm("/kept", recursive=True)


def test_an_image_that_may_not_be_read_is_a_row_and_a_note_that_may_not_stops_the_job(
    recognizer: Recognizer, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = places._system("memory")
    for path in photos.iterdir():
        store.pipe_file(f"/seen/{path.name}", path.read_bytes())
    job = Job(recognizer, plan(["memory://seen"], recursive=True, expand=list_address), "memory://told/many.parquet")
    real, closed = store.cat_file, "03.png"

    def cat_file(path: str, *arguments: object, **options: object) -> bytes:
        if closed in path:
            raise PermissionError from ClientError()
        return bytes(real(path, *arguments, **options))

    monkeypatch.setattr(store, "cat_file", cat_file)
    stretches = [stretch for several in job.table.lists() for stretch in several]
    _, counts, fault = job.worker.do(next(s for s in stretches if s.start <= 3 < s.end))
    assert (fault, counts["errors"]) == ("", 1)
    closed = "_mien/tries"
    store.pipe_file(f"/told/many.parquet/{parts.tries_name(stretches[0])}", b"3")
    assert "may not be read or written" in job.worker.do(stretches[0])[2]
    store.rm("/seen", recursive=True)
    store.rm("/told", recursive=True)


class ClientError(Exception):
    """As botocore's, which s3fs hands on as the cause."""

    response = {"Error": {"Code": "AccessDenied"}}  # noqa: RUF012
