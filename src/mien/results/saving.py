"""The files of a result and their line in the ledger: all of them, or none, also after kill -9 or on a full disk."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from mien.results.ledger import Ledger
from mien.store.atomic import tidy, write_text
from mien.store.locking import lock_folder

_NOTE = ".saving"


@contextlib.contextmanager
def saving(path: Path, ledger: Ledger) -> Iterator[None]:
    """Write a result within this block; the ledger's line ends it.

    Args:
        path: of the json; predictions of the same name lie beside it. One process at a time saves in its folder, and
            what a killed one began is taken back first.
        ledger: that lists the result when it is whole.
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        _take_back(folder, ledger)
        write_text(folder / _NOTE, path.stem)
        try:
            yield
        finally:
            _take_back(folder, ledger)


def _take_back(folder: Path, ledger: Ledger) -> None:
    """Remove what was begun and is not listed."""
    tidy(folder / "*")
    note = folder / _NOTE
    if not note.exists():
        return
    id = note.read_text(encoding="utf-8")
    if id.isalnum() and id not in ledger.recorded():
        for suffix in (".json", ".npz"):
            (folder / f"{id}{suffix}").unlink(missing_ok=True)
    note.unlink()
