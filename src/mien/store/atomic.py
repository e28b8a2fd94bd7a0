"""Files and folders that appear whole or not at all, also after kill -9 or a power cut."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO


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
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    part = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        if os.name == "posix":
            # mkstemp makes private files; a finished file has the rights any new file would have.
            umask = os.umask(0)
            os.umask(umask)
            part.chmod(0o666 & ~umask)
        part.replace(path)
        sync_folder(path.parent)
    finally:
        part.unlink(missing_ok=True)


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
    part = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent))
    try:
        yield part
        part.chmod(0o755)
        if path.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".old", dir=path.parent))
            path.replace(old / path.name)
            part.replace(path)
            shutil.rmtree(old, ignore_errors=True)
        else:
            part.replace(path)
        sync_folder(path.parent)
    finally:
        shutil.rmtree(part, ignore_errors=True)
