"""The data sets by name: import once, then open from the cache in milliseconds."""

from __future__ import annotations

import contextlib
import errno
import inspect
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.datasets import affectnet, ckplus, expw, ferg, ferplus, folder, jaffe, rafdb
from mien.datasets.card import Card
from mien.datasets.disk import LAYOUT, open_face_set, write_face_set
from mien.datasets.drawn_kept import kept_faces
from mien.datasets.faceset import FaceSet
from mien.datasets.fer2013 import read_fer2013
from mien.datasets.readers import Progress
from mien.datasets.readers.records import PICTURES
from mien.datasets.readers.sources import walk
from mien.errors import DataError, InputError
from mien.registry import Registry, suggestion
from mien.store import cache_dir, scratch_directory, write_text
from mien.store.growing import WriteError


@dataclass(frozen=True)
class DataSet:
    """A data set that `load_dataset` knows.

    Attributes:
        name: what `load_dataset` calls it.
        title: one line for people.
        read: turns a source path into a face set in memory; None if it needs no files.
        scratch: whether ``read`` takes a third argument, a folder to write images to while they come, so that they
            need not be written once more.
        make: makes it from options; None if it needs files.
        derive: another data set, and what makes this one from it; None if it stands alone.
        add: of a derived data set: keeps what its own files say beside that other one; None if it has none.
        card: what is published about it; None for FER2013, whose facts are packaged, and for faces that are drawn.
    """

    name: str
    title: str
    read: Callable[..., FaceSet] | None = None
    make: Callable[..., FaceSet] | None = None
    derive: tuple[str, Callable[[FaceSet], FaceSet]] | None = None
    add: Callable[[str | Path], object] | None = None
    card: Card | None = None
    scratch: bool = False


DATASETS: Registry[DataSet] = Registry("data set")
DATASETS.add(
    "fer2013",
    DataSet("fer2013", "FER2013, 35,887 faces of seven expressions (ICML 2013)", read=read_fer2013, scratch=True),
)
DATASETS.add(
    "ferplus",
    DataSet(
        "ferplus",
        "FER+: FER2013 with the majority of ten raters",
        derive=("fer2013", ferplus.ferplus),
        add=ferplus.import_votes,
        card=ferplus.CARD,
    ),
)
for _name, _read, _card in (
    ("ckplus", ckplus.read_ckplus, ckplus.CARD),
    ("jaffe", jaffe.read_jaffe, jaffe.CARD),
    ("ferg", ferg.read_ferg, ferg.CARD),
    ("rafdb", rafdb.read_rafdb, rafdb.CARD),
    ("affectnet", affectnet.read_affectnet, affectnet.CARD),
    ("expw", expw.read_expw, expw.CARD),
    ("folder", folder.read_folder, folder.CARD),
):
    DATASETS.add(_name, DataSet(_name, _card.title, read=_read, card=_card))
DATASETS.add("drawn", DataSet("drawn", "drawn faces of the same seven expressions; needs no files", make=kept_faces))


def load_dataset(name: str, path: str | Path | None = None, **options: Any) -> FaceSet:
    """Open a data set.

    Args:
        name: one of `DATASETS`, e.g. ``"fer2013"`` or ``"drawn"``.
        path: the file, folder or archive to import it from. It is read when it is new or has changed, and opened
            from the cache otherwise. Without a path, the copy imported last is opened.
        options: of data sets that are made, not read: ``count`` and ``seed`` of the drawn faces.

    Raises:
        UnknownNameError: there is no such data set.
        InputError: it was never imported, or an option does not exist.
        DataError: the source is broken; the message names the place.

    Example:
        >>> load_dataset("drawn", count=70, seed=1).split_names
        ('train', 'selection', 'test')
    """
    if not isinstance(name, str):
        raise InputError(f"a data set is given by its name, not by a {type(name).__name__}: {', '.join(DATASETS)}")
    if path is not None and not isinstance(path, str | Path):
        raise InputError(f"the path of {name} is a str or Path, not a {type(path).__name__}")
    entry = DATASETS[name]
    if entry.make is not None:
        if path is not None:
            raise InputError(f"{name} is made, not read: leave the path away, use count=… and seed=…")
        known = list(inspect.signature(entry.make).parameters)
        for option in options:
            if option not in known:
                raise InputError(f"{name} takes no option {option!r}; {suggestion(option, known)}")
        return entry.make(**options)
    if options:
        raise InputError(f"{name} takes no option {sorted(options)[0]!r}; give the path of its files")
    if entry.derive is not None:
        return entry.derive[1](load_dataset(entry.derive[0], path))  # the path is that of the other data set
    if path is not None:
        return _opened(name, Path(path)) or import_dataset(name, path)
    folder = _read_index(name).get("latest")
    if folder is None or not (cache_dir("datasets", name) / folder).is_dir():
        raise InputError(
            f"{name} is not imported yet: run `mien data import {name} PATH`, or say where it lies (--path PATH; in "
            "Python path=…)"
        )
    return open_face_set(cache_dir("datasets", name) / folder)


LARGE = 4 << 30
"""Bytes of decoded images from which on an imported data set is stored in shards."""


def import_dataset(
    name: str, path: str | Path, *, shards: bool | None = None, progress: Progress | None = None
) -> FaceSet:
    """Read a data set from ``path`` into the cache, also if it was read before, and open it.

    Args:
        name: one of `DATASETS`.
        path: a file, folder or archive in any layout the data set travels in.
        shards: store the images compressed in shards and decode them when they are looked at; without it they are
            decoded once and stored as one array. By default for sets of more than `LARGE` bytes.
        progress: told how much is done.

    Raises:
        DataError: the source is broken; nothing was written.
    """
    entry = DATASETS[name]
    if entry.derive is not None:
        if entry.add is None:
            raise InputError(f"{name} is made from {entry.derive[0]}: run `mien data import {entry.derive[0]} PATH`")
        if shards:
            raise InputError(
                f"{name} shows the images of {entry.derive[0]}: run `mien data import {entry.derive[0]} PATH --shards`"
            )
        if not imported(entry.derive[0]):
            raise InputError(
                f"{name} is joined to {entry.derive[0]}, which is not imported yet: run `mien data import "
                f"{entry.derive[0]} PATH` first"
            )
        load_dataset(name)  # another copy of that data set is refused before anything is kept
        entry.add(path)
        return load_dataset(name)
    if entry.read is None:
        raise InputError(f"{name} needs no import: mien.load_dataset({name!r}) makes it")
    source = Path(path)
    with contextlib.ExitStack() as stack:
        scratch = None
        # An open file cannot be moved on Windows, so there the images are read into memory.
        if entry.scratch and os.name == "posix":
            # Where nothing can be stored, what is wrong with the source is told first, so it is read all the same.
            with contextlib.suppress(OSError):
                scratch = stack.enter_context(_scratch(name))
        with _storing(name, WriteError):
            face_set = entry.read(source, progress, *[scratch] * entry.scratch)
        state = _state(source)
        shards = face_set._images.nbytes > LARGE if shards is None else shards
        # Named by content and format, so that an open face set never changes under its reader.
        layout = re.findall("[a-z]+", str(face_set.info["format"]).lower())
        folder = "-".join([face_set.fingerprint[:16], *layout, *["shards"] * shards])
        with _storing(name):
            target = cache_dir("datasets", name) / folder
            stored = write_face_set(face_set, target, shards=shards, progress=progress, scratch=scratch)
            index = _read_index(name)
            sources = [known for known in index["sources"] if known["path"] != state["path"]]
            sources.append({**state, "folder": folder})
            write_text(
                cache_dir("datasets", name, "sources.json"),
                json.dumps({"layout": LAYOUT, "latest": folder, "sources": sources}, indent=1, ensure_ascii=False),
            )
    return stored


@contextlib.contextmanager
def _storing(name: str, kind: type[OSError] = OSError) -> Iterator[None]:
    """Where such an error means that the cache cannot be written to, in words."""
    try:
        yield
    except kind as error:
        # Only the system's word for it: the names of files on the way to the data set tell nobody anything.
        why, what = f" ({error.strerror or error})", "make room, or let MIEN_CACHE name another folder"
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            why = ", since the folder is read-only or not yours to write to"
            what = "let MIEN_CACHE name another folder"
        elif error.errno in (errno.ENOTDIR, errno.EEXIST):
            why, what = ", since a file lies where a folder should be", "let MIEN_CACHE name a folder"
        raise DataError(
            f"the imported data set cannot be stored there{why}; {what}", file=cache_dir("datasets", name)
        ) from error


@contextlib.contextmanager
def _scratch(name: str) -> Iterator[Path]:
    """A scratch folder beside what is stored of a data set, on the same disk; folders made for it go if it fails."""
    base = cache_dir("datasets", name)
    made = [folder for folder in (base, *base.parents) if not folder.exists()]
    try:
        base.mkdir(parents=True, exist_ok=True)  # whose error says more than that of what would be made in it
        with scratch_directory(base) as scratch:
            yield scratch
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):  # somebody else has put something there
                folder.rmdir()
        raise


def imported(name: str) -> list[dict[str, Any]]:
    """What lies in the cache of one data set: path, size, mtime and folder of each source, the latest last."""
    root = cache_dir("datasets", name)
    return [known for known in _read_index(name)["sources"] if (root / known["folder"]).is_dir()]


def _opened(name: str, source: Path) -> FaceSet | None:
    if not source.exists():
        raise DataError("there is no such file or folder; check the path", file=source)
    state = _state(source)
    for known in _read_index(name)["sources"]:
        if all(known.get(key) == state[key] for key in state):  # an index may be of an older version
            try:
                return open_face_set(cache_dir("datasets", name) / known["folder"])
            except DataError:
                return None
    return None


def _state(source: Path) -> dict[str, Any]:
    """What tells that a source has changed.

    In a folder, pictures count by their number and by the times of the folders they lie in, since asking each of
    35,887 files would take longer than opening the face set; a picture overwritten in place goes unnoticed.
    """
    stat = source.stat()
    size, newest, pictures = stat.st_size, stat.st_mtime_ns, 0
    for entry in walk(source) if source.is_dir() else ():
        if entry.name.lower().endswith(PICTURES):
            pictures += 1
            continue
        stat = entry.stat()
        newest = max(newest, stat.st_mtime_ns)
        if not entry.is_dir():
            size += stat.st_size
    return {"path": str(source.resolve()), "size": size, "mtime_ns": newest, "pictures": pictures}


def _read_index(name: str) -> dict[str, Any]:
    empty: dict[str, Any] = {"layout": LAYOUT, "latest": None, "sources": []}
    try:
        index: dict[str, Any] = json.loads(cache_dir("datasets", name, "sources.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return empty
    return index if index.get("layout") == LAYOUT else empty
