"""Fetched model files: one folder that can be carried to a machine without a network.

Beside each file lies a small JSON with its entry of the manifest, so that it can be checked wherever it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mien.errors import FetchError, InputError
from mien.registry import suggestion
from mien.store.atomic import write_text
from mien.store.cache import cache_dir
from mien.store.download import download
from mien.store.manifest import Entry, packaged_manifest

_FOLDER = "models"


def fetch(
    entry: Entry, *, cache: str | Path | None = None, progress: Callable[[int, int], None] | None = None
) -> tuple[Path, bool]:
    """Bring a file of a manifest into the cache folder, unless it is there already and intact.

    Args:
        entry: which.
        cache: another cache folder than this machine's, for example on a stick.
        progress: called with bytes had and bytes in all.

    Returns:
        Where it lies, and whether it had to be fetched.

    Raises:
        FetchError: it cannot be had, or is not the pinned file.
    """
    path = _path(entry.name, cache)
    fresh = path.is_file() and _sha256(path) == entry.sha256
    if not fresh:
        download(entry.urls, path, sha256=entry.sha256, bytes=entry.bytes, progress=progress)
    write_text(path.with_suffix(".json"), json.dumps(entry.to_json(), indent=1) + "\n")
    return path, not fresh


def fetched(name: str, kind: str, also: Iterable[str] = ()) -> Path:
    """Where a fetched file lies, after its hash was compared with the one it was fetched by.

    Args:
        name: as in the manifest.
        kind: ``bundle`` or ``detector``.
        also: names that the caller knows besides, for whoever mistypes one.

    Raises:
        InputError: it has not been fetched, or is of another kind.
        FetchError: it is damaged.
    """
    path = _path(name, None)
    entry = _entry(path)
    if entry is None or not path.is_file():
        known = packaged_manifest().names(kind)
        if name in known:
            raise InputError(f"the {kind} {name!r} is not on this machine yet: mien fetch {name}")
        there = sorted({*known, *_local(kind), *also})
        hint = suggestion(name, there) if there else f"no {kind} has been fetched"
        raise InputError(f"no {kind} is called {name!r}; {hint}; others come by mien fetch NAME --manifest FILE")
    if entry.kind != kind:
        raise InputError(f"{name!r} is a {entry.kind}, not a {kind}")
    if _sha256(path) != entry.sha256:
        raise FetchError(
            f"{path} is damaged: it is not the file that was fetched; remove it and run: mien fetch {name}"
        )
    return path


def is_fetched(name: str, kind: str) -> bool:
    """Whether a file of that kind was fetched under that name; whether it is intact `fetched` says.

    Example:
        >>> is_fetched("no-such-bundle", "bundle")
        False
    """
    path = _path(name, None)
    entry = _entry(path)
    return entry is not None and entry.kind == kind and path.is_file()


def list_fetched(cache: str | Path | None = None) -> list[dict[str, Any]]:
    """What lies in the cache folder: ``name``, ``kind``, ``bytes``, ``sha256``, ``path``, whether it is ``intact``."""
    found = []
    for described in sorted(_path("x", cache).parent.glob("*.json")):
        path = described.with_suffix(".onnx")
        entry = _entry(path)
        if entry is not None and path.is_file():
            intact = _sha256(path) == entry.sha256
            about = {"name": entry.name, "kind": entry.kind, "bytes": entry.bytes, "sha256": entry.sha256}
            found.append({**about, "path": str(path), "intact": intact})
    return found


def _local(kind: str) -> list[str]:
    return [item["name"] for item in list_fetched() if item["kind"] == kind]


def _path(name: str, cache: str | Path | None) -> Path:
    return (cache_dir() if cache is None else Path(cache)) / _FOLDER / f"{name}.onnx"


def _entry(path: Path) -> Entry | None:
    try:
        return Entry.from_json(json.loads(path.with_name(f"{path.name.removesuffix('.onnx')}.json").read_bytes()))
    except (OSError, ValueError):
        return None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
