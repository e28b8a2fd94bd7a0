from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from mien.errors import DataError
from mien.store import archives
from mien.store.archives import Archive, ArchiveLimits, open_archive

FILES = {"one.txt": b"1" * 10, "deep/er/two.bin": bytes(range(256)) * 20}


def zipped(path: Path, files: dict[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def tarred(path: Path, mode: str = "w:gz", files: dict[str, bytes] = FILES) -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path


def opened(path: Path, limits: ArchiveLimits | None = None) -> Archive:
    archive = open_archive(path, limits)
    assert archive is not None
    return archive


def contents(path: Path, limits: ArchiveLimits | None = None) -> dict[str, bytes]:
    return {member.name: stream.read() for member, stream in opened(path, limits).read(lambda name: True)}


MAKERS = [
    zipped,
    tarred,
    lambda path: tarred(path, "w"),
    lambda path: tarred(path, "w:bz2"),
    lambda path: tarred(path, "w:xz"),
    lambda path: tarred(path, files={f"./{name}": data for name, data in FILES.items()}),
]


@pytest.mark.parametrize("make", MAKERS)
def test_members_and_contents(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / "named.like.nothing")
    assert {member.name: member.size for member in opened(path).members()} == {k: len(v) for k, v in FILES.items()}
    assert contents(path) == FILES
    only = [member.name for member, _ in opened(path).read(lambda name: name == "one.txt")]
    assert only == ["one.txt"]
    assert list(tmp_path.iterdir()) == [path], "nothing is unpacked to disk"


def test_other_files_are_no_archives(tmp_path: Path) -> None:
    for data in (b"", b"emotion,pixels,Usage\n", bytes(600)):
        (tmp_path / "f").write_bytes(data)
        assert open_archive(tmp_path / "f") is None


BAD_NAMES = ["../out.txt", "/etc/passwd", "a/../../b", "..", "C:/x", "a\\..\\..\\b", "\\\\server\\x"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("make", [zipped, tarred])
def test_paths_outside_are_refused(make, name: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / "bad", files={"fine.txt": b"1", name: b"x"})
    with pytest.raises(DataError, match="path outside the archive") as caught:
        contents(path)
    assert f"{path}!/" in str(caught.value)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as archive:
        entry = tarfile.TarInfo("fer2013.csv")
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(DataError, match="a link or a device"):
        opened(tmp_path / "bad.tar.gz").members()


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as archive:
        entry = zipfile.ZipInfo("fer2013.csv")
        entry.create_system, entry.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="a link or a device"):
        opened(tmp_path / "bad.zip").members()


@pytest.mark.parametrize("make", [zipped, tarred])
def test_bombs_are_refused_before_they_unfold(make, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / "bomb", files={"fer2013.csv": bytes(24 << 20)})
    with pytest.raises(DataError, match="100 times its packed size"):
        contents(path)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_would_unpack_without_a_bound_is_refused(packing: int, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w", packing) as archive:
        archive.writestr("fer2013.csv", b"emotion,pixels,Usage")
    with pytest.raises(DataError, match="another way than stored or deflated"):
        opened(tmp_path / "bad.zip").members()


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_long_headers_of_a_tar_are_refused_before_they_are_read(kind: bytes, tmp_path: Path) -> None:
    """Less than what the ratio asks about, and made of what packs badly."""
    record = b"3000000 comment=" + os.urandom(3_000_000 - 17) + b"\n"
    taken: list[int] = []
    with tarfile.open(tmp_path / "bad.tar.gz", "w:gz") as archive:
        header = tarfile.TarInfo("header")
        header.type, header.size = kind, len(record)
        archive.addfile(header, io.BytesIO(record))
        archive.addfile(tarfile.TarInfo("fer2013.csv"))
    with pytest.MonkeyPatch.context() as patch:
        whole = archives._Reader.read
        patch.setattr(archives._Reader, "read", lambda self, size=-1: taken.append(size) or whole(self, size))
        with pytest.raises(DataError, match="1,024 KiB of headers"):
            opened(tmp_path / "bad.tar.gz").members()
    assert sum(taken) < 2 << 20


def test_files_between_short_headers_are_read_however_large(tmp_path: Path) -> None:
    files = {f"{'long/' * 40}{number}": os.urandom(1_500_000) for number in range(3)}
    path = tarred(tmp_path / "large.tar", "w", files)
    assert contents(path) == files
    assert len(opened(path).members()) == 3


def test_a_zip_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "liar.zip", {"fer2013.csv": bytes(1 << 20)})
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 1 << 20), struct.pack("<I", 1 << 10)))
    with pytest.raises(DataError, match="damaged"):
        contents(path)


@pytest.mark.parametrize("make", [zipped, tarred])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (ArchiveLimits(members=1), "more than 1 files"),
        (ArchiveLimits(member_bytes=1000), "more than 0 MiB"),
        (ArchiveLimits(total_bytes=5125), "more than 0 MiB"),
    ],
)
def test_limits(make, limits: ArchiveLimits, words: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=words):
        contents(make(tmp_path / "archive"), limits)


@pytest.mark.parametrize("make", MAKERS[:2])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9])
def test_truncation_is_noticed(make, keep: float, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    path = make(tmp_path / "short", files={"a": os.urandom(40_000)})
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DataError, match="damaged or truncated"):
        contents(path)


def test_a_flipped_byte_in_a_zip_is_noticed(tmp_path: Path) -> None:
    path = zipped(tmp_path / "flipped.zip", method=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[data.index(b"1111") + 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="damaged"):
        contents(path)


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "secret.zip", {"a.txt": b"hello"}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        contents(path)


def test_an_error_of_the_caller_is_not_called_damage(tmp_path: Path) -> None:
    def read_and_fail() -> None:
        for _ in opened(zipped(tmp_path / "a.zip")).read(lambda name: True):
            raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        read_and_fail()
