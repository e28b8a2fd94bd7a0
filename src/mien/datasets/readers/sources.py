"""A folder, an archive or a single file, all as files with names that can be read in one pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from mien.errors import DataError
from mien.store.archives import Archive, Member, Readable, open_archive


class Source(Protocol):
    """Named files."""

    def members(self) -> list[Member]:
        """Every file, its name relative to the source with ``/`` between the parts."""

    def read(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable]]:
        """The wanted files in any order; a stream is good until the next one."""

    def label(self, name: str) -> str:
        """How messages call a file."""


class FolderSource:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def members(self) -> list[Member]:
        """Every file below the folder, by name."""
        files = (path for path in self.folder.rglob("*") if path.is_file())
        return sorted(
            (Member(path.relative_to(self.folder).as_posix(), path.stat().st_size) for path in files),
            key=lambda member: member.name,
        )

    def read(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable]]:
        """The wanted files, by name."""
        for member in self.members():
            if wanted(member.name):
                with (self.folder / member.name).open("rb") as stream:
                    yield member, stream

    def label(self, name: str) -> str:
        """The path of the file."""
        return str(self.folder / name)


class FileSource:
    """One file by itself."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def members(self) -> list[Member]:
        """The file."""
        return [Member(self.path.name, self.path.stat().st_size)]

    def read(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable]]:
        """The file, if wanted."""
        for member in self.members():
            if wanted(member.name):
                with self.path.open("rb", buffering=0) as stream:  # whoever reads takes large pieces
                    yield member, stream

    def label(self, name: str) -> str:
        """The path of the file."""
        return str(self.path)


def open_source(path: Path) -> Source:
    """What lies at ``path``; an npz is a file, not an archive.

    Raises:
        DataError: nothing lies there.
    """
    if not path.exists():
        raise DataError("there is no such file or folder; check the path", file=path)
    if path.is_dir():
        return FolderSource(path)
    archive: Archive | None = None if path.suffix.lower() == ".npz" else open_archive(path)
    return archive or FileSource(path)
