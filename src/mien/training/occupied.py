"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import OccupiedError, RunError
from mien.store.launch import rank
from mien.store.locking import holding, lock_path

_LOCK = "lock"
_TAKEN = (
    "another process trains in {folder}; wait for it (--resume then returns its run), or choose another seed or folder"
)
_LOOKS = 4
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

    Of several processes that torchrun started the first one looks. Any number may look at the same moment: whoever does
    keeps nobody away but one that begins right then.

    Example:
        >>> check_free(Path("no/such/folder"))
    """
    if rank():
        return
    for trial in range(_LOOKS):
        try:
            handle = lock_path(folder / _LOCK, wait=False, make=False)
        except OSError:  # none, or one that cannot be written to, which is told when it is to be
            return
        if handle is not None:
            os.close(handle)
            return
        time.sleep(0.01 * trial)  # another one may be looking
    raise OccupiedError(_TAKEN.format(folder=folder))


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
