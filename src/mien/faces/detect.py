"""Faces in an image: what a detector gives, which detectors there are, and how any callable becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from mien.errors import InputError
from mien.registry import suggestion

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

MAX_FACES = 5000
"""More faces than any photograph holds; a detector that reports more is broken."""
SMALLEST = 2.0
"""Pixels; a box with a shorter side is no face."""


@dataclass(frozen=True, eq=False)
class Detections:
    """The faces of one image, one row each; checked and brought into shape when made.

    Args:
        boxes: float32 (N, 4), x1 y1 x2 y2 in pixels of the image, x1 < x2 and y1 < y2.
        scores: float32 (N,), 0–1; ones if not given.
        landmarks: float32 (N, 5, 2), x y in pixels: the eyes, the nose, the corners of the mouth, each pair from left
            to right as seen in the image; None where the detector gives none.

    Raises:
        InputError: an array of another shape, a value that is not finite, a box without area.

    Example:
        >>> found = Detections([[10, 10, 30, 34], [50, 10, 74, 38]], [0.9, 0.4])
        >>> len(found), found[found.scores > 0.5].boxes.tolist()
        (2, [[10.0, 10.0, 30.0, 34.0]])
        >>> Detections.empty().boxes.shape
        (0, 4)
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32] = None  # type: ignore[assignment]
    landmarks: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        boxes = _float_array(self.boxes, (4,), "boxes")
        scores = np.ones(len(boxes), np.float32) if self.scores is None else _float_array(self.scores, (), "scores")
        landmarks = None if self.landmarks is None else _float_array(self.landmarks, (5, 2), "landmarks")
        if len(scores) != len(boxes) or (landmarks is not None and len(landmarks) != len(boxes)):
            raise InputError("boxes, scores and landmarks need one row per face")
        if len(boxes) > MAX_FACES:
            raise InputError(f"{len(boxes)} faces in one image; at most {MAX_FACES} are accepted")
        flat = (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])
        if flat.any():
            box = boxes[int(flat.argmax())].tolist()
            raise InputError(f"the box {box} has no area; boxes are x1 y1 x2 y2 with x1 < x2 and y1 < y2")
        if len(scores) and not (scores.min() >= 0 and scores.max() <= 1):
            raise InputError("scores lie outside 0–1")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        object.__setattr__(self, "landmarks", landmarks)

    @classmethod
    def empty(cls) -> Detections:
        """No face: arrays of the right shape without rows."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty((0, 5, 2), np.float32))

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Any) -> Detections:
        """The faces that a mask, a slice or an array of indices selects."""
        rows = np.arange(len(self))[rows] if isinstance(rows, (int, np.integer)) else rows
        rows = np.atleast_1d(rows) if not isinstance(rows, slice) else rows
        return Detections(self.boxes[rows], self.scores[rows], None if self.landmarks is None else self.landmarks[rows])


@runtime_checkable
class Detector(Protocol):
    """Anything with ``detect``: uint8 (H, W, 3) RGB → `Detections`."""

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        """The faces of ``image``, best score first."""
        ...


DetectorLike: TypeAlias = str | Detector | Callable[["NDArray[np.uint8]"], Any]


def open_detector(detector: DetectorLike = "centerface", *, threads: int | None = None) -> Detector:
    """A detector from its name, from a callable, or itself.

    Args:
        detector: ``centerface`` (in the package); ``yunet`` (after ``mien fetch yunet``); ``yunet:PATH``; an object
            with ``detect``; or a callable that takes uint8 (H, W, 3) RGB and returns `Detections`, boxes (N, 4), or a
            tuple of boxes, scores and landmarks, of which the latter may be missing.
        threads: for the detectors with a network; by default the cores of this process.

    Raises:
        InputError: an unknown name or a missing file.
    """
    if isinstance(detector, str):
        name, _, path = detector.partition(":")
        if name == "centerface":
            from mien.faces.centerface import CenterFace

            return CenterFace(threads=threads)
        if name == "yunet":
            from mien.faces.yunet import YuNet

            if not path:
                from mien.store.fetching import fetched

                return YuNet(fetched("yunet", "detector"), threads=threads)
            return YuNet(Path(path).expanduser(), threads=threads)
        raise InputError(
            f"no detector is called {detector!r}; {suggestion(name, ['centerface', 'yunet', 'yunet:PATH'])}"
        )
    if isinstance(detector, Detector):
        return detector
    if callable(detector):
        return _Callable(detector)
    raise InputError(f"{type(detector).__name__} is no detector; give a name, an object with 'detect', or a callable")


@dataclass(frozen=True)
class _Callable:
    function: Callable[[NDArray[np.uint8]], Any]

    def detect(self, image: NDArray[np.uint8]) -> Detections:
        found = self.function(image)
        if isinstance(found, Detections):
            return found
        try:
            return Detections(*found) if isinstance(found, tuple) else Detections(found)
        except (InputError, TypeError) as error:
            raise InputError(f"the detector returned something unusable: {error}") from None


def assemble(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    *,
    width: int,
    height: int,
    overlap: float,
    smallest: float = SMALLEST,
) -> Detections:
    """Raw candidates of a network → detections: one per face, inside the image, best first, absurd ones dropped.

    Args:
        boxes: float (N, 4), x1 y1 x2 y2 in pixels of the image, possibly beyond its borders.
        scores: float (N,), 0–1.
        landmarks: float (N, 5, 2).
        width: of the image; boxes are clipped to it.
        height: likewise.
        overlap: of two boxes whose intersection over union exceeds it, the better one stays.
        smallest: boxes with a side below it, in pixels, are no faces.
    """
    finite = np.isfinite(boxes).all(1) & np.isfinite(scores) & np.isfinite(landmarks).all((1, 2))
    boxes, scores, landmarks = boxes[finite], scores[finite], landmarks[finite]
    kept = suppress(boxes, scores, overlap)[:MAX_FACES]
    boxes, scores, landmarks = boxes[kept].clip(0, [width, height, width, height]), scores[kept], landmarks[kept]
    large = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]) >= smallest
    return Detections(boxes[large], scores[large].clip(0, 1), landmarks[large])


def suppress(boxes: NDArray[np.float32], scores: NDArray[np.float32], overlap: float) -> NDArray[np.intp]:
    """Greedy non-maximum suppression.

    Returns:
        int (M,): indices of the boxes that stay, best score first.

    Example:
        >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
        >>> suppress(boxes, np.array([0.5, 0.9, 0.7]), 0.3).tolist()
        [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    kept = []
    while order.size:
        best, order = order[0], order[1:]
        kept.append(best)
        order = order[intersection_over_union(boxes[best : best + 1], boxes[order])[0] <= overlap]
    return np.array(kept, np.intp)


def intersection_over_union(first: ArrayLike, second: ArrayLike) -> NDArray[np.float32]:
    """Overlap of every box of ``first`` (N, 4) with every box of ``second`` (M, 4): float32 (N, M), 0–1.

    Example:
        >>> intersection_over_union([[0, 0, 2, 2]], [[1, 0, 3, 2], [5, 5, 6, 6]]).round(3).tolist()
        [[0.3330000042915344, 0.0]]
    """
    a, b = np.asarray(first, np.float32).reshape(-1, 1, 4), np.asarray(second, np.float32).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    areas = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1)
    return np.asarray(shared / np.maximum(areas - shared, 1e-9), np.float32)


def _float_array(value: ArrayLike, row: tuple[int, ...], what: str) -> NDArray[np.float32]:
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise InputError(f"{what} are no array of numbers") from None
    if array.size == 0:
        array = array.reshape(0, *row)
    if array.ndim != 1 + len(row) or array.shape[1:] != row:
        shape = ", ".join(("N", *map(str, row)))
        raise InputError(f"{what} have shape {array.shape}, not ({shape})")
    if not np.isfinite(array).all():
        raise InputError(f"{what} hold values that are not finite")
    return array
