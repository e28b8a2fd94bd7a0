"""Files and folders that appear whole or not at all, also after kill -9 or a power cut; the next writer tidies up.

What is being written lies beside its target, hidden, and locked by its writer: a file itself, a folder by a file with
the same name but for the ending. A lock ends with its process, so what nobody holds is what a killed writer left: the
next writer of the same target takes its place or removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mien.store.locking import holding, lies_at, lock_path

_PART, _OLD, _LOCK = ".part", ".old", ".lock"
_IS_LOCK = re.compile(r"\..+\.[0-9a-f]{8}\.lock")
_SCRATCH = "mien-scratch"
"""Stands for all scratch folders in a folder; nothing gets that name, so nothing is put back under it either."""


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def atomic_file(path: str | Path) -> Iterator[IO[bytes]]:
    """Open a binary file beside ``path`` that takes its place when the block ends without an error.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "a" / "b.bin"
        >>> with atomic_file(target) as out:
        ...     _ = out.write(b"whole")
        >>> target.read_bytes()
        b'whole'
    """
    # The number stays ours whatever the block closes, and with it the lock: all that is done to the part is done while
    # nobody may take it for a leftover.
    with atomic_part(path) as (handle, _), os.fdopen(handle, "wb", closefd=False) as out:
        yield out


@contextlib.contextmanager
def atomic_part(path: str | Path) -> Iterator[tuple[int, Path]]:
    """As `atomic_file`, for writers that open a path themselves: they write in place, to what lies there already.

    Yields:
        The number of the open and locked file, to be left open, and its path, hidden and beside ``path``. Its name ends
        in ``.part``; who tells a format by the name has to be told it.

    Example:
        >>> import tempfile, pathlib
        >>> target = pathlib.Path(tempfile.mkdtemp()) / "b.bin"
        >>> with atomic_part(target) as (_, part):
        ...     _ = part.write_bytes(b"whole")
        >>> target.read_bytes()
        b'whole'
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = _open_part(path)
    whole = False
    try:
        yield handle, part
        os.fsync(handle)
        if os.name == "posix":
            # Parts are private; a finished file has the rights any new file would have.
            umask = os.umask(0)
            os.umask(umask)
            os.fchmod(handle, 0o666 & ~umask)
            part.replace(path)
        whole = True
    finally:
        if os.name == "posix":
            if not whole and lies_at(handle, part):
                part.unlink()
            os.close(handle)
        else:  # pragma: no cover - Windows moves and removes no open file
            os.close(handle)
            if whole:
                part.replace(path)
            else:
                part.unlink(missing_ok=True)
    sync_folder(path.parent)


def write_text(path: str | Path, text: str) -> None:
    r"""Write ``text`` as UTF-8 with ``\\n`` line ends, whole or not at all."""
    with atomic_file(path) as out:
        out.write(text.encode())


@contextlib.contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """A fresh folder beside ``path`` that takes its place when the block ends without an error.

    An existing folder at ``path`` is replaced; readers that have its files open keep them.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with _private(path) as part:
        yield part
        part.chmod(0o755)
        _sync_files(part)
        if not path.exists():
            part.replace(path)
        elif not _exchange(part, path):
            old = part.with_suffix(_OLD)
            old.mkdir(mode=0o700)
            path.replace(old / path.name)
            part.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        sync_folder(path.parent)


@contextlib.contextmanager
def scratch_directory(base: str | Path | None = None) -> Iterator[Path]:
    """A private folder for what is needed during a block only; what killed processes left of theirs goes, too.

    Args:
        base: to make it in; by default the system's folder for temporary files.

    Example:
        >>> with scratch_directory() as folder:
        ...     _ = (folder / "piece").write_bytes(b"half")
        >>> folder.exists()
        False
    """
    with _private(Path(base or tempfile.gettempdir()) / _SCRATCH) as part:
        yield part


def remove_directory(path: str | Path) -> None:
    """A folder is gone in one step: nobody finds half of it, and what a kill leaves of it, `tidy` removes.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> remove_directory(folder)
        >>> folder.exists()
        False
    """
    path = Path(path)
    with _marked(path) as begin:
        old = Path(f"{begin}{_OLD}")
        path.replace(old)
        shutil.rmtree(old, ignore_errors=True)


def tidy(path: str | Path) -> list[Path]:
    """Remove what killed writers left of a file or folder; what a living one is at stays.

    Args:
        path: the target. With ``*`` as its name, of all files and folders beside each other in a folder of mien's own.

    Returns:
        What was removed.

    Example:
        >>> import tempfile, pathlib
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> (folder / ".table.csv.0.part").touch()
        >>> [left.name for left in tidy(folder / "table.csv")]
        ['.table.csv.0.part']
    """
    path = Path(path)
    removed: list[Path] = []
    if not path.parent.is_dir():
        return removed
    start = "." if path.name == "*" else f".{path.name}."
    # Folders before the files that say whether their writers live.
    for left in sorted(path.parent.iterdir(), key=lambda left: (left.suffix == _LOCK, left.name)):
        if not left.name.startswith(start) or left.is_symlink():
            continue
        if left.is_dir():
            gone = left.suffix in (_PART, _OLD) and _remove_dead(left)
        else:
            gone = (left.suffix == _PART or _IS_LOCK.fullmatch(left.name) is not None) and _unlink_dead(left)
        if gone:
            removed.append(left)
    return removed


def _open_part(path: Path) -> tuple[int, Path]:
    """A file to write to, locked. One name per target, so that a killed writer leaves at most one, for the next."""
    if os.name == "posix":
        for token in ("0", secrets.token_hex(4)):
            part = path.with_name(f".{path.name}.{token}{_PART}")
            with contextlib.suppress(OSError):  # no locks here, or a trap at that name
                handle = lock_path(part, wait=False, mode=0o600)
                if handle is None:
                    continue  # another writer is at the same target
                if _safe(handle):
                    os.ftruncate(handle, 0)
                    return handle, part
                os.close(handle)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent)
    return handle, Path(name)


@contextlib.contextmanager
def _private(path: Path) -> Iterator[Path]:
    """A fresh folder beside a target, gone when the block ends unless it was renamed in it."""
    tidy(path)
    with _marked(path) as begin:
        part = Path(f"{begin}{_PART}")
        part.mkdir(mode=0o700)
        try:
            yield part
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def _marked(path: Path) -> Iterator[str]:
    """How the folders in the making for a target begin; a locked file of that name says that their writer lives."""
    begin = str(path.with_name(f".{path.name}.{secrets.token_hex(4)}"))
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no locks here: then nobody takes the folders for left ones
            stack.enter_context(holding(Path(f"{begin}{_LOCK}")))
        yield begin


def _remove_dead(folder: Path) -> bool:
    """Remove a folder in the making if its writer does not live; one of somebody else is none of ours."""
    with contextlib.suppress(OSError), holding(folder.with_suffix(_LOCK), wait=False) as ours:
        if ours is None or not _own(folder.lstat()):
            return False
        target = folder.with_name(folder.name[1:].rsplit(".", 2)[0])
        if target.name != _SCRATCH and folder.suffix == _OLD and _is_old(folder / target.name, target):
            (folder / target.name).replace(target)  # killed between two steps: the old one is still the one
        existed = folder.exists()
        shutil.rmtree(folder, ignore_errors=True)
        return existed and not folder.exists()
    return False


def _is_old(inner: Path, target: Path) -> bool:
    """Whether what a killed writer put aside is to come back, because nothing took its place."""
    return inner.exists() and not target.exists()


def _safe(handle: int) -> bool:
    """Whether a file that was there already is one of ours: in a folder for everybody, its name can be guessed."""
    found = os.fstat(handle)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and _own(found)


def _own(found: os.stat_result) -> bool:
    return os.name != "posix" or found.st_uid == os.geteuid()


def _unlink_dead(part: Path) -> bool:
    if os.name != "posix":  # pragma: no cover - Windows: whoever has it open keeps it
        with contextlib.suppress(OSError):
            part.unlink()
            return True
        return False
    with contextlib.suppress(OSError):
        handle = lock_path(part, wait=False, make=False)
        if handle is not None:
            try:
                if _safe(handle):
                    part.unlink()
                    return True
            finally:
                os.close(handle)
    return False


def _sync_files(folder: Path) -> None:
    """Bring the files of a folder to disk before it gets its name."""
    if os.name == "posix":
        for parent, _, names in os.walk(folder):
            for name in names:
                handle = os.open(Path(parent, name), os.O_RDONLY)
                try:
                    os.fsync(handle)
                finally:
                    os.close(handle)
            sync_folder(Path(parent))


def _exchange(one: Path, other: Path) -> bool:
    """Let two paths change places in one step, so that at no time nothing is there; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):  # an old C library
        return False
    at_here, swap = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(at_here, os.fsencode(one), at_here, os.fsencode(other), swap) == 0)
