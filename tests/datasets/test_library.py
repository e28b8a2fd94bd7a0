from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from faces_on_disk import Faces, write_folder

from mien.datasets import DATASETS, fer2013, import_dataset, library, load_dataset
from mien.datasets.library import imported
from mien.datasets.readers import sources
from mien.errors import DataError, InputError, UnknownNameError


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Paths that were really read."""
    seen: list[Path] = []

    def read(path: Path, progress: object) -> object:
        seen.append(path)
        return fer2013.read_fer2013(path, None)

    entry = library.DataSet("fer2013", "", read=read)  # type: ignore[arg-type]
    monkeypatch.setitem(DATASETS._entries, "fer2013", entry)
    return seen


@pytest.mark.usefixtures("mien_cache")
def test_a_source_is_read_when_it_is_new_or_changed(source: Path, reads: list[Path]) -> None:
    first = load_dataset("fer2013", source)
    assert load_dataset("fer2013", str(source)).fingerprint == first.fingerprint
    assert load_dataset("fer2013").fingerprint == first.fingerprint
    assert len(reads) == 1
    source.write_bytes(Faces(21, seed=9).csv())
    changed = load_dataset("fer2013", source)
    assert len(reads) == 2
    assert changed.fingerprint != first.fingerprint
    os.utime(source, ns=(1, 1))
    load_dataset("fer2013", source)
    assert len(reads) == 3
    import_dataset("fer2013", source)
    assert len(reads) == 4
    # What was opened before is still whole.
    assert len(first.train.images) == 14


@pytest.mark.usefixtures("mien_cache")
def test_a_folder_counts_as_changed_when_a_picture_comes_or_goes(
    faces: Faces, tmp_path: Path, reads: list[Path]
) -> None:
    folder = write_folder(faces.pictures(), tmp_path / "pictures")
    load_dataset("fer2013", folder)
    load_dataset("fer2013", folder)
    assert len(reads) == 1
    next(folder.rglob("*.png")).unlink()
    assert len(load_dataset("fer2013", folder)) == 41
    assert len(reads) == 2


def test_a_damaged_cache_is_imported_again(source: Path, reads: list[Path], mien_cache: Path) -> None:
    load_dataset("fer2013", source)
    for path in mien_cache.rglob("images.npy"):
        path.write_bytes(b"")
    assert len(load_dataset("fer2013", source).train) == 14
    assert len(reads) == 2
    (mien_cache / "datasets" / "fer2013" / "sources.json").write_text("{")
    with pytest.raises(InputError, match="mien data import fer2013 PATH"):
        load_dataset("fer2013")


@pytest.mark.usefixtures("mien_cache")
def test_errors_say_what_to_do(source: Path) -> None:
    with pytest.raises(InputError, match=r"not imported yet: run `mien data import fer2013 PATH`"):
        load_dataset("fer2013")
    with pytest.raises(UnknownNameError, match="did you mean 'fer2013'"):
        load_dataset("fer213")
    with pytest.raises(DataError, match="no such file"):
        load_dataset("fer2013", source.with_name("gone"))
    with pytest.raises(InputError, match="takes no option 'seed'"):
        load_dataset("fer2013", source, seed=3)
    with pytest.raises(InputError, match="made, not read"):
        load_dataset("drawn", source)
    with pytest.raises(InputError, match="drawn takes no option 'colour'; known: count, seed"):
        load_dataset("drawn", colour="red")
    with pytest.raises(InputError, match="needs no import"):
        import_dataset("drawn", source)


@pytest.mark.usefixtures("mien_cache")
def test_what_else_lies_in_a_folder_does_not_matter(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    (folder / "more").mkdir(parents=True)
    (folder / "fer2013.csv").write_bytes(source.read_bytes())
    for link, target in (("lost.csv", "nowhere"), ("SingletonCookie", "1234"), ("more/up", "..")):
        (folder / link).symlink_to(target)
    assert len(load_dataset("fer2013", folder)) == len(load_dataset("fer2013", source))
    assert imported("fer2013")[0]["size"] >= source.stat().st_size


@pytest.mark.usefixtures("mien_cache")
def test_a_large_folder_of_something_else_is_not_looked_through(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "OTHERS", 20)
    folder = tmp_path / "wrong"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number}.csv").touch()
    (folder / "fer2013.csv").write_bytes(source.read_bytes())
    assert len(load_dataset("fer2013", folder)), "tables and pictures count for nothing"
    for number in range(30):
        (folder / f"{number}.py").touch()
    for read in (load_dataset, import_dataset):
        with pytest.raises(DataError, match="more than 20 files and folders in it are neither pictures nor tables"):
            read("fer2013", folder)


def test_a_wrong_source_is_told_before_a_wrong_cache(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="there is no such file or folder; check the path"):
        import_dataset("fer2013", tmp_path / "none.csv")
    with pytest.raises(DataError, match="cannot be stored there"):
        import_dataset("fer2013", source)
    source.write_text(source.read_text() + "0,1 2 3,Training\n")
    with pytest.raises(DataError, match=r"fer2013\.csv, line \d+"):
        import_dataset("fer2013", source)


@pytest.mark.usefixtures("mien_cache")
def test_opening_again_does_not_read_the_images(source: Path) -> None:
    load_dataset("fer2013", source)
    start = time.process_time()
    for _ in range(20):
        load_dataset("fer2013", source)
    # 35,887 faces take as long as 42, since nothing but headers is read; the budget is 50 ms for one.
    assert time.process_time() - start < 1.0
