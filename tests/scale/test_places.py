from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mien.errors import InputError, MissingExtraError
from mien.recognition.listing import Job, plan
from mien.scale import places
from mien.scale.places import ForbiddenError, GoneError, Place, StoreError, list_address, read_address

fsspec = pytest.importorskip("fsspec", reason="object stores need the extra scale")

ADDRESS = "memory://bucket/photos"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A store in memory with images and other things; no pauses."""
    monkeypatch.setattr(places, "PAUSE", 0.0)
    system = places._system("memory")
    for name in ("z.jpg", "a/2.PNG", "a/10.webp", "notes.txt", ".hidden.jpg", "a/x.faces.png"):
        system.pipe_file(f"/bucket/photos/{name}", name.encode())
    yield system
    system.rm("/bucket", recursive=True)


def test_objects_are_listed_like_files(store: Any) -> None:
    found = list(list_address(ADDRESS + "/"))
    assert [(job.file, job.size) for job in found] == [
        ("memory:///bucket/photos/z.jpg", 5),
        ("memory:///bucket/photos/a/10.webp", 9),
        ("memory:///bucket/photos/a/2.PNG", 7),
    ]
    assert [job.file for job in list_address(f"{ADDRESS}/notes.txt")] == [f"{ADDRESS}/notes.txt"]  # asked for by name
    made = plan([ADDRESS], recursive=True, expand=list_address)
    assert [job.file for job in made.jobs] == [job.file for job in found]
    with pytest.raises(GoneError, match="there is nothing at memory://bucket/none; check the address"):
        list(list_address("memory://bucket/none"))


def test_an_address_without_an_engine_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--engine ray reads object stores"):
        plan(["s3://key:secret@bucket/a.jpg"])
    with pytest.raises(InputError, match="download it first"):
        plan(["https://example.org/a.jpg"])


def test_objects_are_read_up_to_a_bound_and_cut_off_ones_are_found(store: Any) -> None:
    job = next(list_address(ADDRESS))
    assert read_address(job, 100) == b"z.jpg"
    assert len(read_address(job, 2)) == 3  # one more, so that a decoder sees that it is too large
    with pytest.raises(GoneError, match=r"z\.jpg is cut off: 5 of 900 bytes came"):
        read_address(Job(job.file, size=900), 1000)
    store.rm("/bucket/photos/z.jpg")
    with pytest.raises(GoneError, match="there is nothing at"):
        read_address(job, 100)


def test_a_place_is_a_folder_here_or_there(store: Any, tmp_path: Path) -> None:
    for address in ("memory://bucket/table", str(tmp_path / "table")):
        place = Place(address)
        assert place.names() == []
        place.check()
        place.write("_mien/job.json", b"1")
        place.write("_mien/job.json", b"22")
        assert place.read("_mien/job.json") == b"22"
        assert place.names() == ["_mien"]
        assert place.names("_mien") == ["job.json"]
        with pytest.raises(GoneError):
            place.read("none")
    (tmp_path / "table" / ".part-0.parquet.x.part").touch()
    place.sweep("")
    assert place.names() == ["_mien"]
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="is a file; choose another path"):
        Place(str(tmp_path / "file")).names()
    with pytest.raises(StoreError, match="cannot be written"):
        Place(str(tmp_path / "file")).write("a", b"")


class ClientError(Exception):
    """As botocore's: its text holds what nobody should read."""

    def __init__(self, code: str) -> None:
        self.response = {"Error": {"Code": code, "Message": "key hunter2"}}
        super().__init__("key hunter2")


def translated(kind: type[OSError], code: str) -> OSError:
    """As s3fs raises it."""
    error = kind("key hunter2")
    error.__cause__ = ClientError(code)
    return error


class NoCredentialsError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "said", "tries"),
    [
        (translated(PermissionError, "InvalidAccessKeyId"), StoreError, r"does not accept the credentials \(Inv", 1),
        (translated(PermissionError, "ExpiredToken"), StoreError, "ExpiredToken", 1),
        (translated(PermissionError, "AccessDenied"), ForbiddenError, "may not be read or written with these", 1),
        (translated(FileNotFoundError, "NoSuchBucket"), StoreError, "there is no bucket s3://bucket; check", 1),
        (translated(FileNotFoundError, "NoSuchKey"), GoneError, "nothing at s3://bucket/a.jpg", 1),
        (NoCredentialsError("hunter2"), StoreError, "there are no credentials for s3://bucket; check AWS_ACCESS", 1),
        (ClientError("SlowDown"), StoreError, r"s3://bucket cannot be reached \(SlowDown\)", places.TRIES),
        (TimeoutError("hunter2"), StoreError, r"cannot be reached \(TimeoutError\); check the network", places.TRIES),
    ],
)
def test_errors_become_sentences_without_secrets(
    error: Exception, kind: type[Exception], said: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0

    class System:
        def cat_file(self, *_: object, **__: object) -> bytes:
            nonlocal asked
            asked += 1
            raise error

    monkeypatch.setattr(places, "PAUSE", 0.0)
    monkeypatch.setattr(places, "_open", lambda address: (System(), address))
    with pytest.raises(kind, match=said) as caught:
        read_address(Job("s3://bucket/a.jpg"), 100)
    assert "hunter2" not in str(caught.value)
    assert asked == tries
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("code", ["AccessDenied", "403", "Forbidden", "InvalidObjectState"])
def test_what_is_forbidden_is_not_absent(code: str, store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object, **__: object) -> None:
        raise translated(PermissionError, code)

    place = Place("memory://bucket/table")
    asks = {"ls": place.names, "cat_file": lambda: place.read("_mien/job.json"), "rm_file": lambda: place.remove("a")}
    for name, ask in asks.items():
        with monkeypatch.context() as patch:
            patch.setattr(store, name, forbidden)
            with pytest.raises(StoreError, match="may not be read or written with these"):
                ask()


def test_a_store_that_stumbles_is_asked_again(store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, real, asked = next(list_address(ADDRESS)), store.cat_file, 0

    def cat_file(*arguments: Any, **options: Any) -> bytes:
        nonlocal asked
        asked += 1
        if asked < places.TRIES:
            raise ConnectionResetError
        return bytes(real(*arguments, **options))

    monkeypatch.setattr(store, "cat_file", cat_file)
    assert read_address(job, 100) == b"z.jpg"
    assert asked == places.TRIES


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="holds credentials") as caught:
        Place("s3://AKIA:hunter2@bucket/photos")
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputError, match="names no bucket"):
        Place("s3:///photos")


def test_other_stores_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no kind of store that fsspec knows"):
        Place("s4://bucket")
    with pytest.raises(InputError, match="download the images first"):
        Place("https://example.org/photos")

    def missing(scheme: str, **_: object) -> None:
        raise ImportError

    monkeypatch.setattr(fsspec, "filesystem", missing)
    places._system.cache_clear()
    with pytest.raises(MissingExtraError, match=r"s3://… needs .*mien\[scale\]"):
        Place("s3://bucket")
    with pytest.raises(InputError, match="gs:// needs a package of its own"):
        Place("gs://bucket")
    places._system.cache_clear()
