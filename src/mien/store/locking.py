"""A lock on an open file, which ends with the process that holds it, also by kill -9."""

from __future__ import annotations

import os
from typing import IO


def lock_file(file: IO[bytes], *, wait: bool = True) -> bool:
    """Make an open file ours until it is closed.

    Args:
        file: open for writing; its content stays as it is.
        wait: until another process lets go; otherwise say at once whether it is ours.

    Returns:
        Whether the file is ours.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock_file(file, wait=False)
        True
    """
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        else:  # pragma: no cover - Windows
            import msvcrt

            # A byte far beyond the end: others can still read what is there.
            file.seek(1 << 30)
            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    except BlockingIOError:
        return False
    except OSError:  # pragma: no cover - Windows says so where the lock is taken
        if wait or os.name == "posix":
            raise
        return False
    return True
