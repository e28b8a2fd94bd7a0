from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import standin
from mien.cli import main
from mien.errors import InputError
from mien.labels import LabelSet
from mien.recognition import Recognizer, unfinished
from mien.recognition.batch import recognize_to_table
from mien.recognition.listing import Job, plan
from mien.recognition.shards import Shard, merge_shards, read_header, shard_folder, write_shard

OF = 3


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """12 images with two faces, one, none, and one file that is no image; always of the same names."""
    monkeypatch.chdir(tmp_path)
    folder = Path("photos")
    for number in range(12):
        path = folder / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if number == 5:
            path.write_text("no image")
        else:
            Image.fromarray(standin.photograph(["sad", "happy"][: number % 3])[0]).save(path)
    return folder


def detector(image: np.ndarray) -> np.ndarray:
    return standin.photograph(["sad"] * ((image.shape[1] - 40) // 136))[1]


@pytest.fixture
def recognizer(bundle_path: Path) -> Recognizer:
    return Recognizer(bundle_path, detector=detector, threads=1)


def run(recognizer: Recognizer, photos: Path, out: Path, shard: Shard | None = None, **options: object) -> object:
    wanted = plan([str(photos)], recursive=True)
    return recognize_to_table(recognizer, wanted.jobs, out, settings=wanted.settings, shard=shard, **options)  # type: ignore[arg-type]


@pytest.fixture
def out(recognizer: Recognizer, photos: Path, tmp_path: Path) -> Path:
    for number in range(1, OF + 1):
        run(recognizer, photos, tmp_path / "faces.csv", Shard(number, OF))
    return tmp_path / "faces.csv"


def problem(out: Path, photos: Path | None = None) -> str:
    """The one thing that is wrong; nothing was written."""
    wanted = None if photos is None else plan([str(photos)], recursive=True)
    found = merge_shards(out, wanted and wanted.jobs, wanted and wanted.settings)
    (said,) = found.problems
    assert not out.exists()
    assert [path.name for path in out.parent.iterdir() if path.name.startswith(".")] == []
    return said


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_the_merged_table_is_that_of_one_run_to_the_last_byte(
    ending: str, recognizer: Recognizer, photos: Path, tmp_path: Path
) -> None:
    if ending == "parquet":
        pytest.importorskip("pyarrow")
    out, whole = tmp_path / f"faces.{ending}", tmp_path / f"whole.{ending}"
    for number in (2, 3, 1):
        run(recognizer, photos, out, Shard(number, OF))
    found = merge_shards(out)
    assert found.problems == ()
    assert found.counts == {"files": 12, "faces": 10, "without": 4, "errors": 1, "left_out": 0}
    run(recognizer, photos, whole)
    assert out.read_bytes() == whole.read_bytes()


def test_parts_are_disjoint_whole_and_stay_when_images_come(tmp_path: Path) -> None:
    names = [f"photos/{number}.jpg" for number in range(1000)]
    taken = [[name for name in names if Shard(number, 7).takes(name)] for number in range(1, 8)]
    assert sorted(name for part in taken for name in part) == sorted(names)
    assert min(map(len, taken)) > 100  # even enough
    # Written down, so that another version or machine divides alike.
    assert [Shard(number, 7).takes("photos/1.jpg") for number in range(1, 8)].index(True) == 0


@pytest.mark.parametrize(
    ("text", "said"),
    [("0/3", "count from 1"), ("4/3", "no shard 4/3"), ("1/0", "not possible"), ("1/99999", "10,000"), ("a", "3/16")],
)
def test_impossible_shards(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Shard.parse(text)


def test_a_shard_goes_on_after_a_stop_and_is_not_done_twice(
    recognizer: Recognizer, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "faces.csv"

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(recognizer, photos, out, Shard(1, 2), progress=stop, workers=1)
    run(recognizer, photos, out, Shard(2, 2))
    assert problem(out) == "shard 1 of 2 is unfinished; run it again and merge then"
    # An image that came meanwhile is not in the list that is resumed.
    Image.new("RGB", (30, 20)).save(photos / "b" / "zz.png")
    assert run(recognizer, photos, out, Shard(1, 2)).resumed == 2  # type: ignore[attr-defined]
    assert merge_shards(out).problems == ()
    (photos / "b" / "zz.png").unlink()
    again = run(recognizer, photos, out, Shard(1, 2))
    assert again.resumed == again.files > 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("gone", [False, True])
def test_what_a_kill_leaves_behind_a_finished_shard_goes(
    recognizer: Recognizer, photos: Path, tmp_path: Path, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the table and the end of its folder, before the folder has its other name or after."""
    out = tmp_path / "faces.csv"

    class KilledError(BaseException):
        pass

    def kill(folder: Path) -> None:
        if gone:
            folder.replace(folder.with_name(f".{folder.name}.0.old"))
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(unfinished, "remove_directory", kill)
        with pytest.raises(KilledError):
            run(recognizer, photos, out, Shard(1, 1))
    folder = shard_folder(out)
    assert len(list(folder.iterdir())) == 2
    run(recognizer, photos, out, Shard(1, 1))
    assert [path.name for path in folder.iterdir()] == ["00001-of-00001.jsonl"]


def test_finished_shards_are_for_their_images_and_settings(recognizer: Recognizer, photos: Path, out: Path) -> None:
    with pytest.raises(InputError, match="other settings \\(min_confidence\\)"):
        run(recognizer, photos, out, Shard(1, OF), min_confidence=0.5)
    Image.new("RGB", (30, 20)).save(photos / "b" / "zz.png")
    with pytest.raises(InputError, match="made of 12 images, and now there are others \\(13\\)"):
        run(recognizer, photos, out, Shard(1, OF))
    assert "more images than when the shards were made, such as" in problem(out, photos)
    (photos / "b" / "zz.png").unlink()
    (photos / "a" / "02.png").unlink()
    assert "a/04.png now, and " in problem(out, photos)


def test_missing_doubled_and_mixed_shards_are_named(
    recognizer: Recognizer, photos: Path, out: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="no finished shards"):
        merge_shards(tmp_path / "other.csv")
    first, second, third = (Shard(number, OF).path(out) for number in (1, 2, 3))
    kept = second.read_bytes()
    second.unlink()
    assert problem(out) == "shard 2 of 3 is missing; run it and merge then"
    shutil.copy(first, second)
    assert "the file of shard 2/3 holds shard 1/3, which would be there twice" in problem(out)
    second.write_bytes(kept)
    shutil.copy(first, shard_folder(out) / "00001-of-00002.jsonl")
    assert "several divisions (1 of 2; 1, 2 and 3 of 3)" in problem(out)
    (shard_folder(out) / "00001-of-00002.jsonl").unlink()
    third.unlink()
    run(recognizer, photos, out, Shard(3, OF), min_confidence=0.5)
    assert "shards 1/3 and 3/3 were made with other settings (min_confidence)" in problem(out)
    third.unlink()
    Image.new("RGB", (30, 20)).save(photos / "b" / "zz.png")
    run(recognizer, photos, out, Shard(3, OF))
    assert "shards 1/3 and 3/3 saw other images (12 and 13)" in problem(out)


def test_changed_shards_are_found(out: Path, photos: Path) -> None:
    path = Shard(1, OF).path(out)
    whole = path.read_bytes()
    header, *lines, end = whole.splitlines(keepends=True)
    for changed in (
        [header, *lines],  # cut off
        [header, *lines[:-1], end],
        [header, *lines, end[:-9]],
        [header, b"".join(lines).replace(b'"ok"', b'"no"', 1), end],
    ):
        path.write_bytes(b"".join(changed))
        assert "shard 1/3 is damaged; remove " in problem(out)
    path.write_bytes(b"{}\n")
    with pytest.raises(InputError, match="no finished shard of this version"):
        merge_shards(out)
    path.write_bytes(whole)
    wanted = plan([str(photos)], recursive=True)
    assert merge_shards(out, wanted.jobs, wanted.settings).problems == ()


def test_an_input_that_is_lost_or_doubled_by_an_intact_shard_is_found(out: Path) -> None:
    """The last guard, whatever went wrong before it."""
    path = Shard(1, OF).path(out)
    header = read_header(path)
    name, *labels = header.pop("labels")
    rows = [json.loads(line) for line in path.read_text().splitlines()[1:-1]]
    inputs = sorted({row[0] for row in rows})

    def rewrite(kept: list[list[object]]) -> None:
        jobs = [Job(str(row[1]), at=int(str(row[0]))) for row in kept if row[5] in (None, 1)]
        write_shard(Shard(1, OF), out, header, [row[1:] for row in kept], jobs, LabelSet(name, tuple(labels)))

    rewrite([row for row in rows if row[0] != inputs[0]])
    assert f"input {inputs[0]} is in no shard" in problem(out)
    rewrite([*(row for row in rows if row[0] <= inputs[0]), *(row for row in rows if row[0] >= inputs[0])])
    assert "is there twice, the second time in shard 1/3" in problem(out)
    rewrite([[row[0], row[1].replace(".png", ".jpg"), *row[2:]] for row in rows])
    assert "the files of the shards were changed" in problem(out)
    rewrite(rows)
    assert merge_shards(out).problems == ()


def test_more_shards_than_images_and_one_shard(recognizer: Recognizer, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "faces.csv"
    for path in sorted(photos.rglob("*.png"))[2:]:
        path.unlink()
    for number in range(1, 5):
        run(recognizer, photos, out, Shard(number, 4))
    assert merge_shards(out).counts["files"] == 2
    run(recognizer, photos, tmp_path / "one.csv", Shard(1, 1))
    merge_shards(tmp_path / "one.csv")
    assert out.read_bytes() == (tmp_path / "one.csv").read_bytes()


def cli(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


def test_what_no_shard_could_read_is_told_by_the_merge(
    bundle_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_text("no image")
    out = tmp_path / "faces.csv"
    recognise = ["predict", photos, "-r", "--model", bundle_path, "--crops", "--out", out]
    unread = sorted(cli(*recognise, "--shard", f"{number}/2") for number in (1, 2))
    assert unread[-1] == 2
    assert cli("predict", "--merge", "--out", out) == 2
    assert "could not be read (see the column message)" in capsys.readouterr().err


def test_the_command_line(bundle_path: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (photos / "b" / "05.png").unlink()
    out = tmp_path / "faces.csv"
    recognise = ["predict", photos, "-r", "--model", bundle_path, "--crops", "--out", out]
    assert cli(*recognise, "--shard", "1/2") == 0
    assert "00001-of-00002.jsonl: " in capsys.readouterr().err
    assert cli("predict", "--merge", "--out", out) == 1
    assert capsys.readouterr().err == "mien: shard 2 of 2 is missing; run it and merge then\n"
    assert cli("predict", "--merge", "--out", out, "--json") == 1
    assert json.loads(capsys.readouterr().out)["problems"] == ["shard 2 of 2 is missing; run it and merge then"]
    assert cli(*recognise, "--shard", "2/2") == 0
    assert cli("predict", photos, "-r", "--merge", "--out", out) == 0
    assert "11 faces in 11 files from 2 shards; each file is there once" in capsys.readouterr().err
    for arguments, said in (
        (["--shard", "1/2"], "makes a table; say which with --out"),
        (["--shard", "1/2", "--merge", "--out", out], "--shard and --merge do not go together"),
        (["--shard", "1/2", "--engine", "ray", "--out", out], "--engine ray shares the work out by itself"),
        (["--merge", "--out", out, "--views", "flip"], "leave --views away"),
        (["--workers", "2", "--out", out], "belongs to --engine ray"),
        (["--shard", "0/2", "--out", out], "count from 1"),
    ):
        assert cli("predict", photos, "-r", *arguments) == 2
        assert said in capsys.readouterr().err
