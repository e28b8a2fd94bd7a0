"""Zip and tar archives of strangers, read member by member without unpacking them to disk, within bounds.

Names that leave the archive, links, devices, encrypted members, bombs and damage all end in one `DataError`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol, cast

from mien.errors import DataError


@dataclass(frozen=True)
class ArchiveLimits:
    """How much an archive may hold before it is refused.

    Attributes:
        members: files in it.
        member_bytes: unpacked size of one file.
        total_bytes: unpacked size of all.
        ratio: unpacked by packed size; asked only of what unpacks to more than ``ratio_from`` bytes.
        ratio_from: see ``ratio``.
        header_bytes: of a tar, what may stand between the content of one file and that of the next.
    """

    members: int = 200_000
    member_bytes: int = 1 << 30
    total_bytes: int = 2 << 30
    ratio: float = 100.0
    ratio_from: int = 16 << 20
    header_bytes: int = 1 << 20


@dataclass(frozen=True)
class Member:
    """A file in an archive: its name with ``/`` between the parts, and its unpacked size in bytes."""

    name: str
    size: int


class Readable(Protocol):
    """A stream that can be read once, from front to back."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, all that is left for -1, nothing at the end."""


_DAMAGE = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    UnicodeError,
)


class Archive:
    """A zip, tar, tar.gz, tar.bz2 or tar.xz. Make one with `open_archive`."""

    def __init__(self, path: Path, kind: str, limits: ArchiveLimits) -> None:
        self.path, self.kind, self.limits = path, kind, limits

    def members(self) -> list[Member]:
        """Every file in the archive, in its order; a tar is unpacked to nowhere for that.

        Raises:
            DataError: see the module.
        """
        return [member for member, _ in self._walk(lambda name: False)]

    def read(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable]]:
        """The wanted files in the order of the archive, each with a stream that is good until the next one.

        Raises:
            DataError: see the module; also while a stream is read.
        """
        for member, stream in self._walk(wanted):
            if stream is not None:
                yield member, stream

    def label(self, name: str) -> str:
        """How messages call a member."""
        return f"{self.path}!/{name}"

    def _walk(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable | None]]:
        return self._walk_zip(wanted) if self.kind == "zip" else self._walk_tar(wanted)

    def _walk_zip(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable | None]]:
        with self._honest(), zipfile.ZipFile(self.path) as archive:
            for entry in self._checked_entries(archive):
                member = Member(entry.filename, entry.file_size)
                if not wanted(member.name):
                    yield member, None
                    continue
                with archive.open(entry) as stream:
                    # zipfile stops at the size that the directory states, and compares the checksum there.
                    yield member, _Reader(stream, self, member.name)

    def _checked_entries(self, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        self._check_count(len(entries))
        total = 0
        for entry in entries:
            self._check_name(entry.filename)
            mode = entry.external_attr >> 16
            if entry.create_system == 3 and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
                raise self._refused(entry.filename, "a link or a device")
            if entry.flag_bits & 1:
                raise DataError("the member is encrypted; unpack it yourself", file=self.label(entry.filename))
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                # zipfile unpacks the others without a bound, whatever size the directory states.
                raise DataError(
                    "the member is packed in another way than stored or deflated; unpack the archive yourself",
                    file=self.label(entry.filename),
                )
            total += entry.file_size
            self._check_size(entry.filename, entry.file_size, total)
            self._check_ratio(entry.filename, entry.file_size, entry.compress_size)
        return entries

    def _walk_tar(self, wanted: Callable[[str], bool]) -> Iterator[tuple[Member, Readable | None]]:
        packed = self.path.stat().st_size
        with self._honest(), self._unpacked_tar() as plain:
            bounded = cast(Any, _Reader(plain, self, None, packed))  # a tar stream calls nothing but `read`
            with tarfile.open(fileobj=bounded, mode="r|") as archive:
                total = count = 0
                while (entry := archive.next()) is not None:
                    cast(Any, archive).members.clear()  # tarfile keeps every header, however long its extensions are
                    bounded.expect(entry.size if entry.isreg() else 0)
                    if entry.isdir():
                        self._check_name(entry.name)
                        continue
                    count += 1
                    self._check_count(count)
                    self._check_name(entry.name)
                    if not entry.isreg() or entry.issparse():
                        raise self._refused(entry.name, "a link or a device")
                    total += entry.size
                    self._check_size(entry.name, entry.size, total)
                    member = Member(str(PurePosixPath(entry.name)), entry.size)
                    stream = archive.extractfile(entry) if wanted(member.name) else None
                    yield member, None if stream is None else _Reader(stream, self, member.name)

    def _unpacked_tar(self) -> IO[bytes]:
        opener: dict[str, Callable[..., Any]] = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open, "tar": open}
        stream: IO[bytes] = opener[self.kind](self.path, "rb")
        return stream

    @contextmanager
    def _honest(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except _DAMAGE as error:
            # Only what reading raises: an error of the caller's own passes through the generator untouched.
            raise DataError(f"the archive is damaged or truncated ({error}); get it again", file=self.path) from error

    def _refused(self, name: str, what: str) -> DataError:
        return DataError(
            f"the member is {what}, which no data set needs; do not trust this archive, get it from its source",
            file=self.label(name),
        )

    def _check_name(self, name: str) -> None:
        parts = name.replace("\\", "/").split("/")
        if name.startswith(("/", "\\")) or ".." in parts or (len(parts[0]) > 1 and parts[0][1] == ":") or "\0" in name:
            raise self._refused(name, "a path outside the archive")

    def _check_count(self, count: int) -> None:
        if count > self.limits.members:
            raise DataError(
                f"the archive holds more than {self.limits.members:,} files; that is no data set of mien",
                file=self.path,
            )

    def _check_size(self, name: str, size: int, total: int) -> None:
        if size > self.limits.member_bytes or total > self.limits.total_bytes:
            bound = self.limits.member_bytes if size > self.limits.member_bytes else self.limits.total_bytes
            raise DataError(
                f"it unpacks to more than {bound >> 20:,} MiB; do not trust this archive, get it from its source",
                file=self.label(name),
            )

    def _check_ratio(self, name: str | None, size: int, packed: int) -> None:
        if size > self.limits.ratio_from and size > self.limits.ratio * max(packed, 1):
            raise DataError(
                f"it unpacks to more than {self.limits.ratio:g} times its packed size, as archive bombs do; "
                "do not trust this archive, get it from its source",
                file=self.path if name is None else self.label(name),
            )


def open_archive(path: str | Path, limits: ArchiveLimits | None = None) -> Archive | None:
    """The archive at ``path``, or None if it is none; told from its first bytes, not from its name.

    Example:
        >>> import tempfile, zipfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.zip"
        >>> with zipfile.ZipFile(path, "w") as archive:
        ...     archive.writestr("one/two.txt", "hello")
        >>> [(member.name, stream.read()) for member, stream in open_archive(path).read(lambda name: True)]
        [('one/two.txt', b'hello')]
    """
    path = Path(path)
    with path.open("rb") as stream:
        head = stream.read(512)
    kinds = {b"PK\x03\x04": "zip", b"PK\x05\x06": "zip", b"\x1f\x8b": "gz", b"BZh": "bz2", b"\xfd7zXZ": "xz"}
    for magic, kind in kinds.items():
        if head.startswith(magic):
            return Archive(path, kind, limits or ArchiveLimits())
    return Archive(path, "tar", limits or ArchiveLimits()) if head[257:262] == b"ustar" else None


def check_zip(stream: IO[bytes], file: str, limits: ArchiveLimits | None = None) -> None:
    """Refuse what `open_archive` would refuse in a zip that something else is going to read, such as an npz.

    Args:
        stream: seekable; left at its start.
        file: how errors call it.
        limits: see `ArchiveLimits`.

    Raises:
        DataError: see the module.
    """
    checker = Archive(Path(file), "zip", limits or ArchiveLimits())
    with checker._honest(), zipfile.ZipFile(stream) as archive:
        checker._checked_entries(archive)
    stream.seek(0)


class _Reader:
    """A stream that counts what comes out of it and turns damage into a `DataError`."""

    def __init__(self, stream: Readable, archive: Archive, name: str | None, packed: int | None = None) -> None:
        self._stream, self._archive, self._name, self._packed, self._count = stream, archive, name, packed, 0
        self._until = archive.limits.header_bytes

    def expect(self, size: int) -> None:
        """A header of a tar was read, and ``size`` bytes of content follow it before the next one."""
        self._until = self._count + size + self._archive.limits.header_bytes

    def read(self, size: int = -1) -> bytes:
        with self._archive._honest():
            data = self._stream.read(size)
        self._count += len(data)
        if self._packed is not None:
            # Headers and padding of a tar come on top of what its members hold.
            if self._count > 2 * self._archive.limits.total_bytes:
                self._archive._check_size("", self._count, self._count)
            self._archive._check_ratio(None, self._count, self._packed)
            if self._count > self._until:
                raise DataError(
                    f"it has more than {self._archive.limits.header_bytes >> 10:,} KiB of headers before a file; "
                    "do not trust this archive, get it from its source",
                    file=self._archive.path,
                )
        elif self._count > self._archive.limits.member_bytes:
            self._archive._check_size(self._name or "", self._count, self._count)
        return data
