"""A lock on an open file, which ends with the process that holds it, also by kill -9."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def lock_file(file: IO[bytes] | int, *, wait: bool = True) -> bool:
    """Make an open file ours until it is closed.

    Args:
        file: open for writing, or its number; its content stays as it is.
        wait: until another process lets go; otherwise say at once whether it is ours.

    Returns:
        Whether the file is ours.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     lock_file(file, wait=False)
        True
    """
    handle = file if isinstance(file, int) else file.fileno()
    try:
        if os.name == "posix":
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        else:  # pragma: no cover - Windows
            import msvcrt

            # A byte far beyond the end: others can still read what is there.
            os.lseek(handle, 1 << 30, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            os.lseek(handle, 0, os.SEEK_SET)
    except BlockingIOError:
        return False
    except OSError:  # pragma: no cover - Windows says so where the lock is taken
        if wait or os.name == "posix":
            raise
        return False
    return True


@contextlib.contextmanager
def lock_folder(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Keep a folder to ourselves for the length of a block, where the system can lock folders.

    Args:
        folder: it exists.
        wait: until another process lets go; otherwise say at once whether it is ours.

    Returns:
        Whether the folder is ours; on systems that lock no folders the answer is yes.
    """
    if os.name != "posix":  # pragma: no cover - Windows
        yield True
        return
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            ours = lock_file(handle, wait=wait)
        except OSError:  # a file system without locks
            ours = wait
        yield ours
    finally:
        os.close(handle)
