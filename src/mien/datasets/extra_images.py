"""Images to learn from beside the Training split, such as generated ones; never any that show what is measured on.

A picture made from a face of the selection or test split carries that person, pose and light into the training, and
a copy carries all of it. Manifests with either are refused as a whole: leaving the offending lines out would hide that
whoever made the others had looked there too.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mien.datasets.extra_manifest import ExtraImage, image_path, read_entries
from mien.datasets.faceset import UNLABELLED, FaceSet
from mien.datasets.readers.table import Progress
from mien.errors import DataError, InputError
from mien.faces.decode import Limits, decode
from mien.faces.views import resize_faces
from mien.labels import LabelSet

LIMITS = Limits(bytes=32 << 20, pixels=4096 * 4096)
"""What one image may cost; generators make 512 to 1,024 pixels a side."""
MAX_BYTES = 4 << 30
"""What all images may take in memory, at the face set's size."""
_SHOWN = 20


@dataclass(frozen=True, eq=False)
class ExtraImages:
    """What `read_manifest` read.

    Attributes:
        path: the manifest.
        images: uint8 (N, H, W) grey or (N, H, W, 3) RGB, as the faces of the face set.
        labels: uint8 (N,), positions in ``label_set``; `UNLABELLED` for those that only a teacher can tell.
        label_set: the expressions of the face set.
        names: what the extra data is called, each name once, with "(unlabelled)" where it has no labels; a result
            lists them in ``extra_data``.
        fingerprint: SHA-256 (hex) of images, labels and names.
        entries: the lines of the manifest, in the same order.
        data_fingerprint: of the face set that they were compared with; they are good for no other.
    """

    path: Path
    images: npt.NDArray[np.uint8] = field(repr=False)
    labels: npt.NDArray[np.uint8] = field(repr=False)
    label_set: LabelSet
    names: tuple[str, ...]
    fingerprint: str
    entries: tuple[ExtraImage, ...] = field(repr=False)
    data_fingerprint: str

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def sources(self) -> npt.NDArray[np.int64]:
        """int64 (N,): the row that each image was made from, -1 for none."""
        return np.array([-1 if entry.source_id is None else entry.source_id for entry in self.entries], np.int64)

    @property
    def unlabelled(self) -> int:
        """Images without a label."""
        return int((self.labels == UNLABELLED).sum())

    def counts(self) -> dict[str, int]:
        """Images per expression; those without a label are not counted."""
        counts = np.bincount(self.labels, minlength=len(self.label_set))
        return {label: int(counts[index]) for index, label in enumerate(self.label_set.labels)}

    def copies_of(self, faces: npt.NDArray[np.uint8]) -> list[tuple[int, int]]:
        """Pairs (image, face) of positions that hold the same pixels, as they are or mirrored; one per image.

        Args:
            faces: uint8 (n, H, W) or (n, H, W, 3), as ``images``.
        """
        return _copies(self.images, faces)

    def info(self) -> dict[str, Any]:
        """What a run notes about them, JSON-able."""
        return {
            "manifest": self.path.name,
            "fingerprint": self.fingerprint,
            "names": list(self.names),
            "images": len(self),
            "counts": self.counts(),
            **({"unlabelled": self.unlabelled} if self.unlabelled else {}),
            "without_source": int((self.sources < 0).sum()),
            "generators": dict(Counter(entry.generator or "not stated" for entry in self.entries)),
            "licences": dict(Counter(entry.licence or "not stated" for entry in self.entries)),
        }


def read_manifest(
    path: str | Path, face_set: FaceSet, *, unlabelled: bool = False, progress: Progress | None = None
) -> ExtraImages:
    """Read a manifest and its images, ready to be learned from beside ``face_set.train``.

    Images are decoded by `mien.faces.decode` and brought to the size and colour of the face set's faces. They have to
    show a face cut out as those do: square.

    Args:
        path: the manifest; `mien.datasets.extra_manifest` has its columns.
        face_set: the face set that will be trained on, with all its splits.
        unlabelled: whether images may be without a label, for a training with a teacher.
        progress: told how many images are read.

    Raises:
        DataError: the manifest or an image is broken, or too large; a source is no row of the training split; or an
            image is an exact copy, also mirrored, of a face of the selection or test split. The message names lines
            and rows.
        InputError: the face set cannot be checked against.

    Example:
        >>> import tempfile, pathlib
        >>> from PIL import Image
        >>> from mien.datasets import draw_face, drawn_faces
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> Image.fromarray(draw_face("disgust")).save(folder / "a.png")
        >>> _ = (folder / "extra.csv").write_text("file,label,data,source_id" + chr(10) + "a.png,disgust,Drawn,3")
        >>> extra = read_manifest(folder / "extra.csv", drawn_faces(70))
        >>> extra.images.shape, extra.labels.tolist(), extra.names
        ((1, 48, 48), [1], ('Drawn',))
    """
    path = Path(path)
    entries = read_entries(path, face_set.label_set, unlabelled=unlabelled)
    check_sources(path, entries, face_set)
    images = _read_images(path, entries, face_set, progress)
    _refuse_copies(path, entries, images, face_set)
    known = face_set.label_set
    labels = np.array([known.id(entry.label) if entry.label else UNLABELLED for entry in entries], np.uint8)
    names = tuple(dict.fromkeys(entry.data if entry.label else f"{entry.data} (unlabelled)" for entry in entries))
    digest = hashlib.sha256("\n".join(("mien extra images 1", *face_set.label_set.labels, "", *names)).encode())
    for array in (np.array(images.shape, "<i8"), images, labels):
        digest.update(array.data)
    for array in (images, labels):
        array.flags.writeable = False
    return ExtraImages(
        path, images, labels, face_set.label_set, names, digest.hexdigest(), tuple(entries), face_set.fingerprint
    )


def check_sources(path: Path, entries: list[ExtraImage], face_set: FaceSet) -> None:
    """Refuse sources that are no row of the training split (`DataError` with the rows)."""
    if face_set.info.get("without_test"):
        raise InputError(
            "extra images are compared with the selection and test splits, and this copy is without its test split; "
            "give the whole face set"
        )
    used = [entry for entry in entries if entry.source_id is not None]
    if used and "not as published" in str(face_set.info.get("order", "")):
        raise InputError(
            f"the rows of this copy of {face_set.name} are not in the published order, so source_id cannot name "
            "them; import fer2013.csv or icml_face_data.csv"
        )
    missing = [entry for entry in used if _source(entry) >= len(face_set)]
    if missing:
        raise DataError(
            f"{face_set.name} has no row {_list(str(_source(entry)) for entry in missing)}; source_id is a row number "
            f"from 0 to {len(face_set) - 1:,}",
            file=path,
            line=missing[0].line,
        )
    sealed, problems = [], []
    for index, role in enumerate(face_set.roles):
        inside = [entry for entry in used if face_set.splits[_source(entry)] == index]
        if role != "train" and inside:
            sealed += inside
            split = f"{face_set.split_names[index]} (the {role} split)"
            rows = _list(str(_source(entry)) for entry in inside)
            problems.append(f"{_images(len(inside))} made from faces of {split}, source_id {rows}")
    if problems:
        raise DataError(
            f"refused: {', and '.join(problems)}; make images from the training split only, anew",
            file=path,
            line=min(entry.line for entry in sealed),
        )


def _images(count: int) -> str:
    return "1 image was" if count == 1 else f"{count:,} images were"


def _source(entry: ExtraImage) -> int:
    assert entry.source_id is not None
    return entry.source_id


def _read_images(
    path: Path, entries: list[ExtraImage], face_set: FaceSet, progress: Progress | None
) -> npt.NDArray[np.uint8]:
    shape = (len(entries), *face_set.image_shape)
    if shape[1] != shape[2]:
        raise InputError(f"extra images are for square faces; those of {face_set.name} are {shape[2]} × {shape[1]}")
    if int(np.prod(shape, dtype=np.int64)) > MAX_BYTES:
        raise DataError(f"its images take more than {MAX_BYTES >> 30} GiB at {shape[1]} px; split it", file=path)
    images = np.empty(shape, np.uint8)
    colour = "rgb" if len(shape) == 4 else "grey"
    for row, entry in enumerate(entries):
        file = image_path(path, entry)
        if not file.is_file():
            raise DataError(f"{entry.file} is no file beside the manifest; check it", file=path, line=entry.line)
        picture = decode(file, limits=LIMITS, name=f"{path}, line {entry.line}: {entry.file}")
        if picture.shape[0] != picture.shape[1]:
            raise DataError(
                f"{entry.file} has {picture.shape[1]} × {picture.shape[0]} pixels; cut the face out as a square",
                file=path,
                line=entry.line,
            )
        images[row] = resize_faces(picture[None], shape[1], colour)[0]
        if progress is not None and (row % 64 == 63 or row + 1 == len(entries)):
            progress(row + 1, len(entries))
    return images


def _refuse_copies(path: Path, entries: list[ExtraImage], images: npt.NDArray[np.uint8], face_set: FaceSet) -> None:
    measured_on = [index for index, role in enumerate(face_set.roles) if role != "train"]
    rows = np.flatnonzero(np.isin(face_set.splits, measured_on))
    pairs = _copies(images, face_set.all_rows().images, rows)
    found = [(entries[position], row) for position, row in pairs]
    if found:
        shown = _list(f"{row} ({entry.file})" for entry, row in found)
        raise DataError(
            f"refused: {len(found):,} images are exact copies, as they are or mirrored, of selection or test faces, "
            f"row {shown}; take images from the training split only, anew",
            file=path,
            line=found[0][0].line,
        )


def _copies(
    images: npt.NDArray[np.uint8], faces: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64] | None = None
) -> list[tuple[int, int]]:
    """See `ExtraImages.copies_of`; ``rows`` are those of ``faces`` that count."""
    held: dict[bytes, int] = {}
    for row in range(len(faces)) if rows is None else rows.tolist():
        held.setdefault(_key(faces[row]), row)
    found = ((position, held.get(_key(image), held.get(_key(image[:, ::-1])))) for position, image in enumerate(images))
    return [(position, row) for position, row in found if row is not None]


def _key(image: npt.NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(image).data).digest()


def _list(items: Iterator[str]) -> str:
    shown = list(items)
    return ", ".join(shown[:_SHOWN]) + (f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else "")
