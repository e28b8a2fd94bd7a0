"""Two files and a line, or nothing; and never a file of before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mien.results.ledger import Ledger
from mien.results.saving import saving

SAVE = """
import sys, time
from pathlib import Path
from mien.results.ledger import Ledger
from mien.results.saving import saving
path = Path(sys.argv[1])
with saving(path, Ledger(path.parent / "ledger.jsonl")):
    path.with_suffix(".npz").write_text("new")
    print("saving", flush=True)
    time.sleep(60)
"""


def saver(path: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-c", SAVE, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"saving\n"
    return process


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_fails_is_taken_back_and_what_was_there_stays(tmp_path: Path) -> None:
    path, ledger = tmp_path / "abc1.json", Ledger(tmp_path / "ledger.jsonl")
    path.write_text("from another machine, its ledger was not copied")

    def fail() -> None:
        with saving(path, ledger):
            path.with_suffix(".npz").write_text("new")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()
    assert names(tmp_path) == ["abc1.json"]


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_what_a_killed_one_began_is_taken_back_and_what_was_there_stays(tmp_path: Path) -> None:
    path, ledger = tmp_path / "abc1.json", Ledger(tmp_path / "ledger.jsonl")
    path.write_text("was there")
    process = saver(path)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert names(tmp_path) == [".saving", "abc1.json", "abc1.npz"]
    with saving(tmp_path / "def2.json", ledger):
        assert names(tmp_path) == [".saving", "abc1.json"]
    assert names(tmp_path) == ["abc1.json"]


@pytest.mark.skipif(os.name != "posix", reason="there is no SIGKILL")
def test_a_living_one_is_waited_for(tmp_path: Path) -> None:
    process = saver(tmp_path / "abc1.json")
    waits = f"{SAVE[: SAVE.index('with')]}with saving(path, Ledger(path.parent / 'ledger.jsonl')): print('in')"
    other = subprocess.Popen([sys.executable, "-c", waits, str(tmp_path / "def2.json")], stdout=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        other.communicate(timeout=1)
    assert (tmp_path / "abc1.npz").exists()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert other.communicate(timeout=60)[0] == b"in\n"
    assert names(tmp_path) == []


@pytest.mark.parametrize("note", ["", "abc1 .json .npz", "../abc1 .json\n", "abc1 .json ../abc1.npz\n", "\0\xff\n"])
def test_a_note_that_is_none_takes_nothing_away(note: str, tmp_path: Path) -> None:
    """Half of one, written when nothing was begun yet, or one that was made to do harm."""
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in (tmp_path / "abc1.json", inner / "abc1.json", inner / "abc1.npz"):
        path.touch()
    (inner / ".saving").write_text(note, encoding="latin-1")
    with saving(inner / "def2.json", Ledger(tmp_path / "ledger.jsonl")):
        pass
    assert names(inner) == ["abc1.json", "abc1.npz"]
    assert (tmp_path / "abc1.json").exists()
