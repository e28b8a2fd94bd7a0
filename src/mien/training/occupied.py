"""One process at a time trains in a run folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import OccupiedError, RunError
from mien.store.locking import holding

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
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_empty, folder)
        if stack.enter_context(holding(folder / _LOCK, wait=False)) is None:
            raise OccupiedError(
                f"another process trains in {folder}; wait for it (--resume then returns its run), or choose another "
                "seed or folder"
            )
        yield


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
