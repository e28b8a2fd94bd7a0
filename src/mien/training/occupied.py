"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import OccupiedError, RunError
from mien.store.locking import lock_file

_LOCK = "lock"
_FOR_GOING_ON = (_LOCK, "checkpoint.safetensors", "teacher-*.safetensors", ".*.part")


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keep a run folder to ourselves; it is made where there is none, and removed if nothing was written into it.

    The lock ends with the process, also by kill -9.

    Raises:
        OccupiedError: another process is at it.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp()) / "run"
        >>> with occupied(folder):
        ...     sorted(path.name for path in folder.iterdir())
        ['lock']
        >>> folder.exists()
        False
    """
    path = folder / _LOCK
    with contextlib.ExitStack() as stack:
        while True:
            folder.mkdir(parents=True, exist_ok=True)
            try:
                lock = stack.enter_context(path.open("ab"))
            except FileNotFoundError:
                continue  # whoever had it took the folder away between our two steps
            if not lock_file(lock, wait=False):
                raise OccupiedError(
                    f"another process trains in {folder}; wait for it (--resume then returns its run), or choose "
                    "another seed or folder"
                )
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    break  # not the lock of a folder that was removed while we opened it
            lock.close()
        try:
            yield
        finally:
            if os.name != "posix":  # pragma: no cover - Windows removes no file that is open
                lock.close()
            with contextlib.suppress(OSError):
                path.unlink()
            with contextlib.suppress(OSError):
                folder.rmdir()  # refused where anything lies in it


def clear_away(folder: Path) -> None:
    """Remove what a process that was killed right at its end left in the folder of a finished run."""
    if any(next(folder.glob(name), None) is not None for name in _FOR_GOING_ON):
        with contextlib.suppress(RunError), occupied(folder):  # otherwise its process is still at it
            for name in _FOR_GOING_ON[1:]:
                for path in folder.glob(name):
                    path.unlink(missing_ok=True)
