"""FER2013: 35,887 grey faces of 48 x 48 pixels, seven expressions, three splits.

Source: Goodfellow et al. 2013, "Challenges in Representation Learning", section 3.2 (the Kaggle challenge). The
licence of the images is unknown; nothing but facts about them is part of mien.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from mien.datasets.faceset import UNLABELLED, FaceSet
from mien.datasets.published import FINGERPRINT, compare, restore_order
from mien.datasets.readers import FaceTable, Progress
from mien.datasets.readers.folders import MERGED, is_picture, read_folders
from mien.datasets.readers.npz import read_npz
from mien.datasets.readers.pixel_csv import USAGES, CsvFaces, read_pixel_csv
from mien.datasets.readers.sources import Source, open_source
from mien.errors import DataError
from mien.labels import FER2013
from mien.store.archives import Member, Readable
from mien.store.growing import WriteError

T = TypeVar("T")

_LAYOUTS = (
    "mien reads fer2013.csv, icml_face_data.csv, the challenge's train.csv and test.csv, "
    "folders train|test/<class>/*.png|jpg, an npz, and zip or tar.gz archives of these"
)
_UNLABELLED = (
    "The challenge's test.csv has neither labels nor Usage: its faces are kept as one unlabelled split 'Test', which "
    "nothing can be measured on."
)
_NO_SELECTION = (
    "There is no PublicTest split to select on: no result of this copy can stand under fer2013/private@1. "
    "Import fer2013.csv or icml_face_data.csv for that."
)


def read_fer2013(path: Path, progress: Progress | None = None, scratch: Path | None = None) -> FaceSet:
    """Read FER2013 from a file, folder or archive, and compare it with the published data set.

    Args:
        path: see `_LAYOUTS`, or the message when nothing fits.
        progress: told how much is done.
        scratch: a folder in which the images of a csv are written to a file as they come, for `write_face_set` to
            take it; without it, and from other layouts, they are in memory.

    Returns:
        A face set whose ``info`` holds ``format``, ``source``, ``order``, ``lossy``, ``md5``, ``notes`` and the fields
        of `mien.datasets.published.Comparison`.

    Raises:
        DataError: the source is broken, or in no layout that is known; the message names the place.
        WriteError: nothing can be written in ``scratch``.
    """
    try:
        table = _read_table(open_source(path), path, progress, scratch)
    except WriteError:
        raise
    except OSError as error:
        raise DataError(f"it cannot be read ({error}); check the file and its rights", file=path) from error
    face_set, order = _face_set(table), "as published"
    if face_set.fingerprint != FINGERPRINT:
        restored, order = restore_order(table)
        if restored is not table:
            table, face_set = restored, _face_set(restored)
    notes = list(table.notes)
    if "not as published" in order:
        notes.append("The order of the rows differs from the published one, so row numbers mean nothing elsewhere.")
    info: dict[str, Any] = {
        "format": table.format,
        "source": str(path.resolve()),
        "order": order,
        "lossy": table.lossy,
        "md5": table.md5,
        "notes": notes,
        **compare(face_set, table.md5).as_dict(),
    }
    return replace(face_set, info=info)


def _face_set(table: FaceTable) -> FaceSet:
    return FaceSet.from_arrays(
        "fer2013", FER2013, table.images, table.labels, table.splits, table.split_names, table.roles
    )


def _read_table(source: Source, path: Path, progress: Progress | None, scratch: Path | None) -> FaceTable:
    members = [member for member in source.members() if not member.name.startswith("__MACOSX/")]
    by_name: dict[str, Member] = {}
    for member in members:
        by_name.setdefault(member.name.rsplit("/", 1)[-1].lower(), member)
    for name in ("fer2013.csv", "icml_face_data.csv"):
        if name in by_name:
            return _complete_csv(_csv(source, by_name[name], progress, scratch))
    pictures = [member for member in members if is_picture(member.name)]
    if pictures and "train.csv" not in by_name:
        return read_folders(source, pictures, progress)
    if "train.csv" in by_name and "test.csv" in by_name:
        train, test = (_csv(source, by_name[name], progress) for name in ("train.csv", "test.csv"))
        return _challenge(train, test)
    arrays = [member for member in members if member.name.lower().endswith(".npz")]
    tables = [member for member in members if member.name.lower().endswith(".csv")] or (
        members if len(members) == 1 and not arrays else []
    )
    if len(arrays) == 1 and not tables:
        return _one(source, arrays[0], lambda stream, label: read_npz(io.BytesIO(stream.read()), label))
    if len(tables) == 1:
        return _complete_csv(_csv(source, tables[0], progress, scratch))
    if not members:
        raise DataError(f"there is nothing in it; {_LAYOUTS}", file=path)
    some = ", ".join(member.name for member in members[:3]) + (", …" if len(members) > 3 else "")
    raise DataError(f"none of its {len(members):,} files ({some}) fits a layout of FER2013; {_LAYOUTS}", file=path)


def _csv(source: Source, member: Member, progress: Progress | None, scratch: Path | None = None) -> CsvFaces:
    images = scratch and scratch / "images.npy"
    return _one(
        source,
        member,
        lambda stream, label: read_pixel_csv(stream, label, size=member.size, progress=progress, images=images),
    )


def _one(source: Source, member: Member, read: Callable[[Readable, str], T]) -> T:
    for found, stream in source.read(lambda name: name == member.name):
        return read(stream, source.label(found.name))
    raise DataError("the file went away while it was read", file=source.label(member.name))


def _complete_csv(faces: CsvFaces) -> FaceTable:
    if faces.usage is not None:
        return FaceTable(
            images=faces.images,
            labels=faces.labels,
            splits=faces.usage,
            split_names=USAGES,
            roles=("train", "selection", "test"),
            format="csv (" + ", ".join(faces.columns) + ")",
            md5=faces.md5,
        )
    if "emotion" in faces.columns:
        return FaceTable(
            images=faces.images,
            labels=faces.labels,
            splits=np.zeros(len(faces.labels), np.uint8),
            split_names=("Training",),
            roles=("train",),
            format="csv (emotion, pixels)",
            md5=faces.md5,
            notes=("The file has no column Usage: all its faces count as Training.", _NO_SELECTION),
        )
    return FaceTable(
        images=faces.images,
        labels=faces.labels,
        splits=np.zeros(len(faces.labels), np.uint8),
        split_names=(MERGED,),
        roles=("test",),
        format="csv (pixels)",
        md5=faces.md5,
        notes=(_UNLABELLED, _NO_SELECTION),
    )


def _challenge(train: CsvFaces, test: CsvFaces) -> FaceTable:
    """The two files that the challenge handed out: labelled training faces, unlabelled test faces."""
    labelled = bool((test.labels != UNLABELLED).any())
    merged = "PublicTest and PrivateTest are merged into one split 'Test' and nothing tells them apart."
    return FaceTable(
        images=np.concatenate([train.images, test.images]),
        labels=np.concatenate([train.labels, test.labels]),
        splits=np.repeat(np.array([0, 1], np.uint8), [len(train.labels), len(test.labels)]),
        split_names=("Training", MERGED),
        roles=("train", "test"),
        format="train.csv and test.csv",
        notes=(merged if labelled else _UNLABELLED, _NO_SELECTION),
    )
