"""Expressions: what a recogniser returns, a struct of arrays with one row per face."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.labels import FER2013, LabelSet

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray
    from PIL import Image

_T = TypeVar("_T", bound=np.generic)
_SHOWN = 10  # rows that `repr` shows


@dataclass(frozen=True)
class Face:
    """One face of `Expressions`, in plain Python values.

    Args:
        label: the most probable expression.
        confidence: its calibrated probability, 0–1.
        decided: False where the confidence is under the threshold.
        runner_up: the second most probable expression.
        probabilities: label → probability, in the order of the label set.
        box: x1, y1, x2, y2 in pixels, or None for a ready crop.
        score: the detector's score, 0–1, or None where no detector ran.
        landmarks: five (x, y) in pixels, or None.
        track_id: the face's number in a video, or None.
    """

    label: str
    confidence: float
    decided: bool
    runner_up: str
    probabilities: Mapping[str, float]
    box: tuple[float, float, float, float] | None = None
    score: float | None = None
    landmarks: tuple[tuple[float, float], ...] | None = None
    track_id: int | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Expressions:
    """The expressions of N faces: arrays of N rows, read-only, always consistent.

    Slicing, masks and index arrays give `Expressions`; one integer and iteration give a `Face`.

    Args:
        probabilities: float32 (N, C), calibrated, each row sums to 1.
        label_set: the C labels.
        threshold: a face whose confidence is below it is undecided.
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels; None for ready crops.
        scores: float32 (N,), the detector's, 0–1; None where no detector ran.
        landmarks: float32 (N, 5, 2), x y in pixels: eyes, nose, corners of the mouth, each from left to right in the
            image.
        track_ids: int64 (N,), equal for the same face in different frames of a video.
        size: (width, height) of the image in pixels.
        image: uint8 (H, W, 3) RGB, kept for drawing only; not compared, not copied.

    Raises:
        InputError: if shapes, ranges or counts do not fit together.

    Example:
        >>> from mien.labels import FER2013
        >>> faces = Expressions([[0, 0, 0, .9, 0, .1, 0], [.3, 0, 0, 0, .4, 0, .3]], FER2013, threshold=0.5)
        >>> faces.labels, faces.decided.tolist(), faces.runner_up
        (['happy', 'sad'], [True, False], ['surprise', 'angry'])
        >>> faces[faces.confidence > 0.8]
        Expressions: 1 face, fer2013
          0  happy      90.0 %  then surprise 10.0 %
        >>> faces[0].label, len(faces[:0])
        ('happy', 0)
    """

    probabilities: NDArray[np.float32]
    label_set: LabelSet = FER2013
    threshold: float = 0.0
    boxes: NDArray[np.float32] | None = None
    scores: NDArray[np.float32] | None = None
    landmarks: NDArray[np.float32] | None = None
    track_ids: NDArray[np.int64] | None = None
    size: tuple[int, int] | None = None
    image: NDArray[np.uint8] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        classes = len(self.label_set)
        given = np.asarray(self.probabilities)
        if given.ndim != 2 or given.shape[1] != classes:
            raise InputError(
                f"probabilities are (N, {classes}) for label set {self.label_set.name!r}, not {given.shape}"
            )
        rows = len(given)
        self._put("probabilities", given, np.float32, (rows, classes))
        # NaN fails both comparisons.
        if not ((self.probabilities >= 0).all() and (np.abs(self.probabilities.sum(axis=1) - 1) < 1e-3).all()):
            raise InputError("probabilities lie in 0–1 and each row sums to 1; apply softmax to logits first")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"a threshold lies in 0–1, not {self.threshold}")
        self._put("boxes", self.boxes, np.float32, (rows, 4))
        self._put("scores", self.scores, np.float32, (rows,))
        self._put("landmarks", self.landmarks, np.float32, (rows, 5, 2))
        self._put("track_ids", self.track_ids, np.int64, (rows,))
        if self.boxes is not None and not np.all(self.boxes[:, 2:] > self.boxes[:, :2]):
            raise InputError("boxes are x1 y1 x2 y2 with x2 > x1 and y2 > y1; are these x y width height?")
        if self.size is not None:
            object.__setattr__(self, "size", (int(self.size[0]), int(self.size[1])))

    def _put(self, name: str, value: ArrayLike | None, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
        """Store a read-only copy of ``value``."""
        if value is None:
            return
        array = np.array(value, dtype=dtype)
        if array.size == 0 and 0 in shape:
            array = array.reshape(shape)
        if array.shape != shape:
            raise InputError(f"{name} have shape {array.shape}, but {shape[0]} faces need {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"{name} hold NaN or infinite numbers")
        array.flags.writeable = False
        object.__setattr__(self, name, array)

    @classmethod
    def empty(cls, label_set: LabelSet = FER2013, *, threshold: float = 0.0, **rest: Any) -> Expressions:
        """No face at all, as for a photograph without one; other fields may be given.

        Example:
            >>> Expressions.empty()
            Expressions: no face, fer2013
        """
        return cls(np.zeros((0, len(label_set)), np.float32), label_set, threshold, **rest)

    @classmethod
    def merge(cls, parts: Iterable[Expressions]) -> Expressions:
        """The faces of all parts, in order; size and image are kept where all parts share them.

        Raises:
            InputError: without parts, or if label sets, thresholds or the kinds of fields differ.
        """
        parts = list(parts)
        if not parts:
            raise InputError("nothing to merge; Expressions.empty(label_set) is the merge of nothing")
        first = parts[0]
        for part in parts[1:]:
            if part.label_set != first.label_set or part.threshold != first.threshold:
                raise InputError("only expressions of one label set and one threshold can be merged")
        filled = [part for part in parts if len(part)] or [first]
        columns: dict[str, Any] = {}
        for name in ("boxes", "scores", "landmarks", "track_ids"):
            arrays = [getattr(part, name) for part in filled]
            missing = sum(array is None for array in arrays)
            if 0 < missing < len(arrays):
                raise InputError(f"some parts have {name} and others have none; they cannot be merged")
            columns[name] = None if missing else np.concatenate(arrays)
        sizes, images = {part.size for part in parts}, {id(part.image) for part in parts}
        return replace(
            first,
            probabilities=np.concatenate([part.probabilities for part in filled]),
            size=first.size if len(sizes) == 1 else None,
            image=first.image if len(images) == 1 else None,
            **columns,
        )

    @cached_property
    def ids(self) -> NDArray[np.int64]:
        """int64 (N,), the most probable expression as its position in the label set."""
        return _frozen(self.probabilities.argmax(axis=1).astype(np.int64))

    @cached_property
    def confidence(self) -> NDArray[np.float32]:
        """float32 (N,), the probability of the most probable expression, 0–1."""
        return _frozen(self.probabilities.max(axis=1, initial=0.0))

    @cached_property
    def decided(self) -> NDArray[np.bool_]:
        """Bool (N,), False where the confidence is under the threshold."""
        return _frozen(self.confidence >= np.float32(self.threshold))

    @property
    def labels(self) -> list[str]:
        """The most probable expression of each face; always of the label set, also where undecided."""
        return [self.label_set[i] for i in self.ids]

    @cached_property
    def runner_up_ids(self) -> NDArray[np.int64]:
        """int64 (N,), the second most probable expression as its position in the label set."""
        if len(self.label_set) < 2:
            return self.ids
        others = self.probabilities.copy()
        others[np.arange(len(self)), self.ids] = -1
        return _frozen(others.argmax(axis=1).astype(np.int64))

    @property
    def runner_up(self) -> list[str]:
        """The second most probable expression of each face."""
        return [self.label_set[i] for i in self.runner_up_ids]

    def __len__(self) -> int:
        return len(self.probabilities)

    @overload
    def __getitem__(self, rows: int | np.integer[Any]) -> Face: ...
    @overload
    def __getitem__(self, rows: slice | ArrayLike) -> Expressions: ...
    def __getitem__(self, rows: Any) -> Face | Expressions:
        if isinstance(rows, int | np.integer) and not isinstance(rows, bool | np.bool_):
            return self._face(operator.index(rows))
        if not isinstance(rows, slice):
            rows = np.asarray(rows)
            rows = rows.astype(np.intp) if rows.size == 0 and rows.dtype != bool else rows
            if rows.ndim != 1 or rows.dtype.kind not in "bui":
                raise IndexError("faces are chosen by an integer, a slice, a mask (N,) or a list of integers")
        taken: dict[str, Any] = {
            name: None if (array := getattr(self, name)) is None else array[rows]
            for name in ("probabilities", "boxes", "scores", "landmarks", "track_ids")
        }
        return replace(self, **taken)

    def __iter__(self) -> Iterator[Face]:
        return (self._face(row) for row in range(len(self)))

    def _face(self, row: int) -> Face:
        if not -len(self) <= row < len(self):
            raise IndexError(f"there is no face {row}: {_count(len(self))}")
        box = None if self.boxes is None else self.boxes[row].tolist()
        points = None if self.landmarks is None else self.landmarks[row].tolist()
        return Face(
            label=self.label_set[int(self.ids[row])],
            confidence=float(self.confidence[row]),
            decided=bool(self.decided[row]),
            runner_up=self.label_set[int(self.runner_up_ids[row])],
            probabilities=MappingProxyType(
                dict(zip(self.label_set.labels, self.probabilities[row].tolist(), strict=True))
            ),
            box=None if box is None else (box[0], box[1], box[2], box[3]),
            score=None if self.scores is None else float(self.scores[row]),
            landmarks=None if points is None else tuple((x, y) for x, y in points),
            track_id=None if self.track_ids is None else int(self.track_ids[row]),
        )

    def to_dicts(self) -> list[dict[str, Any]]:
        """One JSON object per face, as ``mien predict --json`` prints them.

        Returns:
            ``{"box": [x1, y1, x2, y2] | None, "score", "label", "confidence", "decided", "probabilities": {…},
            "landmarks": [[x, y], …] | None}``, with ``"track_id"`` where faces were tracked. Pixels are rounded to
            two decimals, probabilities to six.
        """
        out = []
        for face in self:
            entry: dict[str, Any] = {
                "box": None if face.box is None else [round(value, 2) for value in face.box],
                "score": None if face.score is None else round(face.score, 6),
                "label": face.label,
                "confidence": round(face.confidence, 6),
                "decided": face.decided,
                "probabilities": {label: round(value, 6) for label, value in face.probabilities.items()},
                "landmarks": None
                if face.landmarks is None
                else [[round(x, 2), round(y, 2)] for x, y in face.landmarks],
            }
            if face.track_id is not None:
                entry["track_id"] = face.track_id
            out.append(entry)
        return out

    def to_pandas(self) -> pd.DataFrame:
        """One row per face: track, box and score where known, label, confidence, decided, runner_up, ``p_<label>``.

        Raises:
            MissingExtraError: if pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise MissingExtraError("to_pandas", "table") from None
        columns: dict[str, Any] = {}
        if self.track_ids is not None:
            columns["track_id"] = self.track_ids
        if self.boxes is not None:
            columns |= {name: self.boxes[:, i] for i, name in enumerate(("x1", "y1", "x2", "y2"))}
        if self.scores is not None:
            columns["score"] = self.scores
        columns |= {
            "label": pd.Series(self.labels, dtype="object"),
            "confidence": self.confidence,
            "decided": self.decided,
            "runner_up": pd.Series(self.runner_up, dtype="object"),
        }
        columns |= {f"p_{label}": self.probabilities[:, i] for i, label in enumerate(self.label_set.labels)}
        return pd.DataFrame(columns)

    def draw(self, image: Any = None) -> Image.Image:
        """The image with boxes, expressions and, beside large faces, all probabilities.

        Args:
            image: path, bytes, array or Pillow image; by default the one that the faces were found on.

        Returns:
            A new RGB image of the same size.

        Raises:
            InputError: if the faces have no boxes, or no image is known.
        """
        from mien.recognition.drawing import draw

        return draw(self, image)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Expressions):
            return NotImplemented
        plain = (self.label_set, self.threshold, self.size) == (other.label_set, other.threshold, other.size)
        return plain and all(
            (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
            for a, b in (
                (getattr(self, name), getattr(other, name))
                for name in ("probabilities", "boxes", "scores", "landmarks", "track_ids")
            )
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        lines = [f"Expressions: {_count(len(self))}, {self.label_set.name}"]
        width = max(map(len, self.label_set.labels)) + 2
        for row, face in zip(range(_SHOWN), self, strict=False):
            label = face.label if face.decided else f"{face.label} ?"
            second = f"then {face.runner_up} {100 * face.probabilities[face.runner_up]:.1f} %"
            box = "" if face.box is None else "  box " + " ".join(f"{value:.0f}" for value in face.box)
            track = "" if face.track_id is None else f"  track {face.track_id}"
            lines.append(f"  {row}  {label:{width}}{100 * face.confidence:5.1f} %  {second}{box}{track}")
        if len(self) > _SHOWN:
            lines.append(f"  … and {len(self) - _SHOWN} more")
        return "\n".join(lines)


def _count(faces: int) -> str:
    return {0: "no face", 1: "1 face"}.get(faces, f"{faces} faces")


def _frozen(array: NDArray[_T]) -> NDArray[_T]:
    array.flags.writeable = False
    return array
