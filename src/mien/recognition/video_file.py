"""Video files in and out through PyAV: frames with their times, upright; and annotated frames with the sound kept."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.store.atomic import atomic_part

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_SIDE = 1920
"""Larger frames are reduced to this before anything else looks at them: 8K costs no more memory than full HD."""
_LARGEST = 256_000_000
"""Pixels of one frame that are decoded at all; 8K has 33 million."""
_SOUND = {
    ".mp4": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"},
    ".mov": {"aac", "mp3", "ac3", "alac", "pcm_s16le"},
    ".mkv": {"aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "vorbis", "pcm_s16le"},
}
"""Sound that each kind of file carries as it is; other sound becomes AAC."""
_MUXERS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_ROUNDING = 0.25
"""Seconds by which a container's length may exceed its last frame."""

logger = logging.getLogger("mien")


def _av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError("video", "video") from None
    av.logging.set_level(av.logging.PANIC)  # what goes wrong is told by exceptions, not by FFmpeg's own printing
    return av


class VideoReader:
    """The frames of one video file, in order, in constant memory.

    Args:
        path: any file that FFmpeg reads.
        max_side: frames with a longer side are reduced to it.

    Raises:
        InputError: there is no such file, it is no video, or it holds sound only.
        MissingExtraError: PyAV is not installed.

    Attributes:
        size: (width, height) in pixels, as it is displayed (rotated, square pixels, reduced).
        scale: pixels of the displayed original per pixel of a frame.
        duration: seconds that the file promises; 0 if it does not say.
        rate: mean frames per second that the file promises; 0 if it does not say.
        problem: empty, or one sentence on where the file broke off. Known when the iteration has ended.
    """

    def __init__(self, path: str | Path, *, max_side: int = MAX_SIDE) -> None:
        self._av = _av()
        self.path = str(path)
        self.problem = ""
        if Path(path).is_dir():
            raise InputError(f"{path} is a folder; name one video in it")
        if not Path(path).is_file():
            raise InputError(f"{path}: there is no such file; check the path")
        try:
            self._container = self._av.open(self.path)
        except (self._av.error.FFmpegError, ValueError) as error:
            raise InputError(
                f"{path} is no video that can be read ({_reason(error)}); an MP4 that was cut off lacks the index at "
                "its end, and nothing can be had from it without a repair tool"
            ) from None
        pictures = [s for s in self._container.streams.video if not _is_cover(s)]
        if not pictures:
            kind = "sound only" if self._container.streams.audio else "no picture"
            self._container.close()
            raise InputError(f"{path} holds {kind}; give a file with a video stream")
        self._stream = pictures[0]
        self._stream.thread_type = "AUTO"
        context = self._stream.codec_context
        if context.width * context.height > _LARGEST:
            self._container.close()
            raise InputError(f"{path} has frames of {context.width} × {context.height} pixels, beyond what is read")
        self.duration = _duration(self._container, self._stream, self._av)
        self.rate = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        start = self._container.start_time
        self._begin: float | None = None if start is None else start / self._av.time_base
        self._max_side = max_side
        self.size, self.scale = (0, 0), 1.0

    def __iter__(self) -> Iterator[tuple[float, NDArray[np.uint8]]]:
        """Yields the time in seconds from the start of the file and the frame, uint8 (H, W, 3) RGB, upright."""
        last, number = -1.0, 0
        try:
            for frame in self._container.decode(self._stream):
                if frame.is_corrupt and number == 0:
                    continue
                if self._begin is None:  # Matroska does not say when it starts
                    self._begin = float(frame.time or 0.0)
                time = number / (self.rate or 25.0) if frame.time is None else float(frame.time) - self._begin
                # Times that stand still or run backwards come from broken muxers; the order of the frames counts.
                time = max(time, last + 1e-3) if last >= 0 else max(time, 0.0)
                number, last = number + 1, time
                yield time, self._upright(frame)
        except self._av.error.FFmpegError as error:
            self.problem = f"{self.path} breaks off after {max(last, 0):.1f} s ({_reason(error)})"
        finally:
            self._container.close()
        if number == 0:
            raise InputError(
                f"{self.path} has no frame that can be decoded{'; ' + self.problem if self.problem else ''}"
            )
        shown = last + 1 / (self.rate or 25.0)
        if not self.problem and self.duration - shown > max(_ROUNDING, 2 / (self.rate or 25.0)):
            self.problem = f"{self.path} ends after {shown:.1f} s and promises {self.duration:.1f} s; it is truncated"

    @property
    def begin(self) -> float:
        """What the file's own clock shows at time 0, in seconds; known with the first frame at the latest."""
        return self._begin or 0.0

    def close(self) -> None:
        """Let go of the file."""
        self._container.close()

    def _upright(self, frame: Any) -> NDArray[np.uint8]:
        width, height = frame.width, frame.height
        aspect = self._stream.codec_context.sample_aspect_ratio or 1
        shown = (round(width * float(aspect)), height) if 0.1 < float(aspect) < 10 else (width, height)
        shrink = min(1.0, self._max_side / max(shown))
        size = (max(2, round(shown[0] * shrink)), max(2, round(shown[1] * shrink)))
        pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        turns = round((frame.rotation or 0) / 90) % 4
        if turns:
            pixels = np.ascontiguousarray(np.rot90(pixels, turns))
        self.size, self.scale = (pixels.shape[1], pixels.shape[0]), 1 / shrink
        return np.asarray(pixels, np.uint8)


class VideoWriter:
    """Writes frames as H.264 in MP4 with their own times, and the sound of the source beside them.

    The file appears under its name when it is complete; nothing is left of one that was not.

    Args:
        path: the file to write, ``.mp4``, ``.mkv`` or ``.mov``.
        source: the video whose frames these are and whose sound is kept.

    Raises:
        InputError: the file cannot be written.
    """

    def __init__(self, path: str | Path, source: VideoReader) -> None:
        self._av = _av()
        self._path = Path(path)
        if self._path.suffix.lower() not in _SOUND:
            raise InputError(f"{path}: videos are written as {', '.join(_SOUND)}")
        if self._path.exists() and self._path.samefile(source.path):
            raise InputError(f"{path} is the video itself; choose another path")
        self._held = contextlib.ExitStack()
        try:
            _, part = self._held.enter_context(atomic_part(self._path))
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another path") from None
        try:
            self._source = self._held.enter_context(self._av.open(source.path))
            self._out = self._av.open(str(part), "w", format=_MUXERS[self._path.suffix.lower()])
        except BaseException as error:
            self._held.__exit__(type(error), error, error.__traceback__)
            raise
        self._stream: Any = None
        self._reader = source
        self._sound: Any = None
        self._transcodes = False
        self._packets: Iterator[Any] = iter(())
        self._waiting: Any = None
        self._last = -1

    def write(self, time: float, image: NDArray[np.uint8]) -> None:
        """Append one frame.

        Args:
            time: in seconds, later than the last one's.
            image: uint8 (H, W, 3) RGB; all of one size.
        """
        if self._stream is None:
            self._start(image.shape[1], image.shape[0])
        frame = self._av.VideoFrame.from_ndarray(
            np.ascontiguousarray(image[: self._stream.height, : self._stream.width])
        )
        self._last = max(round(time * 90_000), self._last + 1)
        frame.pts, frame.time_base = self._last, self._stream.codec_context.time_base
        self._sound_until(time)
        self._out.mux(self._stream.encode(frame))

    def close(self, complete: bool = True) -> None:
        """Finish the file, or remove what there is of it."""
        with contextlib.suppress(_IncompleteError), self._held:
            complete = complete and self._stream is not None
            if complete:
                self._out.mux(self._stream.encode(None))
                self._sound_until(float("inf"))
                if self._transcodes:
                    self._out.mux(self._sound.encode(None))
            self._out.close()
            if not complete:
                raise _IncompleteError

    def _start(self, width: int, height: int) -> None:
        from fractions import Fraction

        stream = self._out.add_stream("libx264", rate=Fraction(self._reader.rate or 25.0).limit_denominator(1001))
        # H.264 with the colours that every player reads has even sides.
        stream.width, stream.height, stream.pix_fmt = width // 2 * 2, height // 2 * 2, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 90_000)
        stream.options = {"preset": "veryfast", "crf": "21"}
        self._stream = stream
        if self._source.streams.audio:
            sound = self._source.streams.audio[0]
            self._packets = self._source.demux(sound)
            self._transcodes = sound.codec_context.name not in _SOUND[self._path.suffix.lower()]
            if not self._transcodes:
                self._sound = self._out.add_stream_from_template(sound)
            else:
                self._sound = self._out.add_stream("aac", rate=sound.codec_context.sample_rate)
            self._next()

    def _next(self) -> None:
        try:
            self._waiting = next(self._packets)
        except (StopIteration, self._av.error.FFmpegError):
            self._waiting = None

    def _sound_until(self, time: float) -> None:
        """Sound goes in beside the pictures of the same time, as players expect."""
        while self._waiting is not None:
            packet = self._waiting
            known = packet.dts is not None
            if known and float(packet.dts * packet.time_base) - self._reader.begin > time:
                return
            if self._transcodes:
                try:
                    for frame in packet.decode():
                        frame.pts = (
                            None if frame.pts is None else frame.pts - round(self._reader.begin / frame.time_base)
                        )
                        self._out.mux(self._sound.encode(frame))
                except self._av.error.FFmpegError as error:
                    logger.info("a piece of the sound is broken: %s", _reason(error))
            elif known:
                shift = round(self._reader.begin / packet.time_base)
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = self._sound
                self._out.mux(packet)
            self._next()


class _IncompleteError(Exception):
    """What there is of a file is to be removed."""


def _is_cover(stream: Any) -> bool:
    """Music files carry a picture of the cover as a video of one frame."""
    return "attached_pic" in str(stream.disposition).lower()


def _duration(container: Any, stream: Any, av: Any) -> float:
    """Of the pictures, in seconds; 0 where only the whole file has a length, which the sound may outlast."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    tag = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", str(stream.metadata.get("DURATION", "")))
    if tag:  # Matroska
        return 3600 * int(tag[1]) + 60 * int(tag[2]) + float(tag[3])
    alone = len(container.streams) == 1
    return float(container.duration / av.time_base) if alone and container.duration else 0.0


def _reason(error: Exception) -> str:
    text = getattr(error, "strerror", None) or str(error)
    return str(text).strip().rstrip(".") or type(error).__name__
