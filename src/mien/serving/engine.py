"""Images in from many requests, expressions out: bounded, in threads, the faces of several requests in one batch."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mien.errors import BundleError, InputError
from mien.faces.decode import Limits, decode
from mien.recognition import Expressions, Recognizer
from mien.recognition.files import HELD_PIXELS, HeldPixels
from mien.serving.faults import ServiceError, overloaded
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.faces.detect import Detections
    from mien.serving.config import ServiceConfig

_WAIT = 0.002
"""Seconds that the first faces of a batch wait for others."""
_PATIENCE = 0.5
"""Share of a request's seconds that may go by before it is begun; whoever would wait longer is told so at once, rather
than to be answered too late."""


@dataclass(frozen=True)
class Ask:
    """One image of a request.

    Attributes:
        data: the bytes of the file.
        name: how messages call it.
        views: name of the view; empty: the recogniser's own.
        crop: whether the image is one face already.
        deadline: on `time.monotonic`; work that has not begun by then is not begun.
    """

    data: bytes
    name: str
    views: str = ""
    crop: bool = False
    deadline: float = float("inf")


@dataclass
class _Faces:
    """Faces that wait for the network."""

    pixels: NDArray[Any]
    found: Detections | None
    views: str
    answer: Future[Expressions]


class Engine:
    """One recogniser for a whole process.

    Args:
        config: the bounds.
        recognizer: for tests; by default one with one thread per image, as several are looked at together.
        on_batch: told the number of faces of each batch.
    """

    def __init__(
        self,
        config: ServiceConfig,
        recognizer: Recognizer | None = None,
        on_batch: Callable[[int], None] = lambda faces: None,
    ) -> None:
        self.config, self._on_batch = config, on_batch
        self._cores = max(1, cpu_count() // config.workers)
        self.recognizer = recognizer or Recognizer(config.model or None, detector=config.detector, threads=1)
        self._limits = Limits(bytes=config.max_bytes, pixels=config.max_pixels)
        self._looking = ThreadPoolExecutor(self._cores, thread_name_prefix="mien-look")
        self._waiting: queue.Queue[_Faces | None] = queue.Queue()
        self._classifier = threading.Thread(target=self._classify, name="mien-classify", daemon=True)
        self._classifier.start()
        self._held = HeldPixels(HELD_PIXELS)
        self._lock = threading.Lock()
        self._pending = 0
        self._closed = False
        self._spent = 0.0  # seconds that an image has taken lately, from decoding to its answer
        self.ready = False

    def warm_up(self) -> None:
        """Load everything."""
        self.recognizer.warm_up()
        self.ready = True

    @property
    def pending(self) -> int:
        """Images that are waiting or in work."""
        return self._pending

    async def recognize(self, asks: Sequence[Ask]) -> list[Expressions | InputError]:
        """The faces of each image, or what is wrong with it.

        Raises:
            ServiceError: 429 if more images are waiting than can be answered in time, 503 if it takes too long.
        """
        if len(asks) > self.config.queue:
            raise ServiceError(
                413, "too_large", f"a request has at most {self.config.queue} images here; send fewer at once"
            )
        with self._lock:
            if self._closed:
                raise ServiceError(
                    503, "stopping", "the service is being stopped; ask again in a moment", retry_after=1
                )
            if self._pending + len(asks) > self.config.queue or self._wait() > _PATIENCE * self.config.seconds:
                raise overloaded()
            self._pending += len(asks)
        futures = [self._begin(ask) for ask in asks]
        try:
            left = min(ask.deadline for ask in asks) - time.monotonic()
            joined = asyncio.gather(*map(asyncio.wrap_future, futures), return_exceptions=True)
            answers = await asyncio.wait_for(joined, None if left == float("inf") else max(left, 0))
        except TimeoutError:
            raise ServiceError(503, "timeout", "it took too long; ask again with smaller or fewer images") from None
        out: list[Expressions | InputError] = []
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, InputError):
                raise answer
            out.append(answer)
        return out

    def close(self) -> None:
        """Finish what was begun."""
        self.ready = False
        with self._lock:
            self._closed = True
        self._looking.shutdown(wait=True)
        self._waiting.put(None)
        self._classifier.join()

    def _begin(self, ask: Ask) -> Future[Expressions]:
        answer: Future[Expressions] = Future()
        begun: list[float] = []

        def done(_: Future[Expressions]) -> None:
            with self._lock:
                self._pending -= 1
                if begun:
                    self._spent += 0.1 * (time.monotonic() - begun[0] - self._spent)

        answer.add_done_callback(done)
        self._looking.submit(self._look, ask, answer, begun)
        return answer

    def _wait(self) -> float:
        """Seconds until an image that came now would be begun."""
        return self._pending * self._spent / self._cores

    def _look(self, ask: Ask, answer: Future[Expressions], begun: list[float]) -> None:
        """Decode and detect, in one of the threads; the faces then wait for the network."""
        if not answer.set_running_or_notify_cancel():
            return
        begun.append(time.monotonic())
        holding = contextlib.ExitStack()
        answer.add_done_callback(lambda _: holding.close())
        try:
            if time.monotonic() > ask.deadline:
                raise ServiceError(503, "timeout", "too many images are waiting; ask again in a moment")
            # What was decoded before has to be answered before a large image is decoded beside it.
            before = holding.enter_context(self._held.turn())
            pixels = decode(ask.data, limits=self._limits, name=ask.name, before=before)
            found = None if ask.crop else self.recognizer.detect(pixels)
            if found is not None and len(found) > self.config.max_faces:
                raise InputError(f"{ask.name} shows {len(found)} faces, more than {self.config.max_faces}; cut it up")
            self._waiting.put(_Faces(pixels, found, ask.views, answer))
        except BaseException as error:
            answer.set_exception(error)

    def _classify(self) -> None:
        """Take what waits, in batches, until None comes."""
        while (first := self._waiting.get()) is not None:
            batch, end, ended = [first], time.monotonic() + _WAIT, False
            faces = _count(first)
            while faces < self.config.batch:
                try:
                    item = self._waiting.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    break
                if item is None:
                    ended = True
                    break
                batch.append(item)
                faces += _count(item)
            self._on_batch(faces)
            for views in {item.views for item in batch}:
                self._answer([item for item in batch if item.views == views], views or None)
            if ended:
                return

    def _answer(self, batch: list[_Faces], views: str | None) -> None:
        try:
            whole = [item for item in batch if item.found is not None]
            crops = [item for item in batch if item.found is None]
            images = [(item.pixels, item.found) for item in whole if item.found is not None]
            answers = self.recognizer.recognize_known(images, views=views) if images else []
            if crops:
                classified = self.recognizer.classify([item.pixels for item in crops], views=views)
                answers += [classified[row : row + 1] for row in range(len(crops))]
            for item, faces in zip(whole + crops, answers, strict=True):
                item.answer.set_result(faces)
        except BaseException as error:
            told = InputError(str(error)) if isinstance(error, BundleError) else error
            for item in batch:
                if not item.answer.done():
                    item.answer.set_exception(told)


def _count(item: _Faces) -> int:
    return 1 if item.found is None else len(item.found)
