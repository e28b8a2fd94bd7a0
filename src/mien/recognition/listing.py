"""Which images are to be recognised: files, folders, and tables (CSV) that name files and the boxes of their faces."""

from __future__ import annotations

import csv
import hashlib
import itertools
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mien.errors import DataError, InputError

SUFFIXES = (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")
"""Files below a folder that are taken for images, in capitals as well."""

DRAWING = ".faces.png"
"""How the names of annotated copies end, which are no photographs."""

LARGEST = 1 << 30
"""Bytes of a table; one box takes about forty."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Job:
    """One image to recognise.

    Args:
        file: its path, as results name it.
        boxes: x1, y1, x2, y2 in pixels, if the faces are known; no detector runs then.
        fault: why it cannot be read, where that is known already: a folder that could not be opened.
        at: its place, from 0, in a larger list of which it is a part; -1 where there is none.
        size: its bytes, where the listing says so; -1 where it does not.
    """

    file: str
    boxes: tuple[Box, ...] | None = None
    fault: str = ""
    at: int = -1
    size: int = -1

    @property
    def shown(self) -> str:
        """Its path as it can be printed: names that are no Unicode can be opened but not printed."""
        return os.fsencode(self.file).decode(errors="replace")

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values, without what is not known."""
        known: dict[str, Any] = {"boxes": self.boxes, "fault": self.fault or None}
        known |= {name: None if value < 0 else value for name, value in (("at", self.at), ("size", self.size))}
        return {"file": self.file, **{name: value for name, value in known.items() if value is not None}}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Job:
        """What `to_json` gave.

        Example:
            >>> Job.from_json(Job("a.jpg", ((1.0, 2.0, 3.0, 4.0),)).to_json())
            Job(file='a.jpg', boxes=((1.0, 2.0, 3.0, 4.0),), fault='', at=-1, size=-1)
        """
        boxes = entry.get("boxes")
        known = None if boxes is None else tuple((b[0], b[1], b[2], b[3]) for b in boxes)
        return cls(entry["file"], known, entry.get("fault", ""), entry.get("at", -1), entry.get("size", -1))


@dataclass(frozen=True)
class Plan:
    """What is to be recognised.

    Args:
        jobs: to be read once.
        settings: JSON values that tell this plan from another one: names as given, hashes of the tables.
        root: the folder below which everything lies that was given by path.
    """

    jobs: Iterator[Job]
    settings: dict[str, Any]
    root: str | None = None


def plan(
    paths: Sequence[str],
    *,
    recursive: bool = False,
    names: str | Path | None = None,
    boxes: str | Path | None = None,
    expand: Callable[[str], Iterator[Job]] | None = None,
) -> Plan:
    """Put images, a table of names and a table of boxes together.

    Args:
        paths: files, and folders with ``recursive``.
        recursive: see `list_images`.
        names: table of further files, see `read_names`.
        boxes: table of faces, see `read_boxes`. Without paths and names it also says which files there are.
        expand: gives the images at an address such as ``s3://bucket/folder``; without it an address is refused.

    Raises:
        InputError: nothing is given, or a table is none; while the jobs are read, also when the boxes are of files that
            are not among the images, and when the folders hold no image.
    """
    if not paths and names is None and boxes is None:
        raise InputError("there is nothing to recognise: give images, or a folder with --recursive")
    if "" in paths:
        raise InputError("one of the paths is empty, perhaps a variable without a value; give images or folders")
    if expand is None and (addresses := [path for path in paths if is_address(path)]):
        scheme = addresses[0].partition("://")[0]
        store = "download it first" if scheme in ("http", "https") else "--engine ray reads object stores"
        raise InputError(f"one of the paths is an address ({scheme}://…), not a file; {store}")
    known = None if boxes is None else read_boxes(boxes)
    settings = {
        "files": list(paths),
        "recursive": recursive,
        "list": None if names is None else _sha256(names),
        "boxes": None if boxes is None else _sha256(boxes),
    }
    root = _root(paths, recursive) if names is None else None

    def jobs() -> Iterator[Job]:
        if known is not None and not paths and names is None:
            yield from (Job(file, faces) for file, faces in known.items())
            return
        left = None if known is None else {same_file(file): file for file in known}
        job = None
        for job in itertools.chain(
            _list(paths, recursive, expand),
            # A table with a row per face names a file once per face; it is recognised once.
            () if names is None else map(Job, dict.fromkeys(read_names(names))),
        ):
            if known is None or left is None or job.fault:
                yield job
            else:
                spelt = left.pop(same_file(job.file), None)
                yield replace(job, boxes=() if spelt is None else known[spelt])
        if job is None and paths:
            raise InputError(f"there is no image in {_named(paths)}; images end in {', '.join(SUFFIXES)}")
        if left:
            first = next(iter(left.values()))
            raise DataError(
                f"it has boxes for {len(left):,} files that are not among the images, such as {first}; check the paths",
                file=boxes,
            )

    return Plan(jobs(), settings, root)


def list_images(paths: Iterable[str | Path], *, recursive: bool = False) -> Iterator[str]:
    """The images that are meant, folder by folder, in an order that depends on the names alone.

    Args:
        paths: files, which are taken as they are, and folders.
        recursive: replace each folder by the images in it and below it; links to folders are not followed, hidden files
            and mien's own drawings left out.

    Raises:
        InputError: a folder cannot be read.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "b").mkdir()
        >>> for name in ("z.jpg", "b/a.PNG", "notes.txt"):
        ...     (folder / name).touch()
        >>> [Path(file).name for file in list_images([folder], recursive=True)]
        ['z.jpg', 'a.PNG']
    """
    for job in _list(map(str, paths), recursive):
        if job.fault:
            raise InputError(job.fault)
        yield job.file


def is_image_name(name: str) -> bool:
    """Whether something of that name below a folder is taken for a photograph.

    Example:
        >>> is_image_name("A.JPG"), is_image_name(".a.jpg"), is_image_name("a.faces.png"), is_image_name("a.txt")
        (True, False, False, False)
    """
    return name.lower().endswith(SUFFIXES) and not name.startswith(".") and not name.endswith(DRAWING)


def read_names(path: str | Path) -> Iterator[str]:
    """The column ``file`` of a table, in its order.

    A relative name is meant from the current folder or, where nothing lies there, from the folder of the table.

    Raises:
        DataError: it is no such table; names the line.
    """
    return (file for _, file, _ in _rows(Path(path), ()))


def read_boxes(path: str | Path) -> dict[str, tuple[Box, ...]]:
    r"""The faces that a table states: columns ``file``, ``x1``, ``y1``, ``x2``, ``y2`` in pixels, others are ignored.

    The table of ``mien predict`` is one, so that boxes can be corrected and recognised again. A row without numbers
    names a file without a face. Relative names are meant as in `read_names`.

    Args:
        path: a CSV in UTF-8, with a comma, semicolon or tab between the columns.

    Returns:
        File → its boxes, both in the order of the table.

    Raises:
        DataError: it is no such table, a number is none, a box has no area; names the line.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "boxes.csv"
        >>> _ = path.write_text("file,x1,y1,x2,y2\na.jpg,10,20,50,60\na.jpg,70,20,99,60\nb.jpg,,,,\n")
        >>> read_boxes(path)
        {'a.jpg': ((10.0, 20.0, 50.0, 60.0), (70.0, 20.0, 99.0, 60.0)), 'b.jpg': ()}
    """
    path = Path(path)
    boxes: dict[str, tuple[Box, ...]] = {}
    for line, file, cells in _rows(path, ("x1", "y1", "x2", "y2")):
        known = boxes.setdefault(file, ())
        if not any(cells):
            continue
        try:
            x1, y1, x2, y2 = map(float, cells)
        except ValueError:
            raise DataError(f"{', '.join(cells)} are not four numbers, in pixels", file=path, line=line) from None
        if not all(map(math.isfinite, (x1, y1, x2, y2))) or x2 <= x1 or y2 <= y1:
            raise DataError(
                f"the box {x1:g} {y1:g} {x2:g} {y2:g} has no area; boxes are x1 y1 x2 y2 with x1 < x2 and y1 < y2",
                file=path,
                line=line,
            )
        boxes[file] = (*known, (x1, y1, x2, y2))
    return boxes


def same_file(path: str) -> str:
    """Equal for two spellings of one path; links are not followed."""
    return os.path.abspath(path)  # noqa: PTH100 - Path.absolute keeps the dots


def _sha256(path: str | Path) -> str:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{error.strerror or error}; give the path of a CSV with a column 'file'", file=path) from None


def is_address(path: str) -> bool:
    """Whether it says where something lies on another machine, rather than in a file.

    Example:
        >>> is_address("s3://bucket/photos"), is_address("photos/a.jpg"), is_address("C:/a.jpg")
        (True, False, False)
    """
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path) is not None


def _list(paths: Iterable[str], recursive: bool, expand: Callable[[str], Iterator[Job]] | None = None) -> Iterator[Job]:
    for path in paths:
        if expand is not None and is_address(path):
            yield from expand(path)
        elif recursive and os.path.isdir(path):  # noqa: PTH112 - a path may be too long to be one
            yield from _below(path)
        else:
            yield Job(path)


def _below(folder: str) -> Iterator[Job]:
    """Its images; a folder below that cannot be opened is a job with a fault, so that the others are done all the same.

    The faults come where they are met: after the images of the folders before.
    """
    faults: list[Job] = []

    def fail(error: OSError) -> None:
        name = os.fsdecode(error.filename)
        faults.append(Job(name, fault=f"{name} cannot be read: {error.strerror or error}; check the rights"))

    for parent, folders, files in os.walk(folder, onerror=fail):
        yield from faults
        faults.clear()
        folders.sort()
        for name in sorted(files):
            if is_image_name(name):
                yield Job(os.path.join(parent, name))  # noqa: PTH118 - names that are no Unicode stay what they are
    yield from faults


def _root(paths: Sequence[str], recursive: bool) -> str | None:
    folders = [
        path if recursive and os.path.isdir(path) else os.path.dirname(path)  # noqa: PTH112, PTH120
        for path in paths
        if not is_address(path) and path != "-"
    ]
    try:
        return os.path.commonpath(folders) or None
    except ValueError:  # none at all, or from here and from the root
        return None


def _named(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1:,} more"


def _rows(path: Path, wanted: tuple[str, ...]) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, file and the wanted cells of each row."""
    try:
        if path.stat().st_size > LARGEST:
            raise DataError(f"it is larger than {LARGEST >> 20:,} MiB; split it", file=path)
        stream = path.open(encoding="utf-8-sig", newline="")
    except OSError as error:
        raise DataError(f"{error.strerror or error}; give the path of a CSV with a column 'file'", file=path) from None
    with stream:
        try:
            first = stream.readline(100_000)
            delimiter = max(",;\t", key=first.count)
            names = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
            missing = [name for name in ("file", *wanted) if names.count(name) != 1]
            if missing:
                raise DataError(
                    f"the first line has to name each column once, and lacks {', '.join(missing)}; "
                    f"needed are: {', '.join(('file', *wanted))}",
                    file=path,
                    line=1,
                )
            places = [names.index(name) for name in wanted]
            at = names.index("file")
            reader = csv.reader(stream, delimiter=delimiter)
            for row in reader:
                line = reader.line_num + 1
                if not any(cell.strip() for cell in row):
                    continue
                if len(row) != len(names):
                    said = f"the row has {len(row)} columns and the first line {len(names)}"
                    raise DataError(said, file=path, line=line)
                if not row[at]:
                    raise DataError("the row names no file", file=path, line=line)
                yield line, _located(row[at], path.parent), [row[place].strip() for place in places]
        except UnicodeDecodeError:
            raise DataError("it is no text in UTF-8; save it as CSV (UTF-8)", file=path) from None
        except csv.Error as error:
            raise DataError(f"it is no CSV ({error}); save it as one", file=path) from None


def _located(file: str, folder: Path) -> str:
    # os.path and not Path: names from a table may be too long for a path, or hold what no name can.
    if os.path.isabs(file) or os.path.exists(file):  # noqa: PTH110, PTH117
        return file
    beside = os.path.join(folder, file)  # noqa: PTH118
    return beside if os.path.exists(beside) else file  # noqa: PTH110
