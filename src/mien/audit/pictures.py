"""What is audited: the faces of a data set, or whatever pictures lie in a folder, an archive, an npz or a csv."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.audit.embedding import SIDE
from mien.audit.neighbours import Progress
from mien.datasets import UNLABELLED, FaceSet
from mien.datasets.readers.pixel_csv import USAGES, read_pixel_csv
from mien.datasets.readers.sources import Source, open_source
from mien.errors import DataError, InputError
from mien.faces import Limits, decode
from mien.labels import FER2013
from mien.results import facts
from mien.store.archives import Member, Readable, check_zip

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_LIMITS = Limits(bytes=32 << 20, pixels=50_000_000)
_SPLITS = ("train", "training", "val", "valid", "validation", "test", "publictest", "privatetest")
_LARGEST_ARRAY = 4 << 30


@dataclass(frozen=True, eq=False)
class Pictures:
    """Faces to audit, all brought to one size.

    Args:
        name: of the data set, or of the folder or file.
        images: uint8 (N, 48, 48), grey, 0–255.
        ids: for each what a person finds it by: its row number, or its path inside the source.
        labels: uint8 (N,), positions in ``label_names``, or `UNLABELLED`.
        label_names: the classes.
        splits: uint8 (N,), positions in ``split_names``.
        split_names: the splits.
        groups: int32 (N,), equal number = exactly equal picture, before it was brought to one size.
        sealed: bool (N,), faces of a test split. Their labels are known here only as published facts.
        fingerprint: of the face set; empty for other sources.
        unreadable: name and reason of each file that is no picture that can be read.
        notes: what a person should know about the source.
    """

    name: str
    images: NDArray[np.uint8]
    ids: tuple[str, ...]
    labels: NDArray[np.uint8]
    label_names: tuple[str, ...]
    splits: NDArray[np.uint8]
    split_names: tuple[str, ...]
    groups: NDArray[np.int32]
    sealed: NDArray[np.bool_]
    fingerprint: str = ""
    unreadable: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    def __len__(self) -> int:
        return len(self.images)

    @property
    def facts(self) -> facts.Facts | None:
        """What has been published about these very rows; None if they are not the official FER2013."""
        return facts.load("fer2013") if self.fingerprint == facts.FER2013_FINGERPRINT else None

    def label(self, row: int) -> str | None:
        """The name of a picture's class."""
        return None if self.labels[row] == UNLABELLED else self.label_names[self.labels[row]]


def from_face_set(face_set: FaceSet) -> Pictures:
    """Every row of a face set. Labels of test rows are those published as facts, where there are any."""
    rows = face_set.all_rows()
    labels = rows.labels
    sealed = np.isin(rows.splits, [index for index, role in enumerate(face_set.roles) if role == "test"])
    notes = tuple(face_set.info.get("notes", ()))
    if face_set.fingerprint == facts.FER2013_FINGERPRINT:
        labels = facts.load("fer2013").labels
    elif sealed.any():
        notes += ("The labels of the test split stay sealed: findings about labels leave its faces out.",)
    images = rows.images
    if images.shape[1:] != (SIDE, SIDE):
        images = np.stack([as_face(image) for image in images])
    return Pictures(
        name=face_set.name,
        images=images,
        ids=tuple(str(row) for row in range(len(face_set))),
        labels=labels,
        label_names=face_set.label_set.labels,
        splits=rows.splits,
        split_names=face_set.split_names,
        groups=rows.groups,
        sealed=sealed,
        fingerprint=face_set.fingerprint,
        notes=notes,
    )


def read_pictures(path: str | Path, *, progress: Progress | None = None) -> Pictures:
    """Read every face that lies somewhere: pictures in folders, zip or tar archives, npz or npy arrays, pixel csv.

    A picture's class is the folder it lies in; ``train`` and ``test`` among its folders are splits. Arrays may be
    uint8 or floats (0–1, 0–255), (N, H, W) or with a channel axis in front or behind.

    Args:
        path: file, folder or archive.
        progress: told the files done.

    Raises:
        DataError: nothing there can be read, or an array or csv is broken. A damaged picture is no error: it is
            listed in ``unreadable``. Nor is a csv without pixels beside pictures, such as their manifest: a note says
            that it was passed over.
    """
    path = Path(path)
    source = open_source(path)
    members = [member for member in source.members() if not _is_litter(member.name)]
    wanted = {member.name for member in members if member.name.lower().endswith((*_SUFFIXES, ".npz", ".npy", ".csv"))}
    if not wanted and len(members) == 1:
        wanted = {members[0].name}
    found = _Found()
    found.beside_pictures = any(name.lower().endswith(_SUFFIXES) for name in wanted)
    for done, (member, stream) in enumerate(source.read(lambda name: name in wanted), 1):
        _read_member(source, member, stream, found)
        if progress is not None:
            progress(done, len(wanted))
    if not found.images:
        reason = f"; the first file says: {found.unreadable[0][1]}" if found.unreadable else ""
        raise DataError(
            f"there is no picture in it (PNG, JPEG, WebP, BMP, GIF, TIFF, npz, npy or pixel csv){reason}", file=path
        )
    return found.pictures(path.resolve().name or str(path))


def as_face(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Any picture, uint8 (H, W) or (H, W, 3) RGB → grey, 48 x 48; smaller pictures are averaged down.

    Example:
        >>> as_face(np.zeros((224, 224, 3), np.uint8)).shape
        (48, 48)
    """
    from PIL import Image

    grey = Image.fromarray(image).convert("L")
    if grey.size != (SIDE, SIDE):
        grey = grey.resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return np.asarray(grey)


class _Found:
    """Collects pictures of any number of files."""

    def __init__(self) -> None:
        self.images: list[NDArray[np.uint8]] = []
        self.ids: list[str] = []
        self.classes: list[str | None] = []
        self.splits: list[str] = []
        self.contents: list[int] = []
        self.unreadable: list[tuple[str, str]] = []
        self.beside_pictures = False
        self.notes: list[str] = []
        self._known: dict[bytes, int] = {}

    def add(self, image: NDArray[np.uint8], name: str, label: str | None, split: str) -> None:
        import hashlib

        self.images.append(as_face(image))
        self.ids.append(name)
        self.classes.append(label)
        self.splits.append(split)
        if image.ndim == 3 and bool((image[:, :, :1] == image).all()):
            image = image[:, :, 0]  # grey by content, whether or not the file repeats it
        digest = hashlib.sha256(f"{image.shape}".encode() + np.ascontiguousarray(image).tobytes()).digest()
        self.contents.append(self._known.setdefault(digest, len(self._known)))

    def pictures(self, name: str) -> Pictures:
        classes = sorted({label for label in self.classes if label is not None})
        if set(classes) <= set(FER2013.labels):
            classes = list(FER2013.labels)
        notes = list(self.notes)
        if len(classes) >= UNLABELLED:
            classes, self.classes = [], [None] * len(self.classes)
            notes.append("There are more than 254 folder names, so they were not taken for classes.")
        order = sorted(set(self.splits), key=lambda split: (split.lower() in ("test",), self.splits.index(split)))
        return Pictures(
            name=name,
            images=np.stack(self.images),
            ids=tuple(self.ids),
            labels=np.array([UNLABELLED if c is None else classes.index(c) for c in self.classes], np.uint8),
            label_names=tuple(classes),
            splits=np.array([order.index(split) for split in self.splits], np.uint8),
            split_names=tuple(order),
            groups=np.array(self.contents, np.int32),
            sealed=np.zeros(len(self.images), bool),
            unreadable=tuple(self.unreadable),
            notes=tuple(notes),
        )


def _read_member(source: Source, member: Member, stream: Readable, found: _Found) -> None:
    name = member.name.lower()
    label = source.label(member.name)
    if name.endswith((".npz", ".npy")):
        _read_arrays(stream.read(_LARGEST_ARRAY), member.name, label, found)
    elif name.endswith(".csv"):
        try:
            faces = read_pixel_csv(stream, label, size=member.size)
        except DataError as error:
            # A manifest or another table beside the pictures that it tells of holds no faces itself.
            if error.line != 1 or not found.beside_pictures:
                raise
            found.notes.append(f"{member.name} is no csv of faces and was passed over.")
            return
        for row, image in enumerate(faces.images):
            known = None if faces.labels[row] == UNLABELLED else FER2013[int(faces.labels[row])]
            split = "all" if faces.usage is None else USAGES[faces.usage[row]]
            found.add(image, f"{member.name}:{row}", known, split)
    else:
        try:
            image = decode(stream.read(_LIMITS.bytes + 1), limits=_LIMITS, name=member.name)
        except InputError as error:
            found.unreadable.append((member.name, str(error)))
            return
        folders = member.name.split("/")[:-1]
        split = next((part for part in folders if part.lower() in _SPLITS), "all")
        classes = [part for part in folders if part.lower() not in _SPLITS]
        found.add(image, member.name, classes[-1] if classes else None, split)


def _read_arrays(data: bytes, name: str, label: str, found: _Found) -> None:
    for key, array in _arrays(data, label):
        images = _as_images(array)
        if images is None:
            continue
        for row, image in enumerate(images):
            found.add(image, f"{name}:{key}:{row}" if key else f"{name}:{row}", None, "all")


def _arrays(data: bytes, label: str) -> Iterator[tuple[str, NDArray[Any]]]:
    try:
        if data[:4] == b"PK\x03\x04":
            check_zip(io.BytesIO(data), label)
            with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
                for key in arrays.files:
                    yield key, arrays[key]
        else:
            yield "", np.load(io.BytesIO(data), allow_pickle=False)
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"it cannot be read as NumPy arrays ({error}); save plain arrays, no objects", file=label
        ) from error


def _as_images(array: NDArray[Any]) -> NDArray[np.uint8] | None:
    """uint8 (N, H, W) or (N, H, W, 3); None if the array holds no images."""
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim == 2 and array.shape[1] == SIDE * SIDE:
        array = array.reshape(-1, SIDE, SIDE)
    fits = array.ndim == 3 or (array.ndim == 4 and array.shape[3] == 3)
    if not fits or not len(array) or min(array.shape[1:3]) < 8 or array.dtype.kind not in "uif":
        return None
    if array.dtype != np.uint8:
        if not np.isfinite(array).all():
            return None
        low, high = float(array.min()), float(array.max())
        if low < 0:  # normalised somehow; brightness and contrast do not matter here
            array = (array - low) / max(high - low, 1e-9) * 255
        elif high <= 1:
            array = array * 255
        array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(array)


def _is_litter(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))
