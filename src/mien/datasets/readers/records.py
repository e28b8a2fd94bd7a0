"""Lists of faces in files → a face set: what the readers of all picture data sets share.

A reader turns the authors' files into `Record` objects; `assemble` reads the pictures, cuts the faces, and refuses
what does not fit together. Images of a large data set are written to a temporary file while they are read, so memory
stays bounded.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.bundle import Framing
from mien.datasets.card import Card, differences
from mien.datasets.faceset import SUBJECT, Attribute, FaceSet, Role
from mien.datasets.readers.sources import Source
from mien.datasets.readers.table import Progress
from mien.errors import DataError, DecodeError, InputError
from mien.faces.crop import crop_faces
from mien.faces.decode import Limits, decode
from mien.faces.detect import Detector, open_detector
from mien.labels import LabelSet
from mien.store.archives import Member

PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
LIMITS = Limits(bytes=32 << 20, pixels=60_000_000)
EXACT = Framing(margin=1.0, shift=0.0)
"""The square around a box that the authors give, nothing added."""
IN_MEMORY = 1 << 30
"""Bytes of images that are held in memory; more lie in a temporary file until the face set is stored."""
_TEXT = 1 << 28  # bytes of a label file; AffectNet's largest has about 200 MB


@dataclass(frozen=True)
class Record:
    """One face.

    Attributes:
        member: name of its picture in the source.
        label: position in the label set.
        split: name of its split.
        box: x1 y1 x2 y2 in pixels; None for the whole picture.
        attributes: what else is known, e.g. ``{"subject": "S005"}``.
        file: the label file that names it; empty where the picture's own name does.
        line: 1-based, in that file.
    """

    member: str
    label: int
    split: str
    box: tuple[float, float, float, float] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    line: int | None = None

    def broken(self, message: str, source: Source) -> DataError:
        """An error at the place that names the face."""
        if self.file:
            return DataError(message, file=self.file, line=self.line)
        return DataError(message, file=source.label(self.member))


@dataclass(frozen=True)
class Framed:
    """How faces of a source become images of one shape.

    Attributes:
        side: pixels, both ways.
        colour: ``grey`` or ``rgb``.
        detect: cut the largest face that is found in pictures without a box, instead of taking them whole.
    """

    side: int
    colour: str
    detect: bool = False


def visible(source: Source) -> list[Member]:
    """The files of a source without the litter of systems."""
    return [
        member
        for member in source.members()
        if not any(part.startswith((".", "__MACOSX")) or part == "Thumbs.db" for part in member.name.split("/"))
    ]


def pictures(members: Iterable[Member]) -> list[str]:
    """The names of those that are pictures."""
    return [member.name for member in members if member.name.lower().endswith(PICTURES)]


def read_lines(source: Source, names: Iterable[str]) -> dict[str, list[tuple[int, str]]]:
    """The lines of text files that are not empty, with their 1-based numbers; Windows line ends and a BOM are fine.

    Raises:
        DataError: a file that is no UTF-8 text, with the line.
    """
    wanted, found = set(names), {}
    for member, stream in source.read(wanted.__contains__):
        data = stream.read(_TEXT + 1)
        file = source.label(member.name)
        if len(data) > _TEXT:
            raise DataError(f"it has more than {_TEXT >> 20} MiB; that is no label file", file=file)
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise DataError("it is UTF-16 text; save it as UTF-8", file=file, line=1)
        lines = []
        for number, raw in enumerate(data.removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                raise DataError("the line is no UTF-8 text; save the file as UTF-8", file=file, line=number) from None
            if text.strip():
                lines.append((number, text.strip()))
        found[member.name] = lines
    return found


def bucket(name: str, buckets: int) -> int:
    """A number from 0 to ``buckets`` − 1 that depends on nothing but a name: splits drawn by it never change.

    Example:
        >>> bucket("train_00001.jpg", 10)
        4
    """
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % buckets


def require(found: Sequence[Any], what: str, card: Card, path: Path) -> None:
    """Refuse a source in which nothing of the layout lies."""
    if not found:
        raise DataError(f"{what}; mien reads {'; '.join(card.layouts)}", file=path)


def assemble(
    name: str,
    label_set: LabelSet,
    records: Sequence[Record],
    source: Source,
    path: Path,
    *,
    card: Card,
    layout: str,
    framed: Framed,
    splits: Mapping[str, Role],
    taken_from: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    members: Sequence[Member] | None = None,
    progress: Progress | None = None,
) -> FaceSet:
    """Read the pictures of ``records`` and make the face set; rows are in the order of split, picture and box.

    Args:
        name: of the data set.
        label_set: what the labels of the records mean.
        records: the faces.
        source: where their pictures lie.
        path: of the source, for messages.
        card: what is published; differences become notes.
        layout: the form that was read, in words.
        framed: how the faces are cut.
        splits: names of the splits and their roles, in order.
        taken_from: for a split that was set apart here the authors' split it belongs to.
        notes: more sentences.
        members: the files of the source, if they are known already.
        progress: told the pictures done.

    Raises:
        DataError: a label whose picture is missing, a picture that cannot be read, a subject in two splits.
    """
    order = list(splits)
    rows = sorted(records, key=lambda record: (order.index(record.split), record.member, record.box or ()))
    _check_pictures(rows, source, members or source.members())
    _check_subjects(rows, source)
    used = [split for split in order if any(record.split == split for record in rows)]
    images, whole = _read_images(rows, source, framed, progress)
    lossy = any(record.member.lower().endswith((".jpg", ".jpeg")) for record in rows)
    info: dict[str, Any] = {
        "format": layout,
        "source": str(path.resolve()),
        "lossy": lossy,
        "taken_from": dict(taken_from or {}),
        "notes": [],
    }
    face_set = FaceSet.from_arrays(
        name,
        label_set,
        images,
        np.array([record.label for record in rows], np.uint8),
        np.array([used.index(record.split) for record in rows], np.uint8),
        tuple(used),
        tuple(splits[split] for split in used),
        info,
        _attributes(rows),
    )
    face_set.info["notes"].extend([*differences(face_set, card), *notes])
    if whole:
        some = ", ".join(name.rsplit("/", 1)[-1] for name in sorted(whole)[:3]) + (", …" if len(whole) > 3 else "")
        face_set.info["notes"].append(f"In {len(whole):,} pictures no face was found, so they are whole: {some}.")
    return face_set


def _check_pictures(rows: Sequence[Record], source: Source, members: Sequence[Member]) -> None:
    there = {member.name for member in members}
    missing = [record for record in rows if record.member not in there]
    if missing:
        names = list(dict.fromkeys(record.member for record in missing))
        some = ", ".join(name.rsplit("/", 1)[-1] for name in names[:3]) + (", …" if len(names) > 3 else "")
        raise missing[0].broken(
            f"there is no picture {names[0]!r} ({len(names):,} of {len({r.member for r in rows}):,} are missing: "
            f"{some}); get the whole data set",
            source,
        )


def _check_subjects(rows: Sequence[Record], source: Source) -> None:
    seen: dict[str, Record] = {}
    for record in rows:
        if subject := record.attributes.get(SUBJECT):
            first = seen.setdefault(subject, record)
            if first.split != record.split:
                raise record.broken(
                    f"subject {subject!r} is in two splits, {first.split} ({first.member}) and {record.split} "
                    f"({record.member}); put all pictures of a subject into one split",
                    source,
                )


def _attributes(rows: Sequence[Record]) -> dict[str, Attribute]:
    names = list(dict.fromkeys(name for record in rows for name in record.attributes))
    found = {}
    for name in names:
        values = [record.attributes.get(name, "unknown") for record in rows]
        known = sorted(set(values))
        if len(known) > np.iinfo(np.uint16).max:
            raise InputError(f"the attribute {name!r} has {len(known):,} values; leave it out")
        place = {value: index for index, value in enumerate(known)}
        found[name] = Attribute(tuple(known), np.array([place[value] for value in values], np.uint16))
    return found


def _read_images(
    rows: Sequence[Record], source: Source, framed: Framed, progress: Progress | None
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """The faces, and the pictures that are taken whole although a face was looked for."""
    shape = (len(rows), framed.side, framed.side) + ((3,) if framed.colour == "rgb" else ())
    images = _room(shape)
    by_member: dict[str, list[int]] = defaultdict(list)
    for index, record in enumerate(rows):
        by_member[record.member].append(index)
    detector, whole = open_detector() if framed.detect else None, list[str]()
    for done, (member, stream) in enumerate(source.read(by_member.__contains__), 1):
        file = source.label(member.name)
        try:
            picture = decode(stream.read(LIMITS.bytes + 1), limits=LIMITS, name=file)
        except DecodeError as error:
            raise DataError(f"the picture cannot be read ({error}); get it again, or take it out", file=file) from None
        for index in by_member[member.name]:
            images[index], found = _cut(picture, rows[index], source, framed, detector)
            if not found:
                whole.append(member.name)
        if progress is not None and done % 32 == 0:
            progress(done, len(by_member))
    return images, whole


def _cut(
    picture: npt.NDArray[np.uint8], record: Record, source: Source, framed: Framed, detector: Detector | None
) -> tuple[npt.NDArray[np.uint8], bool]:
    """The face, and whether it was found where it was looked for."""
    height, width = picture.shape[:2]
    box, framing, found = record.box, EXACT, True
    if box is None and detector is not None:
        detections = detector.detect(picture)
        found = len(detections) > 0
        if found:
            sides = detections.boxes[:, 2:] - detections.boxes[:, :2]
            x1, y1, x2, y2 = detections.boxes[sides.prod(axis=1).argmax()].tolist()
            box, framing = (x1, y1, x2, y2), Framing()
    try:
        box = box or (0, 0, width, height)
        crops = crop_faces(picture, [box], size=framed.side, colour=framed.colour, framing=framing)
    except InputError as error:
        raise record.broken(f"{error}; correct the box, or take the line out", source) from None
    face: npt.NDArray[np.uint8] = crops[0]
    return face, found


def _room(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    if math.prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    from mien.store import cache_dir

    folder = cache_dir("datasets")
    folder.mkdir(parents=True, exist_ok=True)
    # The file has no name, so nothing is left of it when the array goes.
    with tempfile.TemporaryFile(dir=folder) as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)
