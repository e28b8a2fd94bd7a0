"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import OccupiedError, RunError
from mien.store.locking import holding, lock_path

_LOCK = "lock"
_TAKEN = (
    "another process trains in {folder}; wait for it (--resume then returns its run), or choose another seed or folder"
)
_FOR_GOING_ON = (_LOCK, "checkpoint.safetensors", "teacher-*.safetensors", ".*.part")


@contextmanager
def occupied(folder: Path) -> Iterator[None]:
    """Keep a run folder to ourselves; it is made where there is none, and removed if nothing was written into it.

    So is the folder above it, which holds run folders.

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
    above = folder.parent
    with contextlib.ExitStack() as stack:
        if not above.exists():
            stack.callback(_remove_empty, above)  # after what lies in it
        stack.callback(_remove_empty, folder)
        if stack.enter_context(holding(folder / _LOCK, wait=False)) is None:
            raise OccupiedError(_TAKEN.format(folder=folder))
        yield


def check_free(folder: Path) -> None:
    """Refuse a run folder that another process trains in (`OccupiedError`); one that is not there is free.

    Example:
        >>> check_free(Path("no/such/folder"))
    """
    with contextlib.suppress(OSError):  # none, or one that cannot be written to, which is told when it is to be
        handle = lock_path(folder / _LOCK, wait=False, make=False)
        if handle is None:
            raise OccupiedError(_TAKEN.format(folder=folder))
        os.close(handle)


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()  # refused where anything lies in it


def clear_away(folder: Path) -> None:
    """Remove what a process that was killed right at its end left in the folder of a finished run."""
    if any(next(folder.glob(name), None) is not None for name in _FOR_GOING_ON):
        with contextlib.suppress(RunError), occupied(folder):  # otherwise its process is still at it
            for name in _FOR_GOING_ON[1:]:
                for path in folder.glob(name):
                    path.unlink(missing_ok=True)
