"""Folders here and in object stores: images to list and read, tables to write. Credentials never come near a message.

What fsspec knows can be given as an address: ``s3://bucket/folder`` with s3fs, others with the package that fsspec
names. Credentials and endpoints come from where the store's own tools look for them, such as ``AWS_ACCESS_KEY_ID``,
``AWS_PROFILE``, ``~/.aws`` or the role of a machine, and ``AWS_ENDPOINT_URL``; they are neither options nor recorded.
"""

from __future__ import annotations

import contextlib
import functools
import posixpath
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from mien.errors import InputError, MissingExtraError
from mien.recognition.listing import Job, is_address, is_image_name
from mien.store import atomic_file
from mien.store.atomic import tidy

TRIES = 4
"""Attempts at an object, with growing pauses, before the store counts as out of reach."""
PAUSE = 0.5

# Three layers that try again multiply; the lowest one is kept short, so that a wrong address is known within a minute.
_S3: dict[str, Any] = {"config_kwargs": {"retries": {"max_attempts": 1}, "connect_timeout": 10, "read_timeout": 60}}

_Answer = TypeVar("_Answer")

_LOGIN = "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, AWS_PROFILE, or the role of this machine"


class StoreError(InputError):
    """An object store does not answer or lets nobody in; nothing is wrong with the single image."""


class ForbiddenError(StoreError):
    """One object may not be read or written, or a folder not listed. That says nothing of what is there."""


class GoneError(InputError):
    """One object is not there, or not the whole of it."""


class Place:
    """A folder, on this machine or in an object store.

    Args:
        address: a path or an address.

    Raises:
        InputError: an address with credentials in it, or of an unknown kind.
        MissingExtraError: fsspec is not installed.

    Example:
        >>> import tempfile
        >>> place = Place(tempfile.mkdtemp() + "/table")
        >>> place.write("a/b.txt", b"whole")
        >>> place.read("a/b.txt"), sorted(place.names("a")), place.names("none")
        (b'whole', ['b.txt'], [])
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/") or address
        self._system: Any = None
        if is_address(address):
            self._system, self._root = _open(self.address)

    def write(self, name: str, data: bytes) -> None:
        """A file appears whole or not at all, also where another one of that name is replaced."""
        if self._system is None:
            try:
                with atomic_file(Path(self.address, name)) as out:
                    out.write(data)
            except OSError as error:
                raise StoreError(
                    f"{Path(self.address, name)} cannot be written: {error.strerror or error}; choose another path"
                ) from None
            return
        # An object appears when its last byte has arrived, so no name beside it is needed.
        _patiently(lambda: self._system.pipe_file(f"{self._root}/{name}", data), self.address)

    def read(self, name: str) -> bytes:
        """The whole of a file of ours.

        Raises:
            GoneError: there is none.
            StoreError: nobody knows, for it is forbidden or the store does not answer.
        """
        if self._system is None:
            try:
                return Path(self.address, name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                raise GoneError(f"no such file: {Path(self.address, name)}") from None
            except OSError as error:
                raise StoreError(f"{Path(self.address, name)} cannot be read: {error.strerror or error}") from None
        return bytes(_patiently(lambda: self._system.cat_file(f"{self._root}/{name}"), self.address))

    def names(self, folder: str = "") -> list[str]:
        """What lies directly in a folder; nothing where there is none.

        Raises:
            StoreError: the folder may not be listed, or the store does not answer.
        """
        if self._system is None:
            path = Path(self.address, folder)
            if path.exists() and not path.is_dir():
                raise InputError(f"{path} is a file; choose another path, which becomes a folder")
            try:
                return [entry.name for entry in path.iterdir()] if path.is_dir() else []
            except OSError as error:
                raise StoreError(f"{path} cannot be listed: {error.strerror or error}; choose another path") from None
        where = f"{self._root}/{folder}".rstrip("/")
        try:
            entries = _patiently(lambda: self._system.ls(where, detail=False, refresh=True), self.address)
        except GoneError:
            if "/" not in self._root:  # a bucket, not a folder in one
                raise
            return []
        return [name for entry in entries if (name := posixpath.basename(entry)) and entry.rstrip("/") != where]

    def remove(self, name: str) -> None:
        """A file of ours goes, if it is there."""
        if self._system is None:
            Path(self.address, name).unlink(missing_ok=True)
        else:
            with contextlib.suppress(GoneError):
                _patiently(lambda: self._system.rm_file(f"{self._root}/{name}"), self.address)

    def sweep(self, *folders: str) -> None:
        """Remove what killed writers left, and empty folders, when all is written; stores keep neither."""
        if self._system is None:
            for folder in (Path(self.address, folder) for folder in folders):
                tidy(folder / "*")
                with contextlib.suppress(OSError):
                    folder.rmdir()

    def check(self) -> None:
        """Fail now and not after hours: the bucket exists and takes what we write."""
        self.write("_mien/write-test", b"")
        self.remove("_mien/write-test")


def list_address(address: str) -> Iterator[Job]:
    """The images at an address and below it, folder by folder, in the order of the names; or the one object itself.

    What counts as an image is as for folders (`mien.recognition.listing.list_images`). One folder is held at a time.

    Raises:
        InputError: there is nothing, nobody is let in, or nobody answers.
    """
    system, root = _open(address)
    start = _patiently(lambda: system.info(root), address)
    if start["type"] != "directory":
        yield Job(address, size=_size(start))
        return
    waiting = [root.rstrip("/")]
    while waiting:
        folder = waiting.pop()
        listing = functools.partial(system.ls, folder, detail=True, refresh=True)
        entries = sorted(_patiently(listing, address), key=lambda entry: str(entry["name"]))
        inner = [e for e in entries if e["name"].rstrip("/") != folder]  # some stores have an object for a folder
        waiting += [e["name"].rstrip("/") for e in reversed(inner) if e["type"] == "directory"]
        for entry in inner:
            if entry["type"] != "directory" and is_image_name(posixpath.basename(entry["name"])):
                yield Job(system.unstrip_protocol(entry["name"]), size=_size(entry))


def read_address(job: Job, most: int) -> bytes:
    """One object, at most ``most`` bytes and one more, in one request.

    Raises:
        GoneError: there is no such object, or fewer bytes came than it has.
        ForbiddenError: its rights forbid it.
        StoreError: the store does not answer, or the credentials are no longer good.
    """
    system, path = _open(job.file)
    data = bytes(_patiently(lambda: system.cat_file(path, start=0, end=most + 1), job.file))
    if 0 <= len(data) < min(job.size, most + 1):
        raise GoneError(
            f"{job.shown} is cut off: {len(data):,} of {job.size:,} bytes came; put it there again, or list it anew"
        )
    return data


def check_address(address: str) -> None:
    """Refuse what cannot be an address, without repeating what may be secret.

    Raises:
        InputError: credentials in it, or no name of a bucket.
    """
    scheme, _, rest = address.partition("://")
    host = rest.partition("/")[0]
    if "@" in host:
        raise InputError(
            f"an address {scheme}://… holds credentials, which end up in logs and tables; leave them away and {_LOGIN}"
        )
    if scheme not in ("file", "local", "memory") and not host:
        raise InputError(f"{address} names no bucket; give {scheme}://BUCKET/FOLDER")


@functools.lru_cache(maxsize=8)
def _system(scheme: str) -> Any:
    try:
        import fsspec
        from fsspec.registry import known_implementations
    except ImportError:
        raise MissingExtraError(f"{scheme}://…", "scale") from None
    if scheme in ("http", "https"):
        raise InputError(f"{scheme}:// is no folder that can be listed; download the images first")
    try:
        return fsspec.filesystem(scheme, use_listings_cache=False, **(_S3 if scheme in ("s3", "s3a") else {}))
    except ImportError:
        if scheme in ("s3", "s3a"):
            raise MissingExtraError(f"{scheme}://…", "scale") from None
        package = known_implementations.get(scheme, {}).get("err", "see fsspec's list of stores")
        raise InputError(f"{scheme}:// needs a package of its own: {package}") from None
    except ValueError:
        raise InputError(f"{scheme}:// is no kind of store that fsspec knows; give s3://BUCKET/FOLDER") from None


def _open(address: str) -> tuple[Any, str]:
    check_address(address)
    system = _system(address.partition("://")[0].lower())
    return system, str(system._strip_protocol(address))


def _size(entry: dict[str, Any]) -> int:
    size = entry.get("size")
    return -1 if size is None else int(size)


def _patiently(ask: Callable[[], _Answer], address: str) -> _Answer:
    """Ask again while the store only stumbles; its errors become sentences that name no secret."""
    for attempt in range(TRIES):
        try:
            return ask()
        except Exception as error:
            said = _said(error, address)
            if attempt == TRIES - 1 or not isinstance(said, _StumblingError):
                raise said from None
            time.sleep(PAUSE * 2**attempt)
    raise AssertionError


class _StumblingError(StoreError):
    """Worth another attempt."""


def _said(error: Exception, address: str) -> InputError:
    """Only the kind of an error is told: its text may hold keys, tokens or signed addresses."""
    code = _code(error)
    bucket = "/".join(address.split("/")[:3])
    if isinstance(error, InputError):
        return error
    if isinstance(error, FileNotFoundError):
        if code == "NoSuchBucket":
            return StoreError(f"there is no bucket {bucket}; check its name, or make it")
        return GoneError(f"there is nothing at {address}; check the address")
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return StoreError(f"there are no credentials for {bucket}; {_LOGIN}")
    if isinstance(error, PermissionError):
        if code in ("AccessDenied", "403", "Forbidden", "AllAccessDisabled", "InvalidObjectState"):
            return ForbiddenError(f"{address} may not be read or written with these credentials; {_LOGIN}")
        return StoreError(f"{bucket} does not accept the credentials ({code or 'PermissionError'}); {_LOGIN}")
    if isinstance(error, (IsADirectoryError, NotADirectoryError)):
        return GoneError(f"{address} is no object; check the address")
    kind = code or type(error).__name__
    return _StumblingError(
        f"{bucket} cannot be reached ({kind}); check the network, and AWS_ENDPOINT_URL for a store of your own"
    )


def _code(error: BaseException | None) -> str:
    """The store's own word for what happened, from the error or from what caused it."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))[:60]
        error = error.__cause__ or error.__context__
    return ""
