"""A folder, an archive or a single file, all as files with names that can be read in one pass."""

from __future__ import annotations

import os
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


USUAL = (
    ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".csv", ".txt", ".lst", ".npy", ".npz", ".zip", ".gz", ".tar",
)  # fmt: skip
"""Ends of the names of what lies in data sets, however much of it there is."""
OTHERS = 10_000
"""Files and folders of other names that are looked at before a folder is taken for a wrong one."""


def walk(folder: Path) -> Iterator[os.DirEntry[str]]:
    """All files and folders below a folder, without what links lead to but files, and without what cannot be read.

    Raises:
        DataError: there is so much of what lies in no data set that this is the wrong folder.
        OSError: the folder itself cannot be read.
    """
    others = 0
    waiting = [os.fspath(folder)]
    while waiting:
        try:
            entries = list(os.scandir(waiting.pop()))
        except OSError:
            if others or waiting:
                continue  # a folder in it that is none of ours
            raise
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                waiting.append(entry.path)
            elif not entry.is_file():  # links that lead nowhere or to folders, sockets
                continue
            others += not entry.name.lower().endswith(USUAL)
            if others > OTHERS:
                raise DataError(
                    f"more than {OTHERS:,} files and folders in it are neither pictures nor tables, so this is no data "
                    "set; name the folder that holds the data set and nothing else",
                    file=folder,
                )
            yield entry


class FolderSource:
    """The files below a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def members(self) -> list[Member]:
        """Every file below the folder, by name."""
        files = (entry for entry in walk(self.folder) if entry.is_file())
        return sorted(
            (Member(Path(entry.path).relative_to(self.folder).as_posix(), entry.stat().st_size) for entry in files),
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
