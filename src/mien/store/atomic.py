"""Files and folders that appear whole or not at all, also after kill -9 or a power cut; the next writer tidies up.

What is being written lies beside its target, hidden and locked by its writer. A lock ends with its process, so what
nobody holds is what a killed writer left: the next writer of the same target takes its place or removes it.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from mien.store.locking import lock_file, lock_folder

_PART, _OLD = ".part", ".old"


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
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, part = _open_part(path)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
            if os.name == "posix":
                # Parts are private; a finished file has the rights any new file would have.
                umask = os.umask(0)
                os.umask(umask)
                part.chmod(0o666 & ~umask)
                part.replace(path)  # while it is ours: nobody may take it for a leftover in between
        if os.name != "posix":  # pragma: no cover - Windows moves no open file
            part.replace(path)
        sync_folder(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


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
    tidy(path)
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent))
    with lock_folder(part):
        try:
            yield part
            part.chmod(0o755)
            _sync_files(part)
            if not path.exists():
                part.replace(path)
            elif not _exchange(part, path):
                old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_OLD, dir=path.parent))
                with lock_folder(old):
                    path.replace(old / path.name)
                    part.replace(path)
                    shutil.rmtree(old, ignore_errors=True)
            sync_folder(path.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)


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
    for left in sorted(path.parent.iterdir()):
        if not left.name.startswith(start) or not left.name.endswith((_PART, _OLD)) or left.is_symlink():
            continue
        target = path.parent / left.name[1:].rsplit(".", 2)[0]
        if left.is_dir():
            with lock_folder(left, wait=False) as ours:
                if not ours:
                    continue
                if left.name.endswith(_OLD) and (left / target.name).exists() and not target.exists():
                    (left / target.name).replace(target)  # killed between two steps: the old one is still the one
                shutil.rmtree(left, ignore_errors=True)
                removed.append(left)
        elif left.name.endswith(_PART) and _unlink_dead(left):
            removed.append(left)
    return removed


def _open_part(path: Path) -> tuple[int, Path]:
    """A file to write to, locked. One name per target, so that a killed writer leaves at most one, for the next."""
    if os.name == "posix":
        part = path.with_name(f".{path.name}.0{_PART}")
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        with contextlib.suppress(OSError):
            while True:
                handle = os.open(part, flags, 0o600)
                try:
                    if not _safe(handle) or not lock_file(handle, wait=False):
                        os.close(handle)
                        break
                    if _same(handle, part):
                        os.ftruncate(handle, 0)
                        return handle, part
                except BaseException:
                    os.close(handle)
                    raise
                os.close(handle)  # its writer was just done with it, and moved it to its place
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=_PART, dir=path.parent)
    with contextlib.suppress(OSError):
        lock_file(handle, wait=False)
    return handle, Path(name)


def _safe(handle: int) -> bool:
    """Whether a file that was there already is one of ours: in a folder for everybody, its name can be guessed."""
    found = os.fstat(handle)
    return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_uid == os.geteuid()


def _same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.lstat())
    except FileNotFoundError:
        return False


def _unlink_dead(part: Path) -> bool:
    if os.name != "posix":  # pragma: no cover - Windows: whoever has it open keeps it
        with contextlib.suppress(OSError):
            part.unlink()
            return True
        return False
    try:
        handle = os.open(part, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if not _safe(handle) or not lock_file(handle, wait=False) or not _same(handle, part):
            return False
        part.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


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
