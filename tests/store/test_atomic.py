from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mien.store import atomic, atomic_directory, atomic_file, scratch_directory, write_text
from mien.store.atomic import tidy

posix = pytest.mark.skipif(os.name != "posix", reason="locks and rights of POSIX")

WRITE = """
import sys, time
from pathlib import Path
from mien.store import atomic_file, atomic_directory, scratch_directory
kind, path = sys.argv[1], Path(sys.argv[2])
with {"file": atomic_file, "folder": atomic_directory, "scratch": scratch_directory}[kind](path) as out:
    if kind == "file":
        out.write(b"half"); out.flush()
    else:
        (out / "inner").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def writer(kind: str, path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", WRITE, kind, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_in_file(path: Path) -> None:
    with atomic_file(path) as out:
        out.write(b"half")
        raise ValueError("mine")


def fail_in_folder(path: Path) -> None:
    with atomic_directory(path) as part:
        (part / "inner").touch()
        raise ValueError("mine")


@pytest.mark.parametrize("fail", [fail_in_file, fail_in_folder])
def test_a_block_that_fails_leaves_nothing(fail: Callable[[Path], None], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"):
        fail(tmp_path / "a")
    assert names(tmp_path) == []


@posix
def test_what_a_killed_writer_left_is_gone_after_the_next(tmp_path: Path) -> None:
    for _ in range(3):
        end(writer("file", tmp_path / "a"))
    assert names(tmp_path) == [".a.0.part"], "one leftover, however often it was killed"
    write_text(tmp_path / "a", "whole")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "whole"
    for _ in range(2):
        end(writer("folder", tmp_path / "b"))
    with atomic_directory(tmp_path / "b") as part:
        (part / "inner").write_text("whole")
    assert names(tmp_path) == ["a", "b"]
    assert (tmp_path / "b" / "inner").read_text() == "whole"


@posix
def test_a_living_writer_is_left_alone(tmp_path: Path) -> None:
    with writer("file", tmp_path / "a") as one, writer("folder", tmp_path / "b") as two:
        assert tidy(tmp_path / "a") == tidy(tmp_path / "b") == tidy(tmp_path / "*") == []
        write_text(tmp_path / "a", "mine")
        with atomic_directory(tmp_path / "b") as part:
            (part / "inner").write_text("mine")
        assert (tmp_path / "a").read_text() == (tmp_path / "b" / "inner").read_text() == "mine"
        end(one)
        end(two)
    assert len(tidy(tmp_path / "*")) == 2
    assert names(tmp_path) == ["a", "b"]


@posix
def test_a_scratch_folder_is_gone_after_its_block_or_after_the_next_where_that_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = writer("scratch", tmp_path)
    (other,) = (path for path in tmp_path.iterdir() if path.is_dir())
    monkeypatch.setattr(os, "getpid", lambda: 1 << 30)  # as seen from another container
    with scratch_directory(tmp_path) as ours:
        assert ours.stat().st_mode & 0o777 == 0o700
        assert {path for path in tmp_path.iterdir() if path.is_dir()} == {other, ours}, "of one that lives"
    assert (other / "inner").exists()
    assert not ours.exists()
    end(process)
    with scratch_directory(tmp_path) as ours:
        assert [path for path in tmp_path.iterdir() if path.is_dir()] == [ours]
    assert list(tmp_path.iterdir()) == []


@posix
def test_who_fails_takes_nothing_from_who_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the worst moment, just before the failed one removes its part, another writer comes."""
    unlink = Path.unlink
    others: list[contextlib.ExitStack] = []

    def late(path: Path, missing_ok: bool = False) -> None:
        if not others:
            others.append(contextlib.ExitStack())
            others[0].enter_context(atomic_file(tmp_path / "a")).write(b"whole")
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", late)
    with pytest.raises(ValueError, match="mine"):
        fail_in_file(tmp_path / "a")
    others[0].close()
    assert (tmp_path / "a").read_text() == "whole"
    assert names(tmp_path) == ["a"]


@posix
def test_many_fail_beside_one_who_writes(tmp_path: Path) -> None:
    stop = threading.Event()

    def fail() -> None:
        while not stop.is_set():
            with contextlib.suppress(ValueError):
                fail_in_file(tmp_path / "a")

    threads = [threading.Thread(target=fail) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for number in range(100):
            write_text(tmp_path / "a", str(number))
            assert (tmp_path / "a").read_text() == str(number)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert names(tmp_path) == ["a"]


@posix
def test_who_closes_the_file_keeps_the_lock(tmp_path: Path) -> None:
    def fail() -> None:
        with atomic_file(tmp_path / "a") as out:
            out.close()  # as some writers of formats do when something goes wrong
            assert tidy(tmp_path / "a") == []
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert names(tmp_path) == []


@posix
def test_many_threads_write_one_file(tmp_path: Path) -> None:
    """Nobody takes a part that was just moved to its place for a leftover."""
    texts = [str(number) * 5000 for number in range(8)]
    seen: set[str] = set()

    def again(text: str) -> None:
        for _ in range(40):
            write_text(tmp_path / "a", text)
            seen.add((tmp_path / "a").read_text())

    threads = [threading.Thread(target=again, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= set(texts), "a mixture was read"
    assert names(tmp_path) == ["a"]


@posix
def test_a_trap_in_a_folder_for_everybody_is_not_written_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / ".a.0.part").symlink_to(precious)
    write_text(tmp_path / "a", "one")
    (tmp_path / ".a.0.part").unlink()
    os.link(precious, tmp_path / ".a.0.part")
    write_text(tmp_path / "a", "two")
    (tmp_path / ".a.0.part").unlink()
    os.mkfifo(tmp_path / ".a.0.part")
    write_text(tmp_path / "a", "three")
    assert precious.read_text() == "keep"
    assert (tmp_path / "a").read_text() == "three"
    assert tidy(tmp_path / "a") == [], "and what is none of ours stays"


@posix
def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("swaps", [True, False])
def test_a_folder_is_replaced(swaps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not swaps:
        monkeypatch.setattr(atomic, "_exchange", lambda one, other: False)
    for text in ("old", "new"):
        with atomic_directory(tmp_path / "f") as part:
            (part / "inner").write_text(text)
    assert (tmp_path / "f" / "inner").read_text() == "new"
    assert names(tmp_path) == ["f"]


@posix
def test_a_scratch_folder_puts_nothing_beside_itself(tmp_path: Path) -> None:
    """In a folder for everybody, what lies under a hidden name may be anybody's."""
    for name in ("mien", "mien-scratch"):
        (tmp_path / f".{name}.abcd.old" / name).mkdir(parents=True)
    with scratch_directory(tmp_path) as ours:
        assert not ours.name.startswith(".mien."), "the name of a folder of ours that is called mien"
    assert names(tmp_path) == [".mien.abcd.old"], "another target's, and nothing came back"


@posix
def test_folders_of_others_stay_and_do_not_come_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lstat = Path.lstat

    def strange(path: Path) -> os.stat_result:
        found = list(lstat(path))
        if path.suffix in (".old", ".part"):
            found[4] += 1  # the owner
        return os.stat_result(found)

    (tmp_path / ".f.abcd.old" / "f").mkdir(parents=True)
    (tmp_path / ".f.abce.part").mkdir()
    before = names(tmp_path)
    monkeypatch.setattr(Path, "lstat", strange)
    assert tidy(tmp_path / "f") == []
    assert names(tmp_path) == before
    monkeypatch.setattr(Path, "lstat", lstat)
    assert len(tidy(tmp_path / "f")) == 2
    assert names(tmp_path) == ["f"]


@posix
def test_a_kill_between_two_steps_brings_the_old_folder_back(tmp_path: Path) -> None:
    """Where a system cannot let two folders change places."""
    (tmp_path / ".f.abcd.old" / "f").mkdir(parents=True)
    (tmp_path / ".f.abcd.old" / "f" / "inner").write_text("old")
    tidy(tmp_path / "f")
    assert (tmp_path / "f" / "inner").read_text() == "old"
    assert names(tmp_path) == ["f"]
