"""A manifest: named model files with their addresses, sizes and pinned hashes. What is not pinned is not fetched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from mien.errors import FetchError, InputError
from mien.registry import Registry
from mien.store.download import as_url, read_small

FORMAT = "mien-manifest@1"
KINDS = ("bundle", "detector")
LARGEST = 1 << 31  # bytes; an ONNX file cannot be larger
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """One file of a manifest.

    Args:
        name: what the command line calls it: small letters, digits, ``.``, ``_``, ``-``.
        kind: ``bundle`` or ``detector``.
        urls: where it lies, tried in this order: https, http or file.
        sha256: of the whole file, hex.
        bytes: its size.
        licence: in SPDX form where there is one.
        about: one line for a person.
    """

    name: str
    kind: str
    urls: tuple[str, ...]
    sha256: str
    bytes: int
    licence: str = ""
    about: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "urls", tuple(self.urls))
        if not _NAME.fullmatch(str(self.name)):
            raise InputError(f"{self.name!r} is no name for a file: small letters, digits, '.', '_' and '-', up to 64")
        if self.kind not in KINDS:
            raise InputError(f"{self.name}: kind is {' or '.join(KINDS)}, not {self.kind!r}")
        if not _SHA256.fullmatch(str(self.sha256)):
            raise InputError(f"{self.name}: sha256 is no hash of 64 hexadecimal digits in small letters")
        if not isinstance(self.bytes, int) or not 0 < self.bytes <= LARGEST:
            raise InputError(f"{self.name}: bytes lie above 0 and up to {LARGEST:,}")
        if not self.urls or not all(urlsplit(url).scheme in ("https", "http", "file") for url in self.urls):
            raise InputError(f"{self.name}: urls are one or more addresses of https, http or file")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "urls": list(self.urls)}

    @classmethod
    def from_json(cls, value: Any, base: str = "") -> Entry:
        """The inverse of `to_json`; relative addresses are meant from ``base``."""
        if not isinstance(value, Mapping) or not isinstance(value.get("urls"), list | tuple):
            raise InputError("an entry is an object with name, kind, urls, sha256 and bytes")
        if unknown := set(value) - {field.name for field in fields(cls)}:
            raise InputError(f"an entry has unknown fields: {', '.join(sorted(map(str, unknown)))}")
        try:
            return cls(**{**value, "urls": tuple(urljoin(base, str(url)) for url in value["urls"])})
        except TypeError as error:
            raise InputError(f"an entry is incomplete ({error})") from None


class Manifest:
    """Entries by name.

    Raises:
        InputError: a name twice.
    """

    def __init__(self, entries: list[Entry]) -> None:
        self._entries: Registry[Entry] = Registry("file of the manifest")
        for entry in entries:
            if entry.name in self._entries:
                raise InputError(f"the manifest names {entry.name!r} twice")
            self._entries.add(entry.name, entry)

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name; an unknown one raises `UnknownNameError` with the nearest names."""
        return self._entries[name]

    def __iter__(self) -> Iterator[Entry]:
        return (entry for _, entry in self._entries.items())

    def names(self, kind: str) -> list[str]:
        """The names of one kind."""
        return [entry.name for entry in self if entry.kind == kind]


def packaged_manifest() -> Manifest:
    """The manifest that comes with the package.

    Example:
        >>> packaged_manifest()["yunet"].kind
        'detector'
    """
    return _parse(files("mien.store").joinpath("manifest.json").read_bytes(), "the manifest of this package", "")


def read_manifest(source: str | Path) -> Manifest:
    """A manifest from a path or an address; relative addresses in it are meant from where it lies.

    Raises:
        FetchError: it cannot be had.
        InputError: it is no manifest.
    """
    url = as_url(source)
    return _parse(read_small(url), str(source), url)


def _parse(data: bytes, where: str, base: str) -> Manifest:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise FetchError(f"{where} is no manifest: it is no JSON") from None
    if not isinstance(value, dict) or value.get("format") != FORMAT or not isinstance(value.get("files"), list):
        raise InputError(f"{where} is no manifest of the format {FORMAT}; a newer mien may read it")
    try:
        return Manifest([Entry.from_json(entry, base) for entry in value["files"]])
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
