"""FER2013 as pictures in folders: ``train|test/<class>/<name>.png|jpg``.

The folders of these copies tell two splits apart, not three: their ``test`` holds PublicTest and PrivateTest. Where
all file names start with the split (``PrivateTest_32298.png``), they settle it; elsewhere the merged split is kept as
``Test`` and says so.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from mien.datasets.faceset import Role
from mien.datasets.readers.pixel_csv import SIDE, USAGES
from mien.datasets.readers.sources import Source
from mien.datasets.readers.table import FaceTable, Progress
from mien.errors import DataError
from mien.labels import FER2013
from mien.registry import suggestion
from mien.store.archives import Member, Readable

MERGED = "Test"
"""The name of a test split that is PublicTest and PrivateTest in one."""

_CLASSES = {
    "angry": ("angry", "anger"),
    "disgust": ("disgust", "disgusted", "disgusting"),
    "fear": ("fear", "fearful", "afraid", "scared"),
    "happy": ("happy", "happiness", "joy"),
    "sad": ("sad", "sadness"),
    "surprise": ("surprise", "surprised"),
    "neutral": ("neutral", "neutrality"),
}
_CLASS_IDS = {variant: FER2013.id(label) for label, variants in _CLASSES.items() for variant in variants}
_FOLDERS = {
    "train": "Training",
    "training": "Training",
    "publictest": "PublicTest",
    "privatetest": "PrivateTest",
    "test": MERGED,
    "val": MERGED,
    "valid": MERGED,
    "validation": MERGED,
}
_PICTURES = (".png", ".jpg", ".jpeg")
_LARGEST = 1 << 20  # bytes; a face of 48 x 48 pixels takes about two thousand
_NAME = re.compile(r"(Training|PublicTest|PrivateTest)[_-]?(\d+)?", re.IGNORECASE)
_USUAL = {usage.lower(): usage for usage in USAGES}


@dataclass(frozen=True)
class _Picture:
    member: Member
    split: str
    label: int
    row: int | None


def is_picture(name: str) -> bool:
    """Whether a file of that name belongs to the layout: a picture two folders deep, and no system's litter."""
    parts = name.split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in parts)
    return len(parts) >= 3 and not hidden and name.lower().endswith(_PICTURES)


def read_folders(source: Source, members: list[Member], progress: Progress | None = None) -> FaceTable:
    """Read every picture; rows are in the order of split, class and name, whatever order the source has.

    Args:
        source: where the members lie.
        members: the pictures, as `is_picture` picks them.
        progress: told the pictures done.

    Raises:
        DataError: an unknown class or split, a file that is no picture of 48 x 48 grey pixels, a name that
            contradicts its folder.
    """
    pictures = [_place(source, member) for member in members]
    names = _split_names(pictures)
    merged = MERGED in names
    pictures.sort(key=lambda p: (names.index(p.split), p.label, p.member.name))
    position = {picture.member.name: index for index, picture in enumerate(pictures)}
    images = np.empty((len(pictures), SIDE, SIDE), np.uint8)
    lossy = False
    for done, (member, stream) in enumerate(source.read(position.__contains__), 1):
        images[position[member.name]], is_jpeg = _decode(stream, source.label(member.name))
        lossy |= is_jpeg
        if progress is not None and done % 64 == 0:
            progress(done, len(pictures))
    rows = [picture.row for picture in pictures]
    known = all(row is not None for row in rows) and len(set(rows)) == len(rows)
    notes: list[str] = []
    if merged:
        notes.append(
            "PublicTest and PrivateTest are merged into one split 'Test' and nothing tells them apart: there is no "
            "selection split, and no result of this copy can stand under fer2013/private@1. "
            "Import fer2013.csv or icml_face_data.csv for that."
        )
    if lossy:
        notes.append("The images were stored as JPEG, which changed their pixels; results differ from the original's.")
    roles: dict[str, Role] = {
        "Training": "train",
        "PublicTest": "selection",
        "PrivateTest": "test",
        MERGED: "test",
    }
    return FaceTable(
        images=images,
        labels=np.array([picture.label for picture in pictures], np.uint8),
        splits=np.array([names.index(picture.split) for picture in pictures], np.uint8),
        split_names=names,
        roles=tuple(roles[name] for name in names),
        format="folders of " + ("JPEG" if lossy else "PNG"),
        rows=np.array(rows, np.int64) if known else None,
        lossy=lossy,
        notes=tuple(notes),
    )


def _place(source: Source, member: Member) -> _Picture:
    """Split, label and row of a picture, from its folders and its name."""
    *_, folder, name_of_class, name = member.name.split("/")
    label = _CLASS_IDS.get(name_of_class.lower())
    if label is None:
        raise DataError(
            f"the folder {name_of_class!r} is no class of FER2013 ({', '.join(FER2013.labels)}); "
            f"{suggestion(name_of_class, _CLASS_IDS)} Rename it, or take it out",
            file=source.label(member.name),
        )
    split = _FOLDERS.get(folder.lower())
    if split is None:
        raise DataError(
            f"the folder {folder!r} names no split; the classes must lie in folders called train and test",
            file=source.label(member.name),
        )
    row = None
    if match := _NAME.match(name):
        said = _USUAL[match[1].lower()]
        if split not in (said, MERGED) or (split == MERGED and said == "Training"):
            raise DataError(
                f"it lies in {folder!r}, but its name says {said}: somebody mixed the splits; "
                "get another copy, or move the file to where its name says",
                file=source.label(member.name),
            )
        split = said
        row = int(match[2]) if match[2] else None
    return _Picture(member, split, label, row)


def _split_names(pictures: list[_Picture]) -> tuple[str, ...]:
    """The splits there are; one file of unknown split makes the whole test split a merged one."""
    seen = {picture.split for picture in pictures}
    if MERGED not in seen:
        return tuple(usage for usage in USAGES if usage in seen)
    for index, picture in enumerate(pictures):
        if picture.split != "Training":
            pictures[index] = _Picture(picture.member, MERGED, picture.label, None)
    return ("Training", MERGED) if "Training" in seen else (MERGED,)


def _decode(stream: Readable, file: str) -> tuple[npt.NDArray[np.uint8], bool]:
    data = stream.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise DataError(f"it has more than {_LARGEST:,} bytes, a face of FER2013 about 2,000; take it out", file=file)
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.size != (SIDE, SIDE):
                raise DataError(
                    f"it is {image.width} x {image.height} pixels, but FER2013 is {SIDE} x {SIDE}; "
                    "get the unresized images",
                    file=file,
                )
            if image.mode not in ("L", "LA", "1", "P", "RGB", "RGBA"):
                raise DataError(f"it has pixels of the kind {image.mode}, but FER2013 has 8-bit grey ones", file=file)
            return np.asarray(image.convert("L")), image.format == "JPEG"
    except DataError:
        raise
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError("it is no readable PNG or JPEG image; get it again, or take it out", file=file) from error
