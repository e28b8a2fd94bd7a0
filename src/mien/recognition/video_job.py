"""A whole video at once: an annotated copy, a table, a timeline and a summary."""

from __future__ import annotations

import contextlib
import csv
import io
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import InputError
from mien.recognition.files import is_input
from mien.recognition.overlay import overlay
from mien.recognition.tables import check_place
from mien.recognition.timeline import Timeline
from mien.recognition.video import DEFAULT, VideoFaces, VideoFrame, Watching
from mien.recognition.video_file import VideoReader, VideoWriter
from mien.store import atomic_file, write_text

if TYPE_CHECKING:
    from mien.labels import LabelSet
    from mien.recognition.recognizer import Recognizer

_BEHIND = 6
"""Frames that wait to be encoded."""


@dataclass(frozen=True)
class VideoSummary:
    """What was in a video.

    Attributes:
        file: its path.
        status: ``ok``, or ``truncated`` where the file broke off; what it held was done.
        message: where it broke off.
        width: of the frames that were looked at, in pixels.
        height: likewise.
        seconds: time of the last frame.
        frames: that were looked at.
        rate: frames per second that the file promises.
        timeline: the faces.
    """

    file: str
    status: str
    message: str
    width: int
    height: int
    seconds: float
    frames: int
    rate: float
    timeline: Timeline

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, one object per track."""
        tracks = sorted(self.timeline.tracks.values(), key=lambda track: track.track_id)
        return {
            "file": self.file,
            "status": self.status,
            **({"message": self.message} if self.message else {}),
            "width": self.width,
            "height": self.height,
            "seconds": round(self.seconds, 3),
            "frames": self.frames,
            "rate": round(self.rate, 3),
            "tracks": [track.to_dict(self.timeline.label_set) for track in tracks],
        }


def recognize_video(
    recognizer: Recognizer,
    path: str | Path,
    *,
    watching: Watching = DEFAULT,
    out: str | Path | None = None,
    table: str | Path | None = None,
    timeline: str | Path | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> VideoSummary:
    """Recognise the faces of a video and write what is asked for. Memory does not grow with its length.

    Args:
        recognizer: who recognises.
        path: the video.
        watching: how it is looked at.
        out: an annotated copy, ``.mp4``, ``.mkv`` or ``.mov``, with the sound; needs every frame.
        table: a CSV with one row per face and frame.
        timeline: ``.png`` or ``.html``: the expressions of each face over time.
        progress: called with (seconds done, seconds in all; 0 where the file does not say).

    Returns:
        What was in it.

    Raises:
        InputError: it is no video, or a file cannot be written. Nothing is left half written.
    """
    targets = [Path(target) for target in (out, table, timeline) if target is not None]
    for target in targets:
        if is_input(target, [path]):
            raise InputError(f"{target} is the video itself; choose another path")
        check_place(target)
    if len({target.absolute() for target in targets}) < len(targets):
        raise InputError("two outputs have the same path; give each its own")
    if timeline is not None and Path(timeline).suffix.lower() not in (".png", ".html"):
        raise InputError(f"{timeline}: a timeline is written as .png or .html")
    if out is not None and watching.every:
        raise InputError("an annotated video shows every frame; leave --every away, or leave the video away")
    video = VideoFaces(recognizer, path, watching)
    seen = Timeline(recognizer.label_set)
    frames = 0
    with contextlib.ExitStack() as stack:
        for target in targets:
            target.parent.mkdir(parents=True, exist_ok=True)
        # The table stands below the video, so that it is not published where the video then fails.
        rows = None if table is None else stack.enter_context(_rows(table, recognizer.label_set))
        write = None if out is None else stack.enter_context(_encoder(out, video.reader))
        for frame in video:
            frames += 1
            seen.add(frame)
            if rows is not None:
                rows(frame)
            if write is not None:
                write(frame)
            if progress is not None:
                progress(frame.time, video.reader.duration)
    if timeline is not None:
        title = f"Expressions in {Path(path).name}"
        if Path(timeline).suffix.lower() == ".html":
            write_text(timeline, seen.page(title))
        else:
            with atomic_file(timeline) as file:
                seen.picture().save(file, "PNG")
    problem = video.reader.problem
    return VideoSummary(
        str(path), "truncated" if problem else "ok", problem, *video.reader.size, seen.seconds, frames,
        video.reader.rate, seen,
    )  # fmt: skip


@contextlib.contextmanager
def _encoder(out: str | Path, source: VideoReader) -> Iterator[Callable[[VideoFrame], None]]:
    """Draw and encode in a thread of its own, while the next frames are recognised."""
    writer = VideoWriter(out, source)
    waiting: queue.Queue[VideoFrame | None] = queue.Queue(_BEHIND)
    failed: list[BaseException] = []

    def work() -> None:
        while (frame := waiting.get()) is not None:
            if failed:
                continue  # the queue is emptied, so that nobody waits for room in it
            try:
                assert frame.faces.image is not None
                image = frame.faces.image if frame.faces.image.flags.writeable else frame.faces.image.copy()
                writer.write(frame.time, overlay(image, frame.faces))
            except BaseException as error:
                failed.append(error)

    worker = threading.Thread(target=work, name="mien-encoder", daemon=True)
    worker.start()

    def write(frame: VideoFrame) -> None:
        if failed:
            raise _told(out, failed[0])
        waiting.put(frame)

    complete = False
    try:
        yield write
        complete = True
    finally:
        waiting.put(None)
        worker.join()
        try:
            writer.close(complete and not failed)
        except Exception as error:
            failed.append(error)
    if failed:
        raise _told(out, failed[0])


def _told(out: str | Path, error: BaseException) -> BaseException:
    if isinstance(error, OSError | ValueError) and not isinstance(error, InputError):
        return InputError(f"{out} cannot be written: {getattr(error, 'strerror', None) or error}; choose another path")
    return error


@contextlib.contextmanager
def _rows(table: str | Path, label_set: LabelSet) -> Iterator[Callable[[VideoFrame], None]]:
    names = ("frame", "time", "track", "x1", "y1", "x2", "y2", "score", "label", "confidence", "decided", "runner_up")
    with atomic_file(table) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*names, *(f"p_{label}" for label in label_set.labels)])

        def write(frame: VideoFrame) -> None:
            for face, entry in zip(frame.faces, frame.faces.to_dicts(), strict=True):
                writer.writerow(
                    [
                        frame.index, f"{frame.time:.3f}", face.track_id, *entry["box"], entry["score"], face.label,
                        entry["confidence"], int(face.decided), face.runner_up, *entry["probabilities"].values(),
                    ]
                )  # fmt: skip

        yield write
        text.detach()
