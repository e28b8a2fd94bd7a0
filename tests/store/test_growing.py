from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.store import growing
from mien.store.growing import GrowingArray, WriteError

FULL = """
import resource, sys
from pathlib import Path
from mien.store.growing import GrowingArray, WriteError

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
try:
    with GrowingArray((1000,), Path(sys.argv[1])) as array:
        for _ in range(int(sys.argv[2])):
            array.append([[1] * 1000])
        array.finish()
except WriteError as error:
    print(error, flush=True)
"""


@pytest.mark.parametrize("count", [1, 2, 3, 4, 11, 100])
@pytest.mark.parametrize("row", [(), (5,), (3, 4)])
def test_the_file_is_that_of_numpy(
    count: int, row: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(growing, "_BUFFER", 40)  # several rows, and buffers that end within what is appended
    rows = np.random.default_rng(0).integers(0, 256, (count, *row), np.uint8)
    with GrowingArray(row) as memory, GrowingArray(row, tmp_path / "grown.npy") as file:
        for array in (memory, file):
            array.append(rows[:2])
            array.append(rows[2:3].astype(np.int64))
            array.append(rows[3:])
            assert array.count == count
        in_memory, mapped = memory.finish(), file.finish()
    np.save(tmp_path / "saved.npy", rows)
    assert (tmp_path / "grown.npy").read_bytes() == (tmp_path / "saved.npy").read_bytes()
    np.testing.assert_array_equal(in_memory, rows)
    np.testing.assert_array_equal(mapped, rows)
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable


def test_nothing_is_an_array_too(tmp_path: Path) -> None:
    for path in (None, tmp_path / "grown.npy"):
        with GrowingArray((2, 3), path) as array:
            assert array.finish().shape == (0, 2, 3)
    assert np.load(tmp_path / "grown.npy").shape == (0, 2, 3)


def test_only_the_lower_byte_counts(tmp_path: Path) -> None:
    with GrowingArray((2,), tmp_path / "grown.npy") as array:
        array.append(np.array([[0x1203, 0xFF04]], np.uint16))
        assert array.finish().tolist() == [[3, 4]]


@pytest.mark.skipif(os.name != "posix", reason="rights of POSIX")
def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with GrowingArray((1,), tmp_path / "grown.npy") as array:
            array.finish()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "grown.npy").stat().st_mode) == 0o640


def test_a_file_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "there.npy").write_bytes(b"precious")
    with pytest.raises(WriteError, match="File exists"):
        GrowingArray((1,), tmp_path / "there.npy")
    assert (tmp_path / "there.npy").read_bytes() == b"precious"
    with pytest.raises(WriteError, match="No such file"):
        GrowingArray((1,), tmp_path / "nowhere" / "a.npy")


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("rows", [1100, 5000])
def test_no_room_is_told_while_rows_come_or_at_the_end(rows: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", FULL, str(tmp_path / "grown.npy"), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("[Errno 27] File too large\n", "")
