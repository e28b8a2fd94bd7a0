"""Faces through a video: detection now and then, tracking in between, probabilities smoothed over time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Framing
from mien.errors import InputError
from mien.faces.crop import crop_faces
from mien.recognition.expressions import Expressions
from mien.recognition.tracking import Smoother, Tracker
from mien.recognition.video_file import MAX_SIDE, VideoReader

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.faces.detect import Detections
    from mien.recognition.recognizer import Recognizer

_AHEAD = 6
"""Frames that are decoded while others are looked at."""
_ENDED = object()
_HELD = 96 << 20
"""Bytes of frames between two detections at most; large frames are detected on more often."""
_CUT = 0.25
"""Share of the pixels that change their colour from one frame to the next where another scene may begin."""


@dataclass(frozen=True)
class VideoFrame:
    """One frame of a video and the faces on it.

    Attributes:
        index: from 0, of the frames that were looked at.
        time: seconds from the start of the video.
        faces: with ``track_ids``; boxes in pixels of ``faces.image``, which is the frame, uint8 (H, W, 3) RGB.
    """

    index: int
    time: float
    faces: Expressions


@dataclass(frozen=True)
class Watching:
    """How a video is looked at.

    Args:
        every: seconds between two frames that are looked at; 0 means every frame.
        detect_every: the detector runs on every so many of them, more often where the frames between would take too
            much memory; faces in between are interpolated. None: every 5th, or each one where ``every`` leaves frames
            out.
        smoothing: time constant in seconds over which probabilities are averaged; 0 is off.
        gap: seconds that a face may be hidden and keep its number.
        max_side: frames with a longer side are reduced to it.

    Raises:
        InputError: a value out of its range.
    """

    every: float = 0.0
    detect_every: int | None = None
    smoothing: float = 0.3
    gap: float = 1.0
    max_side: int = MAX_SIDE

    def __post_init__(self) -> None:
        if not 0 <= self.every < 3600:
            raise InputError(f"every is a time in seconds from 0, not {self.every}")
        if self.detect_every is not None and not 1 <= self.detect_every <= 1000:
            raise InputError(f"detect_every is a number of frames from 1, not {self.detect_every}")
        if not 64 <= self.max_side <= 16_384:
            raise InputError(f"max_side is a number of pixels in 64–16384, not {self.max_side}")
        Smoother(self.smoothing), Tracker(self.gap)

    @property
    def step(self) -> int:
        """Frames from one detection to the next."""
        return self.detect_every or (1 if self.every else 5)


DEFAULT = Watching()


class VideoFaces:
    """The frames of a video with their faces, one after the other, in constant memory.

    Iterate once. Between two detections a face that both show moves on a straight line; one that only one of them
    shows is there from, or until, that frame. A face that is hidden has no row and keeps its number.

    Args:
        recognizer: who recognises.
        path: the video.
        watching: how it is looked at.

    Attributes:
        reader: what is known of the file, and ``reader.problem`` when the iteration has ended.
    """

    def __init__(self, recognizer: Recognizer, path: str | Path, watching: Watching = DEFAULT) -> None:
        self.recognizer, self.watching = recognizer, watching
        self.reader = VideoReader(path, max_side=watching.max_side)
        self._tracker, self._smoother = Tracker(watching.gap), Smoother(watching.smoothing)
        self._index = 0

    def __iter__(self) -> Iterator[VideoFrame]:
        frames = _sampled(_ahead(self.reader), self.watching.every)
        start: _Shot | None = None
        between: list[tuple[float, NDArray[np.uint8]]] = []
        colours: NDArray[np.float64] | None = None
        for time, image in frames:
            before, colours = colours, _colours(image)
            if start is not None and before is not None and np.abs(colours - before).sum() / 2 > _CUT:
                # Another scene, perhaps: whoever is there now need not be who was there before at the same place.
                yield from self._finish(start, between)
                start, between = None, []
                self._tracker.doubt()
            room = (len(between) + 2) * image.nbytes <= _HELD
            if start is not None and len(between) < self.watching.step - 1 and room:
                between.append((time, image))
                continue
            shot = self._look(time, image)
            if start is not None:
                yield from self._emit(start, between, shot)
            start, between = shot, []
        if start is not None:
            yield from self._finish(start, between)

    def _finish(self, start: _Shot, between: list[tuple[float, NDArray[np.uint8]]]) -> Iterator[VideoFrame]:
        """The last frames of a scene: the very last one is looked at too."""
        if between:
            end = self._look(*between[-1])
            yield from self._emit(start, between[:-1], end)
            start = end
        yield from self._emit(start, [], None)

    def _look(self, time: float, image: NDArray[np.uint8]) -> _Shot:
        found = self.recognizer.detect(image)
        numbers = self._tracker.update(found.boxes, time, _looks(image, found))
        return _Shot(time, image, found, numbers, self._tracker.alive)

    def _emit(
        self, start: _Shot, between: list[tuple[float, NDArray[np.uint8]]], end: _Shot | None
    ) -> Iterator[VideoFrame]:
        """The frames from one detection up to the next, without it; all their faces in one batch."""
        shots = [start, *(_between(start, end, time, image) for time, image in between)]
        batch = self.recognizer.recognize_known([(shot.image, shot.found) for shot in shots])
        for shot, faces in zip(shots, batch, strict=True):
            smoothed = self._smoother.update(shot.track_ids, faces.probabilities, shot.time)
            yield VideoFrame(self._index, shot.time, replace(faces, probabilities=smoothed, track_ids=shot.track_ids))
            self._index += 1
        self._smoother.keep(start.alive)


@dataclass(frozen=True)
class _Shot:
    """A frame, its faces and their numbers."""

    time: float
    image: NDArray[np.uint8]
    found: Detections
    track_ids: NDArray[np.int64]
    alive: set[int]


def _between(start: _Shot, end: _Shot | None, time: float, image: NDArray[np.uint8]) -> _Shot:
    """The faces that two detections share, where they should be at a time between them."""
    from mien.faces.detect import Detections

    if end is None:
        return _Shot(time, image, start.found[:0], start.track_ids[:0], start.alive)
    both = [number for number in start.track_ids.tolist() if number in set(end.track_ids.tolist())]
    a = [start.track_ids.tolist().index(number) for number in both]
    b = [end.track_ids.tolist().index(number) for number in both]
    share = (time - start.time) / max(end.time - start.time, 1e-9)

    def mixed(name: str) -> Any:
        one, two = getattr(start.found, name), getattr(end.found, name)
        if one is None or two is None:
            return None
        return ((1 - share) * one[a] + share * two[b]).astype(np.float32)

    found = Detections(mixed("boxes"), mixed("scores"), mixed("landmarks"))
    return _Shot(time, image, found, np.array(both, np.int64), start.alive)


def _looks(image: NDArray[np.uint8], found: Detections) -> NDArray[np.float32]:
    """float32 (N, 256): each face reduced to 16 × 16 grey, of mean 0 and length 1."""
    looks = crop_faces(image, found.boxes, size=16, framing=Framing()).reshape(len(found), 256).astype(np.float32)
    looks -= looks.mean(axis=1, keepdims=True)
    return np.asarray(looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-6), np.float32)


def _colours(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shares of 64 coarse colours among some thousand pixels: what a moving camera hardly changes and a cut does."""
    step = max(1, min(image.shape[:2]) // 60)
    coarse = (image[::step, ::step] >> 6).astype(np.intp)
    codes = coarse[..., 0] * 16 + coarse[..., 1] * 4 + coarse[..., 2]
    return np.bincount(codes.ravel(), minlength=64) / codes.size


def _sampled(
    frames: Iterator[tuple[float, NDArray[np.uint8]]], every: float
) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    due = 0.0
    for time, image in frames:
        if time + 1e-6 >= due:
            yield time, image
            due = max(due + every, time + every / 2) if every else 0.0


def _ahead(reader: VideoReader) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Decode in a thread of its own, a few frames ahead."""
    ready: queue.Queue[Any] = queue.Queue(_AHEAD)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def work() -> None:
        try:
            for item in reader:
                if not put(item):
                    return
            put(_ENDED)
        except BaseException as error:  # raised again where somebody listens
            put(error)

    worker = threading.Thread(target=work, name="mien-video", daemon=True)
    worker.start()
    try:
        while (item := ready.get()) is not _ENDED:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        worker.join()
