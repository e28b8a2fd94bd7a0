"""The images of a csv are written while they are read, and are stored by moving that file."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faces_on_disk import Faces, write_folder, write_tar, write_zip

from mien.datasets import import_dataset, load_dataset
from mien.datasets.disk import write_face_set
from mien.datasets.fer2013 import read_fer2013
from mien.errors import DataError
from mien.store import growing

posix = pytest.mark.skipif(os.name != "posix", reason="only POSIX moves an open file")

IMPORT = """
import sys, time
from mien.datasets import import_dataset

def wait(done, total):
    print("reading", flush=True)
    time.sleep(60)

import_dataset("fer2013", sys.argv[1], progress=wait)
"""

FULL = """
import resource, sys
from mien.datasets import import_dataset
from mien.errors import DataError
from mien.store import growing

growing._BUFFER = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, resource.RLIM_INFINITY))
try:
    import_dataset("fer2013", sys.argv[1])
except DataError as error:
    print(error)
"""


@pytest.fixture
def moved(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that were stored by giving them another name."""
    seen: list[Path] = []
    replace = Path.replace

    def noted(path: Path, target: Path) -> Path:
        if target.name == "images.npy":
            seen.append(path)
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    return seen


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


LAYOUTS: dict[str, Callable[[Faces, Path], Path]] = {
    "csv": lambda faces, folder: write_folder({"fer2013.csv": faces.csv()}, folder) / "fer2013.csv",
    "folder": lambda faces, folder: write_folder({"a/icml_face_data.csv": faces.csv()}, folder),
    "zip": lambda faces, folder: write_zip({"d/fer2013.csv": faces.csv()}, folder / "a.zip"),
    "tar": lambda faces, folder: write_tar({"fer2013.csv": faces.csv()}, folder / "a.tar.gz"),
    "pixels": lambda faces, folder: write_folder({"test.csv": faces.csv("pixels")}, folder) / "test.csv",
}


@posix
@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_are_those_of_images_in_memory(
    layout: str, faces: Faces, tmp_path: Path, mien_cache: Path, moved: list[Path]
) -> None:
    (tmp_path / "in").mkdir()
    path = LAYOUTS[layout](faces, tmp_path / "in")
    stored = import_dataset("fer2013", path)
    assert [file.name for file in moved] == ["images.npy"]
    write_face_set(read_fer2013(path), tmp_path / "want")
    assert len(moved) == 1
    (folder,) = (found for found in (mien_cache / "datasets" / "fer2013").iterdir() if found.is_dir())
    assert names(folder) == names(tmp_path / "want")
    for name in names(folder):
        assert (folder / name).read_bytes() == (tmp_path / "want" / name).read_bytes()
    np.testing.assert_array_equal(stored.all_rows().images, faces.images)


@pytest.mark.usefixtures("mien_cache")
def test_files_do_not_depend_on_how_much_is_written_at_once(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    want = import_dataset("fer2013", source)
    monkeypatch.setattr(growing, "_BUFFER", 5 * 2304)
    assert import_dataset("fer2013", source).fingerprint == want.fingerprint


@pytest.mark.usefixtures("mien_cache")
def test_shards_and_a_pair_of_files_are_written_as_before(faces: Faces, tmp_path: Path, moved: list[Path]) -> None:
    files = {"train.csv": faces.csv("emotion,pixels"), "test.csv": faces.csv("pixels")}
    pair = import_dataset("fer2013", write_folder(files, tmp_path / "pair"))
    np.testing.assert_array_equal(pair.all_rows().images, np.concatenate([faces.images] * 2))
    path = write_folder({"fer2013.csv": faces.csv()}, tmp_path / "one") / "fer2013.csv"
    sharded = import_dataset("fer2013", path, shards=True)
    np.testing.assert_array_equal(sharded.all_rows().images[:], faces.images)
    assert moved == []


@posix
def test_only_the_images_of_that_very_file_are_moved(source: Path, tmp_path: Path, moved: list[Path]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    face_set = read_fer2013(source, None, scratch)
    whole = face_set._images
    for images in (whole[::-1], whole.reshape(-1, 24, 96), whole[np.arange(42)[::-1]], np.array(whole)):
        object.__setattr__(face_set, "_images", images)
        write_face_set(face_set, tmp_path / "other", scratch=scratch)
        np.testing.assert_array_equal(np.load(tmp_path / "other" / "images.npy"), images)
    object.__setattr__(face_set, "_images", whole)
    write_face_set(face_set, tmp_path / "elsewhere", scratch=tmp_path)
    write_face_set(face_set, tmp_path / "kept")
    assert moved == []
    write_face_set(face_set, tmp_path / "taken", scratch=scratch)
    assert moved == [scratch / "images.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "taken" / "images.npy"), whole)


@posix
@pytest.mark.usefixtures("mien_cache")
def test_a_cache_behind_a_link_takes_the_file_too(
    source: Path, tmp_path: Path, moved: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "link"))
    import_dataset("fer2013", source)
    assert len(moved) == 1


@posix
def test_a_killed_import_is_tidied_by_the_next(source: Path, mien_cache: Path) -> None:
    command = [sys.executable, "-c", IMPORT, str(source)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "MIEN_CACHE": str(mien_cache)})
    assert process.stdout is not None
    assert process.stdout.readline() == b"reading\n"
    assert [name for name in names(mien_cache) if name.endswith("images.npy")], "it was killed while it wrote"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    load_dataset("fer2013", source)
    folder = mien_cache / "datasets" / "fer2013"
    assert sorted(path.name for path in folder.iterdir()) == [load_dataset("fer2013")._folder.name, "sources.json"]  # type: ignore[union-attr]
    assert not [name for name in names(mien_cache) if "scratch" in name]


@posix
def test_an_error_after_images_were_written_leaves_what_was_there(
    source: Path, mien_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "_BUFFER", 2304)
    good = source.read_bytes()
    source.write_bytes(good[:-20])
    with pytest.raises(DataError, match="line 43, column"):
        import_dataset("fer2013", source)
    assert not mien_cache.exists()
    source.write_bytes(good)
    import_dataset("fer2013", source)
    before = names(mien_cache)
    source.write_bytes(good[:-20])
    with pytest.raises(DataError, match="line 43, column"):
        import_dataset("fer2013", source)

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    source.write_bytes(good)
    with pytest.raises(KeyboardInterrupt):
        import_dataset("fer2013", source, progress=stop)
    assert names(mien_cache) == before


@posix
@pytest.mark.parametrize("buffer", [2304, 1 << 20])
def test_a_full_disk_is_told_as_such(buffer: int, source: Path, mien_cache: Path) -> None:
    command = [sys.executable, "-c", FULL, str(source), str(buffer)]
    environment = {**os.environ, "MIEN_CACHE": str(mien_cache)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
    where = mien_cache / "datasets" / "fer2013"
    assert done.stdout == (
        f"{where}: the imported data set cannot be stored there (File too large); "
        "make room, or let MIEN_CACHE name another folder\n"
    )
    assert done.stderr == ""
    assert not mien_cache.exists()


def test_a_cache_that_is_no_folder_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"a file lies where a folder should be; let MIEN_CACHE name a folder$"):
        import_dataset("fer2013", source)


@posix
@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_cache_is_told_without_the_scratch_name(
    there: bool, source: Path, mien_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, mkdir = mien_cache / "datasets" / "fer2013", Path.mkdir
    if there:
        where.mkdir(parents=True)

    def refused(path: Path, *given: Any, **named: Any) -> None:
        if not path.exists():
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        mkdir(path, *given, **named)

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(DataError) as caught:
        import_dataset("fer2013", source)
    assert str(caught.value) == (
        f"{where}: the imported data set cannot be stored there, since the folder is read-only or not yours to write "
        "to; let MIEN_CACHE name another folder"
    )
