"""A lock on an ordinary file, which ends with the process that holds it, also by kill -9.

Network file systems share locks between machines only for ordinary files that are open for writing: a lock on a folder
would hold on one machine alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO


def lock_file(file: IO[bytes] | int, *, wait: bool = True) -> bool:
    """Make an open file ours until it is closed. Where the file may be removed by others, `lock_path` is to be used.

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


_MISSES = 100
"""Times that a file is made anew because others took it away meanwhile."""


def lock_path(path: Path, *, wait: bool = True, make: bool = True, mode: int = 0o666) -> int | None:
    """Open and lock what lies at a path, so that it still lies there when it is ours.

    Whoever holds a file may remove or rename it, and who waited for it would hold a file that nobody else finds. So
    after the lock the path is looked at, and if something else or nothing lies there, all is done again.

    Args:
        path: of an ordinary file, not a link.
        wait: until another process lets go.
        make: the file and its folder, where they are missing.
        mode: rights of a file that is made, less the umask.

    Returns:
        Its number, to be closed with `os.close`, which ends the lock; None: another process has it.

    Raises:
        FileNotFoundError: there is none, and ``make`` is not set.
        OSError: it cannot be made, or opened for writing, or its file system has no locks; nothing was made then.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "lock")
        >>> handle = lock_path(path)
        >>> print(lock_path(path, wait=False))
        None
        >>> os.close(handle)
    """
    names = ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY")  # not every system has each
    flags = os.O_RDWR | sum(getattr(os, name, 0) for name in names)
    misses = 0
    while True:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        made = False
        try:
            handle = os.open(path, flags)
            misses = 0
        except FileNotFoundError:
            if not make:
                raise
            try:
                handle = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
                made = True
            except (FileExistsError, FileNotFoundError):
                # Others made the file, or took the folder away, between our two steps; not for ever, though: some file
                # systems have folders in which nothing can be made, and answer likewise.
                misses += 1
                if misses == _MISSES:
                    raise
                continue
        try:
            if not lock_file(handle, wait=wait):
                os.close(handle)
                return None
            if lies_at(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            if made:
                path.unlink(missing_ok=True)
            raise
        os.close(handle)


@contextlib.contextmanager
def holding(path: Path, *, wait: bool = True) -> Iterator[int | None]:
    """Hold a file that is there for the length of a block only, as `lock_path`; who does not get it leaves it alone.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp(), "lock")
        >>> with holding(path) as handle:
        ...     path.exists()
        True
        >>> path.exists()
        False
    """
    handle = lock_path(path, wait=wait)
    if handle is None:
        yield None
        return
    try:
        yield handle
    finally:
        if os.name != "posix":  # pragma: no cover - Windows removes no file that is open
            os.close(handle)
        with contextlib.suppress(OSError):
            path.unlink()
        if os.name == "posix":
            os.close(handle)


def lies_at(handle: int, path: Path) -> bool:
    """Whether an open file is what lies at a path."""
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False
