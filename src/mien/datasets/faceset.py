"""A face set: images, labels, splits and identity. The test split stays sealed until the ledger notes its opening."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast

import numpy as np
import numpy.typing as npt

from mien.datasets.duplicates import duplicate_groups
from mien.datasets.shards import ShardedImages, pieces
from mien.errors import DataError, InputError, ResultError, SealedSplitError
from mien.labels import LabelSet

if TYPE_CHECKING:
    from mien.results import Opening

Role = Literal["train", "selection", "test"]
ROLES: tuple[Role, ...] = ("train", "selection", "test")

UNLABELLED = 255
"""The label of a face whose label is not known, or not to be seen."""

UInt8 = npt.NDArray[np.uint8]
Number = TypeVar("Number", bound=np.generic)


class Attribute(NamedTuple):
    """What is known of each face besides its expression: the subject, gender, age, …

    Attributes:
        names: what the values mean, e.g. ``("male", "female", "unsure")``.
        values: uint16 (N,), positions in ``names``.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.uint16]


SUBJECT = "subject"
"""The attribute that says who is shown."""


class AllRows(NamedTuple):
    """Every row of a face set; ``labels`` is `UNLABELLED` for the rows of a sealed test split."""

    images: UInt8
    labels: UInt8
    splits: UInt8
    groups: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class FaceSet:
    """The faces of one data set, usually memory-mapped. Make one with `load_dataset` or `FaceSet.from_arrays`.

    Attributes:
        name: the data set, as `load_dataset` calls it.
        label_set: the expressions; a label is a position in it.
        split_names: the splits, e.g. ``("Training", "PublicTest", "PrivateTest")``.
        roles: for each split what it may be used for: ``train``, ``selection`` or ``test``.
        fingerprint: SHA-256 (hex) of images, labels, splits and their names; the same for the same rows in
            the same order, whatever file format they came from.
        splits: uint8 (N,), for each row the index of its split in ``split_names``.
        groups: int32 (N,), equal number = exactly equal image.
        info: where it came from and what is special about it; `mien data info` shows it.
        attributes: by name what else is known of every face, e.g. ``subject``; no part of the fingerprint.

    Example:
        >>> from mien.datasets import load_dataset
        >>> faces = load_dataset("drawn", count=70, seed=0)
        >>> faces.train.images.shape[1:], faces.train.images.dtype.name, faces.label_set[int(faces.train.labels[0])]
        ((48, 48), 'uint8', 'angry')
        >>> faces.test.labels
        Traceback (most recent call last):
        ...
        mien.errors.SealedSplitError: the split 'test' of drawn is sealed: call mien.evaluate, which notes the \
opening in the ledger
    """

    name: str
    label_set: LabelSet
    split_names: tuple[str, ...]
    roles: tuple[Role, ...]
    fingerprint: str
    splits: UInt8 = field(repr=False)
    groups: npt.NDArray[np.int32] = field(repr=False)
    # Private, because they hold the test rows too: use the splits, or `all_rows`.
    _images: UInt8 = field(repr=False)
    _labels: UInt8 = field(repr=False)
    info: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _folder: Path | None = field(default=None, repr=False)
    attributes: Mapping[str, Attribute] = field(default_factory=dict, repr=False)

    @classmethod
    def from_arrays(
        cls,
        name: str,
        label_set: LabelSet,
        images: UInt8,
        labels: UInt8,
        splits: UInt8,
        split_names: tuple[str, ...] = ROLES,
        roles: tuple[Role, ...] | None = None,
        info: Mapping[str, Any] | None = None,
        attributes: Mapping[str, Attribute] | None = None,
    ) -> FaceSet:
        """A face set of arrays in memory, checked.

        Args:
            name: of the data set.
            label_set: what the labels mean.
            images: uint8 (N, H, W) grey or (N, H, W, 3) RGB, 0–255.
            labels: uint8 (N,), positions in ``label_set``, or `UNLABELLED`.
            splits: uint8 (N,), positions in ``split_names``.
            split_names: the splits.
            roles: of each split; taken from the names where they are ``train``, ``selection`` and ``test``.
            info: anything worth knowing about the origin; JSON-able.
            attributes: what else is known of every face.

        Raises:
            InputError: shapes, types or values that do not fit together.
        """
        if roles is None:
            unknown = [split for split in split_names if split not in ROLES]
            if unknown:
                raise InputError(f"say what the splits {unknown} are for: roles=('train', 'selection', 'test')")
            roles = tuple(role for split in split_names for role in ROLES if role == split)
        _check(label_set, images, labels, splits, split_names, roles)
        for what, (values_mean, values) in (attributes or {}).items():
            if values.shape != labels.shape or (len(values) and int(values.max()) >= len(values_mean)):
                raise InputError(f"the attribute {what!r} needs one of its {len(values_mean)} values for every face")
        with ThreadPoolExecutor(1) as beside:  # a large hash leaves the interpreter to others
            hashing = beside.submit(fingerprint, images, labels, splits, label_set, split_names)
            groups = duplicate_groups(images)
        return cls(
            name=name,
            label_set=label_set,
            split_names=split_names,
            roles=roles,
            fingerprint=hashing.result(),
            splits=_frozen(splits),
            groups=_frozen(groups),
            _images=_frozen(images),
            _labels=_frozen(labels),
            info=dict(info or {}),
            attributes=dict(attributes or {}),
        )

    def __len__(self) -> int:
        return len(self.splits)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W) of grey, (H, W, 3) of RGB faces."""
        return tuple(self._images.shape[1:])

    @property
    def train(self) -> Split:
        """The rows to learn from."""
        return self._split("train")

    @property
    def selection(self) -> Split:
        """The rows that choose epochs, hyper-parameters, temperatures and thresholds."""
        return self._split("selection")

    @property
    def test(self) -> SealedSplit:
        """The rows that only an evaluation may see, behind their seal."""
        name = self._split_name("test")
        return SealedSplit(self, name, self.rows(name))

    def rows(self, split: str) -> npt.NDArray[np.int64]:
        """The row numbers, int64 (n,), of the split called ``split``."""
        if split not in self.split_names:
            raise InputError(f"{self.name} has no split {split!r}; it has {', '.join(self.split_names)}")
        return np.flatnonzero(self.splits == self.split_names.index(split))

    def all_rows(self) -> AllRows:
        """Images, splits and groups of every row, test included, for audits; the labels of test rows are hidden."""
        labels = np.array(self._labels)
        for index, role in enumerate(self.roles):
            if role == "test":
                labels[self.splits == index] = UNLABELLED
        return AllRows(self._images, _frozen(labels), self.splits, self.groups)

    def without_test(self) -> FaceSet:
        """A copy in memory whose test rows are gone, for whoever wants to be sure that nothing reads them."""
        kept = [index for index, role in enumerate(self.roles) if role != "test"]
        rows = np.flatnonzero(np.isin(self.splits, kept))
        renumber = np.zeros(256, np.uint8)
        renumber[kept] = np.arange(len(kept))
        return FaceSet.from_arrays(
            self.name,
            self.label_set,
            np.array(self._images[rows]),
            np.array(self._labels[rows]),
            renumber[self.splits[rows]],
            tuple(self.split_names[index] for index in kept),
            tuple(self.roles[index] for index in kept),
            {**self.info, "without_test": True},
            {name: Attribute(its.names, its.values[rows]) for name, its in self.attributes.items()},
        )

    def _split_name(self, role: Role) -> str:
        names = [name for name, its in zip(self.split_names, self.roles, strict=True) if its == role]
        if not names:
            notes = " ".join(self.info.get("notes", ()))
            raise DataError(f"this copy of {self.name} has no {role} split. {notes}".strip())
        return names[0]

    def _split(self, role: Role) -> Split:
        name = self._split_name(role)
        return Split(self, name, role, self.rows(name))

    def __reduce__(self) -> Any:
        # Another process maps the same files instead of receiving a copy of the arrays.
        if self._folder is not None:
            from mien.datasets.disk import open_face_set

            return open_face_set, (self._folder,)
        return super().__reduce__()


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a face set with one role. Contiguous rows are views of the memory map, others are copied once.

    Attributes:
        face_set: where the rows come from.
        name: of the split, as the data set calls it.
        role: ``train``, ``selection`` or ``test``.
        rows: int64 (n,), row numbers in the face set.
    """

    face_set: FaceSet = field(repr=False)
    name: str
    role: Role
    rows: npt.NDArray[np.int64] = field(repr=False)

    def __post_init__(self) -> None:
        # A name does not turn test rows into others: what each row may be used for stands in the face set.
        roles = {self.face_set.roles[index] for index in np.unique(self.face_set.splits[self.rows])}
        if roles - {self.role}:
            raise SealedSplitError(
                f"a split of role {self.role!r} cannot hold rows of role {', '.join(sorted(roles - {self.role}))}; "
                "take data.train, data.selection or data.test"
            )

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def images(self) -> UInt8:
        """uint8 (n, H, W) grey or (n, H, W, 3) RGB, 0–255, read-only."""
        return _take(self.face_set._images, self.rows)

    @cached_property
    def labels(self) -> UInt8:
        """uint8 (n,), positions in ``label_set``."""
        return _take(self.face_set._labels, self.rows)

    @cached_property
    def groups(self) -> npt.NDArray[np.int32]:
        """int32 (n,), equal number = exactly equal image, across all splits."""
        return _take(self.face_set.groups, self.rows)

    @property
    def label_set(self) -> LabelSet:
        """What the labels mean."""
        return self.face_set.label_set

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the whole face set."""
        return self.face_set.fingerprint

    @property
    def rows_hash(self) -> str:
        """SHA-256 (hex) of the row numbers and their labels: what exactly was learnt from, or chosen on."""
        digest = hashlib.sha256(np.ascontiguousarray(self.rows, dtype="<i8").tobytes())
        digest.update(np.ascontiguousarray(self.labels).tobytes())
        return digest.hexdigest()

    def counts(self) -> dict[str, int]:
        """Faces per expression; those without a label are not counted."""
        counts = np.bincount(self.labels, minlength=UNLABELLED + 1)
        return {label: int(counts[index]) for index, label in enumerate(self.label_set.labels)}

    def subset(self, which: npt.ArrayLike) -> Split:
        """The rows that a boolean mask (n,) or an array of positions in this split picks, in that order."""
        chosen = np.asarray(which)
        if chosen.dtype == bool and chosen.shape != self.rows.shape:
            raise InputError(f"a mask for {len(self)} rows must have that many entries, not {chosen.shape}")
        if chosen.dtype != bool and chosen.size == 0:
            chosen = chosen.astype(np.int64)
        return Split(self.face_set, self.name, self.role, self.rows[chosen])


class SealedSplit:
    """The test split before it is opened: it knows its size and identity, not its images and labels."""

    role: Role = "test"

    def __init__(self, face_set: FaceSet, name: str, rows: npt.NDArray[np.int64]) -> None:
        self.face_set, self.name, self.rows = face_set, name, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"SealedSplit(name={self.name!r}, {len(self)} rows of {self.face_set.name})"

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the whole face set."""
        return self.face_set.fingerprint

    @property
    def label_set(self) -> LabelSet:
        """What the labels mean."""
        return self.face_set.label_set

    @property
    def labelled(self) -> bool:
        """Whether every face has a label, so that nothing is opened that cannot be measured."""
        return bool((self.face_set._labels[self.rows] != UNLABELLED).all())

    @property
    def images(self) -> UInt8:
        """Sealed."""
        raise self._sealed()

    @property
    def labels(self) -> UInt8:
        """Sealed."""
        raise self._sealed()

    @property
    def groups(self) -> npt.NDArray[np.int32]:
        """Sealed."""
        raise self._sealed()

    def open(self, opening: Opening) -> Split:
        """The rows, for the evaluation whose ledger entry is ``opening``.

        Raises:
            SealedSplitError: the entry is for another split or another face set, or no ledger holds it.
        """
        if opening.split != self.name:
            raise SealedSplitError(
                f"the ledger notes an opening of {opening.split!r}, but this split of {self.face_set.name} is "
                f"{self.name!r}; it cannot stand in for the other"
            )
        if opening.data_fingerprint != self.fingerprint:
            raise SealedSplitError(
                f"the ledger notes an opening of the data {opening.data_fingerprint[:12]}…, but this face set is "
                f"{self.fingerprint[:12]}…; open the split of the face set that is evaluated"
            )
        try:
            opening.confirm()
        except ResultError as error:
            raise SealedSplitError(f"the split {self.name!r} stays sealed: {error}") from None
        split = Split(self.face_set, self.name, "test", self.rows)
        if len(split) and bool((split.labels == UNLABELLED).all()):
            raise DataError(
                f"the split {self.name!r} of this copy of {self.face_set.name} has no labels to measure with"
            )
        return split

    def _sealed(self) -> SealedSplitError:
        return SealedSplitError(
            f"the split {self.name!r} of {self.face_set.name} is sealed: call mien.evaluate, "
            "which notes the opening in the ledger"
        )


def fingerprint(images: UInt8, labels: UInt8, splits: UInt8, label_set: LabelSet, split_names: tuple[str, ...]) -> str:
    """SHA-256 (hex) of what a face set holds, independent of the file format it came in.

    Example:
        >>> from mien.labels import FER2013
        >>> one = np.zeros((1, 2, 2), np.uint8), np.zeros(1, np.uint8), np.zeros(1, np.uint8)
        >>> fingerprint(*one, FER2013, ("train",))[:12]
        '4ac06d43de99'
    """
    digest = hashlib.sha256()
    names = "\n".join((*label_set.labels, "", *split_names))
    digest.update(f"mien face set 1\n{names}\n{images.shape}\n".encode())
    for array in chain(pieces(images), (labels, splits)):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _check(
    label_set: LabelSet,
    images: UInt8,
    labels: UInt8,
    splits: UInt8,
    split_names: tuple[str, ...],
    roles: tuple[Role, ...],
) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
        raise InputError(f"images must be uint8 (N, H, W) or (N, H, W, 3), not {images.dtype} {images.shape}")
    for what, array in (("labels", labels), ("splits", splits)):
        if array.dtype != np.uint8 or array.shape != images.shape[:1]:
            raise InputError(f"{what} must be uint8 ({len(images)},), not {array.dtype} {array.shape}")
    if bad := labels[(labels >= len(label_set)) & (labels != UNLABELLED)].tolist():
        raise InputError(f"label {bad[0]} does not exist: {label_set.name} has the labels 0 to {len(label_set) - 1}")
    if len(roles) != len(split_names) or len(set(split_names)) != len(split_names):
        raise InputError("each split needs a name of its own and a role")
    if len(splits) and splits.max() >= len(split_names):
        raise InputError(f"split {splits.max()} does not exist: there are {len(split_names)}")


def _frozen(array: npt.NDArray[Number]) -> npt.NDArray[Number]:
    view = array.view()
    view.flags.writeable = False
    return view


def _take(array: npt.NDArray[Number], rows: npt.NDArray[np.int64]) -> npt.NDArray[Number]:
    if isinstance(array, ShardedImages):
        return cast(npt.NDArray[Number], array.taken(rows))
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and bool((np.diff(rows) == 1).all()):
        return array[rows[0] : rows[-1] + 1]
    return _frozen(array[rows])
