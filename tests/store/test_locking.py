from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

import pytest

from mien.store import locking
from mien.store.locking import holding, lock_path

posix = pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")


@posix
def test_only_ordinary_files_open_for_writing_are_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is not locked for other machines on a network file system."""
    import fcntl

    from mien.store import atomic_directory, atomic_file

    locked: list[bool] = []
    lock = locking.lock_file

    def watch(file: int, *, wait: bool = True) -> bool:
        writable = fcntl.fcntl(file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR
        locked.append(writable and stat.S_ISREG(os.fstat(file).st_mode))
        return lock(file, wait=wait)

    monkeypatch.setattr(locking, "lock_file", watch)
    with atomic_file(tmp_path / "a") as out:
        out.write(b"x")
    for _ in range(2):
        with atomic_directory(tmp_path / "b") as part:
            (part / "inner").touch()
    assert len(locked) >= 3
    assert all(locked)


def test_what_was_removed_while_we_waited_is_opened_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "lock"
    first = lock_path(path)
    assert first is not None
    got: list[int | None] = []
    waiter = threading.Thread(target=lambda: got.append(lock_path(path)))
    waiter.start()
    waiter.join(timeout=0.2)
    assert not got
    path.unlink()
    path.parent.rmdir()
    os.close(first)
    waiter.join(timeout=30)
    assert isinstance(got[0], int)
    assert locking.lies_at(got[0], path)
    assert lock_path(path, wait=False) is None
    os.close(got[0])


def test_where_nothing_can_be_made_it_is_not_tried_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of some file systems, as Linux's /proc, answer so."""
    opened = os.open

    def refuse(path: object, flags: int, *mode: int) -> int:
        if Path(str(path)).name == "lock":
            raise FileNotFoundError(2, "No such file or directory", str(path))
        return opened(path, flags, *mode)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(FileNotFoundError):
        lock_path(tmp_path / "lock")


def test_who_comes_and_goes_meets_nobody(tmp_path: Path) -> None:
    """Eight threads take a file that each of them removes at its end; never do two hold it."""
    inside, most = 0, 0

    def again() -> None:
        nonlocal inside, most
        for _ in range(50):
            with holding(tmp_path / "lock") as handle:
                assert handle is not None
                inside += 1
                most = max(most, inside)
                os.write(handle, b"x")
                inside -= 1

    threads = [threading.Thread(target=again) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert not list(tmp_path.iterdir())


def test_nothing_is_made_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.store import atomic_directory, write_text
    from mien.store.atomic import tidy

    def refuse(file: int, *, wait: bool = True) -> bool:
        raise OSError("no locks available")

    monkeypatch.setattr(locking, "lock_file", refuse)
    with pytest.raises(OSError, match="no locks"):
        lock_path(tmp_path / "lock")
    write_text(tmp_path / "a", "whole")
    with atomic_directory(tmp_path / "b") as part:
        assert tidy(tmp_path / "b") == [], "nobody can know whether its writer lives"
        (part / "inner").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_file_that_is_not_there_is_not_made_unasked(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lock_path(tmp_path / "none", make=False)
    assert not list(tmp_path.iterdir())
