"""The files of a result and their line in the ledger: all of them, or none, also after kill -9 or on a full disk."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from mien.results.ledger import Ledger
from mien.store.atomic import sync_folder, tidy
from mien.store.locking import lock_path

_NOTE, _SUFFIXES = ".saving", (".json", ".npz")
_BEGUN = re.compile(r"([0-9A-Za-z]+)((?: \.json| \.npz)*)\n")


@contextlib.contextmanager
def saving(path: Path, ledger: Ledger) -> Iterator[None]:
    """Write a result within this block; the ledger's line ends it.

    Without that line the files that were not there before go again; those that were stay.

    Args:
        path: of the json; predictions of the same name lie beside it. One process at a time saves in its folder, and
            what a killed one began is taken back first.
        ledger: that lists the result when it is whole.
    """
    folder = path.parent
    # The file is the lock, and notes what is begun: it lies there as long as something may have to be taken back.
    handle = lock_path(folder / _NOTE)
    assert handle is not None
    try:
        _take_back(folder, handle, ledger)
        tidy(folder / "*")
        try:
            _note(path, handle)
            yield
        finally:
            _take_back(folder, handle, ledger)
            with contextlib.suppress(PermissionError):  # Windows removes no open file; it is empty
                (folder / _NOTE).unlink()
    finally:
        os.close(handle)


def _note(path: Path, handle: int) -> None:
    """Bring to disk which files will be new."""
    new = [suffix for suffix in _SUFFIXES if not path.with_suffix(suffix).exists()]
    with os.fdopen(handle, "wb", closefd=False) as out:
        out.write(f"{' '.join([path.stem, *new])}\n".encode())
    os.fsync(handle)
    sync_folder(path.parent)


def _take_back(folder: Path, handle: int, ledger: Ledger) -> None:
    """Remove what was begun and is not listed."""
    os.lseek(handle, 0, os.SEEK_SET)
    noted = _BEGUN.fullmatch(os.read(handle, 1 << 12).decode(errors="replace"))  # half a note: nothing was begun yet
    if noted and noted[1] not in ledger.recorded():
        for suffix in noted[2].split():
            (folder / f"{noted[1]}{suffix}").unlink(missing_ok=True)
    os.ftruncate(handle, 0)
    os.lseek(handle, 0, os.SEEK_SET)
