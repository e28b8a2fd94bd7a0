"""Image files in, one record per file out, in order: what ``mien predict`` and every batch job do."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from mien.errors import BundleError, InputError
from mien.recognition.expressions import Expressions
from mien.recognition.listing import DRAWING, Job
from mien.store import atomic_file

if TYPE_CHECKING:
    from PIL import Image

    from mien.faces.decode import ImageSource
    from mien.recognition.recognizer import Recognizer

STDIN = "-"
HELD_PIXELS = 160_000_000
"""Of all images that are being worked on at once; a single larger one is done alone."""

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class FileRecord:
    """What was found in one image file.

    Args:
        file: as the caller named it.
        status: ``ok``, ``no face`` or ``error``.
        faces: empty without a face, None for an error.
        message: what is wrong with the file, or what was left out, one sentence; empty otherwise.
        left_out: faces that were found but are less certain than asked for.
    """

    file: str
    status: str
    faces: Expressions | None = None
    message: str = ""
    left_out: int = 0

    def without_image(self) -> FileRecord:
        """The same without the pixels, for lists of many records."""
        return self if self.faces is None else replace(self, faces=replace(self.faces, image=None))

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of ``mien predict --json``; width and height are null where nothing could be read."""
        width, height = (None, None) if self.faces is None or self.faces.size is None else self.faces.size
        return {
            "file": self.file,
            "status": self.status,
            "width": width,
            "height": height,
            "faces": [] if self.faces is None else self.faces.to_dicts(),
        }


def recognize_files(
    recognizer: Recognizer,
    files: Iterable[str | Path | Job],
    *,
    min_confidence: float = 0.0,
    stdin: IO[bytes] | None = None,
    workers: int = 1,
    finish: Callable[[FileRecord], FileRecord] | None = None,
) -> Iterator[FileRecord]:
    """Recognise files; one that cannot be read becomes a record and stops nothing.

    Args:
        recognizer: with or without a detector.
        files: paths, or jobs with boxes; ``-`` stands for ``stdin``. Read as far as needed, not at once.
        min_confidence: faces with less confidence are left out of the records and counted. A file whose faces were all
            left out still has status ``ok``: there were faces.
        stdin: binary stream that ``-`` reads one image from.
        workers: files in work at the same time, each in a thread of its own; decoding one goes on while the network
            looks at another. A recogniser with ``threads=1`` suits several workers.
        finish: what else is done with each record where it was made, such as drawing it and letting go of its pixels.

    Yields:
        One record per file, in the order of the files whatever the number of workers.

    Raises:
        InputError: if ``min_confidence`` is outside 0–1.
    """
    if not 0 <= min_confidence <= 1:
        raise InputError(f"a minimal confidence lies in 0–1, not {min_confidence}")
    held = HeldPixels(HELD_PIXELS)

    def work(file: str | Path | Job) -> FileRecord:
        job = file if isinstance(file, Job) else Job(str(file))
        with held.turn() as before:
            source = stdin if job.file == STDIN else None
            record = recognize_file(recognizer, job, source, min_confidence=min_confidence, before=before)
            return record if finish is None else finish(record)

    return in_order(work, files, workers)


def recognize_file(
    recognizer: Recognizer,
    job: Job,
    source: ImageSource | None = None,
    *,
    min_confidence: float = 0.0,
    before: Callable[[int, int], None] | None = None,
) -> FileRecord:
    """One job, one record; what cannot be read becomes a record with the status ``error``.

    Args:
        recognizer: with or without a detector.
        job: what is to be recognised; one with a fault is answered with it.
        source: its bytes or an open file, if they come from elsewhere than its path.
        min_confidence: see `recognize_files`.
        before: see `mien.faces.decode.decode`.
    """
    from mien.faces.decode import decode

    shown = job.shown
    if job.fault:
        return FileRecord(shown, "error", message=job.fault)
    try:
        name = "standard input" if job.file == STDIN and source is not None else shown
        pixels = decode(job.file if source is None else source, name=name, before=before)
        faces = recognizer.predict(pixels, boxes=job.boxes)
    except BundleError:
        raise
    except InputError as error:
        said = str(error).replace(
            "is a folder; give the images in it", "is a folder; give the images in it, or --recursive"
        )
        return FileRecord(shown, "error", message=said if shown in said else f"{shown}: {said}")
    kept = faces[faces.confidence >= min_confidence] if min_confidence > 0 else faces
    left_out = len(faces) - len(kept)
    return FileRecord(shown, "ok" if len(faces) else "no face", kept, left_out_sentence(left_out), left_out)


def left_out_sentence(count: int) -> str:
    """What is said of faces under the minimal confidence; nothing of none.

    Example:
        >>> left_out_sentence(1), left_out_sentence(0)
        ('1 face below the minimal confidence was left out', '')
    """
    if not count:
        return ""
    return f"{count:,} {'face' if count == 1 else 'faces'} below the minimal confidence {_was(count)} left out"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def in_order(work: Callable[[_Item], _Answer], items: Iterable[_Item], workers: int) -> Iterator[_Answer]:
    """The answers in the order of the items; at no time more than a few of either are held.

    Example:
        >>> list(in_order(str.upper, ["a", "b", "c"], 2))
        ['A', 'B', 'C']
    """
    if workers <= 1:
        yield from map(work, items)
        return
    waiting: deque[Future[_Answer]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="mien") as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                # Twice as many as workers: nobody waits for work while one slow image holds up the order.
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class HeldPixels:
    """Lets images be decoded only as long as all that are held together stay below a bound."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def turn(self) -> Iterator[Callable[[int, int], None]]:
        """For one image: call what this gives with its width and height; the pixels are given back at the end."""
        mine = 0

        def claim(width: int, height: int) -> None:
            nonlocal mine
            pixels = width * height
            with self._changed:
                # Who holds nothing else is let in at any size, or a large image would wait for ever.
                self._changed.wait_for(lambda: self._held == 0 or self._held + pixels <= self._most)
                self._held += pixels
                mine += pixels

        try:
            yield claim
        finally:
            with self._changed:
                self._held -= mine
                self._changed.notify_all()


class DrawingFolder:
    """Annotated copies of images in one folder, each under a name of its own; never over one of the images.

    Args:
        folder: made when the first image is drawn.
        inputs: the images that must stay as they are.

    Example:
        >>> import tempfile
        >>> folder = DrawingFolder(tempfile.mkdtemp(), ["a/party.jpg", "b/party.jpg"])
        >>> folder.path_for("a/party.jpg").name, folder.path_for("b/party.jpg").name
        ('party.faces.png', 'party-2.faces.png')
    """

    def __init__(self, folder: str | Path, inputs: Iterable[str | Path] = ()) -> None:
        self.folder = Path(folder)
        self._inputs = {_identity(path) for path in inputs if str(path) != STDIN}
        self._used: set[str] = set()

    def path_for(self, file: str | Path) -> Path:
        """The path that the next drawing of ``file`` gets; each call gives a new one."""
        stem = "stdin" if str(file) == STDIN else Path(file).stem
        number = 1
        while True:
            name = f"{stem}{DRAWING}" if number == 1 else f"{stem}-{number}{DRAWING}"
            path = self.folder / name
            # Some file systems do not tell A from a.
            if name.casefold() not in self._used and _identity(path) not in self._inputs:
                self._used.add(name.casefold())
                return path
            number += 1

    def save(self, record: FileRecord) -> Path | None:
        """Draw a record's faces and write the PNG, whole or not at all; None for a record without an image."""
        if record.faces is None or record.faces.image is None:
            return None
        path = self.path_for(record.file)
        _write_png(record.faces.draw(), path)
        return path


def save_drawing(record: FileRecord, folder: Path, root: str | Path | None = None) -> Path | None:
    """Draw a record's faces into a folder that mirrors the images' own folders; None for one without an image.

    The name follows from the image's path alone, so a repeated run replaces its own drawings and no others.

    Args:
        record: with the pixels.
        folder: made where it is missing.
        root: a folder that the paths are shortened by.
    """
    if record.faces is None or record.faces.image is None:
        return None
    path = mirrored(record.file, folder, root)
    _write_png(record.faces.draw(), path)
    return path


def mirrored(file: str, folder: Path, root: str | Path | None = None) -> Path:
    """Where the drawing of a file lies; never outside of ``folder``.

    Example:
        >>> mirrored("photos/2024/a.jpg", Path("out"), "photos").as_posix()
        'out/2024/a.jpg.faces.png'
        >>> mirrored("../a.jpg", Path("out")).as_posix()
        'out/up/a.jpg.faces.png'
    """
    inner = Path(file)
    if root is not None and inner.is_relative_to(root):
        inner = inner.relative_to(root)
    parts = ["up" if part == ".." else part for part in inner.parts if part not in (inner.anchor, ".")]
    name = parts[-1]
    if len(os.fsencode(name)) > 240:  # file systems end at 255 bytes
        name = f"{name[:50]}-{hashlib.sha256(os.fsencode(name)).hexdigest()[:16]}"
    return folder.joinpath(*parts[:-1], f"{name}{DRAWING}")


def _write_png(picture: Image.Image, path: Path) -> None:
    try:
        with atomic_file(path) as out:
            picture.save(out, "PNG", compress_level=4)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another folder") from None


def is_input(path: str | Path, inputs: Iterable[str | Path]) -> bool:
    """Whether writing to ``path`` would destroy one of the inputs; links are followed.

    Example:
        >>> is_input("./a.jpg", ["a.jpg", "-"]), is_input("a.csv", ["a.jpg"])
        (True, False)
    """
    return _identity(path) in {_identity(file) for file in inputs if str(file) != STDIN}


def _identity(path: str | Path) -> tuple[int, int] | str:
    """Equal for two names of one file, links included."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError:
        return os.path.realpath(path)
    return (status.st_dev, status.st_ino)
