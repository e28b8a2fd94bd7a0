"""The recogniser: photographs, boxes or ready crops in, `Expressions` out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Bundle, BundleCard
from mien.errors import BundleError, InputError
from mien.faces.crop import crop_faces
from mien.faces.decode import decode
from mien.faces.detect import Detections, Detector, open_detector
from mien.faces.views import View, get_view, resize_faces
from mien.labels import LabelSet
from mien.recognition.bundles import default_bundle, open_bundle
from mien.recognition.expressions import Expressions
from mien.recognition.network import Network, shared_network
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mien.faces.decode import ImageSource
    from mien.faces.detect import DetectorLike
    from mien.recognition.video import VideoFrame

# More faces than this go through the network in several runs, so that memory stays flat whatever is asked.
CHUNK = 64

logger = logging.getLogger("mien")


class Recognizer:
    """Recognises the expressions of the faces on photographs. Works offline; safe to use from several threads.

    Nothing is loaded into the inference engine before the first call, and recognisers with the same model share one
    session.

    Args:
        model: a bundle, its path, ``default`` or the name of a fetched one; by default the one inside the package.
        detector: ``centerface``; ``yunet`` (after ``mien fetch yunet``); ``yunet:PATH``; an object with ``detect``; a
            function that takes uint8 (H, W, 3) RGB and returns boxes (N, 4) x1 y1 x2 y2, boxes with scores, or
            `mien.faces.Detections`; None where each image is one face already.
        views: ``one``, ``flip`` or another view that the bundle was calibrated for.
        threads: threads of one run; by default as many as this process may use (affinity and quota).
        threshold: a face with less confidence is undecided; by default the bundle's own.
        min_face: detected faces whose shorter side is below so many pixels are left out.

    Raises:
        BundleError: if the model is no bundle or is damaged.
        InputError: if no detector or view is called like that, or the bundle was not calibrated for the view.

    Example:
        >>> recognizer = Recognizer()                                       # doctest: +SKIP
        >>> recognizer.predict("party.jpg").labels                          # doctest: +SKIP
        ['happy', 'neutral']
    """

    def __init__(
        self,
        model: str | Path | Bundle | None = None,
        *,
        detector: DetectorLike | None = "centerface",
        views: str = "one",
        threads: int | None = None,
        threshold: float | None = None,
        min_face: float = 10.0,
    ) -> None:
        if threads is not None and threads < 1:
            raise InputError(f"a recogniser needs at least one thread, not {threads}")
        if threshold is not None and not 0 <= threshold <= 1:
            raise InputError(f"a threshold lies in 0–1, not {threshold}")
        if not isinstance(model, Bundle):
            model = default_bundle() if model is None else open_bundle(model)
        self._bundle = model
        self._threads = threads or cpu_count()
        # The usual one waits until it is needed; any other name or object is checked now.
        self._detector: str | Detector | None
        if detector is None or (isinstance(detector, str) and detector == "centerface"):
            self._detector = detector
        else:
            self._detector = open_detector(detector, threads=self._threads)
        self._name = detector if isinstance(detector, str) else type(detector).__qualname__
        self._network: Network | None = None
        self.label_set: LabelSet = model.card.labelset()
        self.threshold = model.card.threshold if threshold is None else float(threshold)
        self.min_face = float(min_face)
        self.views = self._view(views).name

    @property
    def card(self) -> BundleCard:
        """What the bundle says of itself."""
        return self._bundle.card

    @property
    def bundle(self) -> Bundle:
        """The bundle itself: its card and the bytes of the file."""
        return self._bundle

    @property
    def detector_name(self) -> str:
        """How the detector is called; ``none`` where each image is one face."""
        if self._detector is None or isinstance(self._detector, str):
            return self._detector or "none"
        return self._name

    def predict(
        self,
        image: ImageSource,
        *,
        boxes: ArrayLike | None = None,
        landmarks: ArrayLike | None = None,
        views: str | None = None,
    ) -> Expressions:
        """Find the faces of one image and recognise them, all in one batch.

        Args:
            image: path, encoded bytes, uint8 (H, W) or (H, W, 3) RGB, or a Pillow image. EXIF rotation is applied
                first, so boxes mean the image as it is displayed.
            boxes: (N, 4), x1 y1 x2 y2 in pixels: the faces, if you know them; no detector runs then.
            landmarks: (N, 5, 2) to go with ``boxes``: eyes, nose, corners of the mouth.
            views: instead of the recogniser's own.

        Returns:
            One row per face in the detector's or your order; an image without a face gives an empty one.

        Raises:
            InputError: if it is no image, too large, or a box lies outside of it.
        """
        view = self._view(views)
        pixels = decode(image)
        size = (pixels.shape[1], pixels.shape[0])
        scores: NDArray[np.float32] | None = None
        points: NDArray[np.float32] | None = None
        if boxes is not None:
            corners, points = _own_boxes(boxes, landmarks, size)
        elif landmarks is not None:
            raise InputError("landmarks go with boxes; give both or neither")
        elif self._detector is None:
            corners = np.array([[0, 0, *size]], np.float32)
        else:
            found = self._detect(pixels)
            corners, scores, points = found.boxes, found.scores, found.landmarks
        whole = boxes is None and self._detector is None
        crops = pixels[None] if whole else self._cut(pixels, corners, points, view)
        return Expressions(
            self._probabilities(crops, view),
            self.label_set,
            self.threshold,
            boxes=corners,
            scores=scores,
            landmarks=points,
            size=size,
            image=pixels,
        )

    def stream(
        self,
        path: str | Path,
        *,
        every: float = 0.0,
        detect_every: int | None = None,
        smoothing: float = 0.3,
        gap: float = 1.0,
    ) -> Iterator[VideoFrame]:
        """The faces of a video, frame by frame, each with its number, in constant memory.

        Args:
            path: a video file; needs the extra ``video``.
            every: seconds between two frames that are looked at; 0 means every frame.
            detect_every: the detector runs on every so many of them, faces in between are interpolated; by default
                every 5th, or each one where ``every`` leaves frames out.
            smoothing: time constant in seconds over which a face's probabilities are averaged; 0 is off.
            gap: seconds that a face may be hidden and keep its number.

        Yields:
            `mien.recognition.video.VideoFrame`: ``index``, ``time`` in seconds, ``faces`` with ``track_ids``.

        Raises:
            InputError: it is no video. A file that breaks off yields what it holds; the logger says where it ended.

        Example:
            >>> for frame in Recognizer().stream("talk.mp4", every=0.2):    # doctest: +SKIP
            ...     print(f"{frame.time:6.2f}", frame.faces.track_ids, frame.faces.labels)
        """
        from mien.recognition.video import VideoFaces, Watching

        video = VideoFaces(self, path, Watching(every, detect_every, smoothing, gap))
        yield from video
        if video.reader.problem:
            logger.warning("%s", video.reader.problem)

    def recognize_known(
        self, images: Sequence[tuple[NDArray[np.uint8], Detections]], *, views: str | None = None
    ) -> list[Expressions]:
        """Recognise faces that are known already, on several images, in one batch.

        Args:
            images: pairs of an image, uint8 (H, W, 3) RGB, and its faces.
            views: instead of the recogniser's own.

        Returns:
            The faces of each image.
        """
        view = self._view(views)
        crops = [self._cut(pixels, found.boxes, found.landmarks, view) for pixels, found in images if len(found)]
        probabilities = self._probabilities(np.concatenate(crops) if crops else self._crops([]), view)
        ends = np.cumsum([len(found) for _, found in images]).tolist()
        return [
            Expressions(
                probabilities[end - len(found) : end],
                self.label_set,
                self.threshold,
                boxes=found.boxes,
                scores=found.scores,
                landmarks=found.landmarks,
                size=(pixels.shape[1], pixels.shape[0]),
                image=pixels,
            )
            for (pixels, found), end in zip(images, ends, strict=True)
        ]

    def predict_many(self, images: Iterable[ImageSource], *, views: str | None = None) -> Iterator[Expressions]:
        """`predict` for each image, one after the other; at no time more than one image is held.

        Raises:
            InputError: when an image cannot be read; iterate over `predict` yourself to go on after one.
        """
        view = self._view(views).name
        return (self.predict(image, views=view) for image in images)

    def classify(self, crops: ArrayLike | Iterable[ArrayLike], *, views: str | None = None) -> Expressions:
        """Recognise ready crops: each is one face, framed like the faces the model was trained on.

        Args:
            crops: uint8 (N, H, W) grey or (N, H, W, 3) RGB of any size, or a list of such crops of different sizes.
                They are resized to the model's input.
            views: instead of the recogniser's own.

        Returns:
            One row per crop, without boxes.

        Raises:
            InputError: for another dtype or shape.
        """
        return Expressions(self._probabilities(self._crops(crops), self._view(views)), self.label_set, self.threshold)

    def logits(self, crops: ArrayLike | Iterable[ArrayLike], *, views: str | None = None) -> NDArray[np.float32]:
        """The network's own scores, before any temperature; for calibration and ensembles.

        Args:
            crops: as for `classify`.
            views: instead of the recogniser's own.

        Returns:
            float32 (N, C).
        """
        return self._scores(self._crops(crops), self._view(views), self._ready().logits)

    def embed(self, crops: ArrayLike | Iterable[ArrayLike]) -> NDArray[np.float32]:
        """The features before the last layer, for search, clustering or a classifier of your own.

        Args:
            crops: as for `classify`.

        Returns:
            float32 (N, D).

        Raises:
            BundleError: if the bundle has no such output.
        """
        network = self._ready()
        if not network.has_embedding:
            raise BundleError(f"bundle {self.card.name!r} has no embedding; export it again with that output")
        return self._scores(self._crops(crops), get_view("one"), network.embedding)

    def detect(self, image: ImageSource) -> Detections:
        """The faces of an image, without recognising them.

        Raises:
            InputError: if it is no image, or the recogniser was made without a detector.
        """
        if self._detector is None:
            raise InputError("this recogniser was made with detector=None; make one with detector='centerface'")
        return self._detect(decode(image))

    def warm_up(self) -> Recognizer:
        """Load everything now rather than at the first call, as a service does before it takes requests."""
        side = self.card.input.face_size
        self.classify(np.zeros((1, side, side), np.uint8))
        if self._detector is not None:
            self._detect(np.zeros((64, 64, 3), np.uint8))
        return self

    def __repr__(self) -> str:
        card = self.card
        return (
            f"Recognizer(model={card.name!r}, labels={card.label_set!r}, views={self.views!r}, threads={self._threads})"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A session cannot be pickled; the copy makes its own when it needs one.
        return {**self.__dict__, "_network": None}

    def _view(self, name: str | None) -> View:
        view = get_view(self.views if name is None else name)
        if view.name not in self.card.temperatures:
            raise InputError(
                f"bundle {self.card.name!r} was not calibrated for view {view.name!r}; "
                f"choose from: {', '.join(self.card.temperatures)}"
            )
        return view

    def _ready(self) -> Network:
        if self._network is None:
            self._network = shared_network(self._bundle, self._threads)
        return self._network

    def _detect(self, pixels: NDArray[np.uint8]) -> Detections:
        start = time.perf_counter()
        found = self._open_detector().detect(pixels)
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        large = sides.min(axis=1, initial=np.inf) >= self.min_face
        logger.debug("%d faces detected in %.1f ms", len(found), 1e3 * (time.perf_counter() - start))
        return found if large.all() else found[large]

    def _open_detector(self) -> Detector:
        # Two threads may both come here first; one detector too many for a moment does no harm.
        if isinstance(self._detector, str):
            self._detector = open_detector(self._detector, threads=self._threads)
        assert self._detector is not None
        return self._detector

    def _cut(self, pixels: NDArray[np.uint8], corners: Any, points: Any, view: View) -> NDArray[np.uint8]:
        """The faces in boxes (N, 4), as the network wants them."""
        spec = self.card.input
        size = view.face or spec.face_size
        return crop_faces(pixels, corners, points, size=size, colour=spec.colour, framing=self.card.framing)

    def _crops(self, crops: Any) -> NDArray[np.uint8]:
        spec = self.card.input
        if not isinstance(crops, np.ndarray):
            if not isinstance(crops, Iterable) or isinstance(crops, str | bytes | Mapping):
                raise InputError(
                    f"{type(crops).__name__} is no crops; give uint8 (N, H, W) or (N, H, W, 3), or a list of crops"
                )
            pieces = [np.asarray(crop) for crop in crops]
            if not pieces:
                return np.zeros((0, spec.face_size, spec.face_size), np.uint8)
            if len({piece.shape for piece in pieces}) == 1:
                crops = np.stack(pieces)
            else:
                crops = np.concatenate([resize_faces(piece[None], spec.face_size, spec.colour) for piece in pieces])
        if crops.ndim == 2 or (crops.ndim == 3 and crops.shape[2] == 3):
            raise InputError(f"crops of shape {crops.shape} look like one crop without the axis of faces; give [crop]")
        if crops.size == 0 and len(crops):
            raise InputError(f"crops of shape {crops.shape} have no pixels")
        return np.asarray(crops)

    def _probabilities(self, crops: NDArray[np.uint8], view: View) -> NDArray[np.float32]:
        """uint8 (N, H, W[, 3]) → float32 (N, C), calibrated for this view."""
        if not len(crops):
            return np.zeros((0, len(self.label_set)), np.float32)
        scores = self._scores(crops, view, self._ready().logits) / self.card.temperatures[view.name]
        scores -= scores.max(axis=1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=1, keepdims=True)
        return scores

    def _scores(
        self, crops: NDArray[np.uint8], view: View, run: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        spec = self.card.input
        # The empty chunk of no crops lets the checks of the shape run all the same.
        chunks = [crops[start : start + CHUNK] for start in range(0, len(crops), CHUNK)] or [crops]
        parts = [view.scores(chunk, spec, run) for chunk in chunks]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _own_boxes(
    boxes: ArrayLike, landmarks: ArrayLike | None, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    corners = np.asarray(boxes, np.float32)
    if corners.size == 0:
        corners = corners.reshape(0, 4)
    if corners.ndim != 2 or corners.shape[1] != 4 or not np.isfinite(corners).all():
        raise InputError(f"boxes are (N, 4), x1 y1 x2 y2 in pixels; got shape {corners.shape}")
    x1, y1, x2, y2 = corners.T
    for row in np.flatnonzero((x2 <= x1) | (y2 <= y1)):
        raise InputError(f"box {row} is {corners[row].tolist()}: boxes are x1 y1 x2 y2 with x2 > x1 and y2 > y1")
    for row in np.flatnonzero((x2 <= 0) | (y2 <= 0) | (x1 >= size[0]) | (y1 >= size[1])):
        raise InputError(f"box {row} is {corners[row].tolist()}, outside the image of {size[0]}×{size[1]} pixels")
    if landmarks is None:
        return corners, None
    points = np.asarray(landmarks, np.float32)
    if points.shape != (len(corners), 5, 2) or not np.isfinite(points).all():
        raise InputError(f"landmarks are ({len(corners)}, 5, 2) for {len(corners)} boxes; got shape {points.shape}")
    return corners, points
