"""Image files in, one record per file out, in order: what ``mien predict`` and every batch job do."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

from mien.errors import BundleError, InputError
from mien.recognition.expressions import Expressions
from mien.recognition.listing import DRAWING, Job, is_image_name
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
        """The JSON object of ``mien predict --json`` and of the service.

        Width and height are null where nothing could be read; ``message`` stands only where there is something to say.
        """
        width, height = (None, None) if self.faces is None or self.faces.size is None else self.faces.size
        said = {"message": self.message} if self.message else {}
        return {
            "file": self.file,
            "status": self.status,
            "width": width,
            "height": height,
            "faces": [] if self.faces is None else self.faces.to_dicts(),
            **said,
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
    """Annotated copies of images, in folders like the images' own; never over one of the images.

    The name follows from the image's path and its neighbours alone, so a repeated run replaces its own drawings and no
    others: the ending gives way to ``.faces.png``, and stays where another image beside it differs in nothing else.

    Args:
        folder: made when the first image is drawn.
        inputs: the images that must stay as they are, and that get drawings with names of their own whatever they are
            called; None: nothing is remembered, for any number of images.
        root: a folder that the images' paths are shortened by.

    Example:
        >>> import tempfile
        >>> folder = DrawingFolder(tempfile.mkdtemp(), root="holiday")
        >>> [folder.path_for(file).relative_to(folder.folder).as_posix() for file in ("holiday/1/a.jpg", "../b.png")]
        ['1/a.faces.png', 'up/b.faces.png']
    """

    def __init__(
        self, folder: str | Path, inputs: Iterable[str | Path] | None = None, root: str | Path | None = None
    ) -> None:
        self.folder, self.root = Path(folder), root
        self._inputs = None if inputs is None else {_identity(path) for path in inputs if str(path) != STDIN}
        self._used: set[str] = set()
        self._beside: dict[str, Counter[str]] = {}

    def path_for(self, file: str | Path) -> Path:
        """The path that the next drawing of ``file`` gets; with ``inputs``, each call gives a new one."""
        parent, name = self._mirrored(str(file))
        if self._inputs is None:
            return parent / f"{name}{DRAWING}"
        number = 1
        while True:
            path = parent / (f"{name}{DRAWING}" if number == 1 else f"{name}-{number}{DRAWING}")
            # Some file systems do not tell A from a.
            if str(path).casefold() not in self._used and _identity(path) not in self._inputs:
                self._used.add(str(path).casefold())
                return path
            number += 1

    def save(self, record: FileRecord) -> Path | None:
        """Draw a record's faces and write the PNG, whole or not at all; None for a record without an image."""
        if record.faces is None or record.faces.image is None:
            return None
        path = self.path_for(record.file)
        _write_png(record.faces.draw(), path)
        return path

    def _mirrored(self, file: str) -> tuple[Path, str]:
        """Folder and name without the ending, never outside of the folder."""
        if file == STDIN:
            return self.folder, "stdin"
        inner = Path(file)
        if self.root is not None and inner.is_relative_to(self.root):
            inner = inner.relative_to(self.root)
        parts = ["up" if part == ".." else part for part in inner.parts if part not in (inner.anchor, ".")]
        stem = Path(file).stem
        name = parts[-1] if self._neighbours(os.path.dirname(file))[stem.casefold()] > 1 else stem  # noqa: PTH120
        if len(os.fsencode(name)) > 220:  # file systems end at 255 bytes, and a file in the making has a longer name
            name = f"{name[:50]}-{hashlib.sha256(os.fsencode(file)).hexdigest()[:16]}"
        return self.folder.joinpath(*parts[:-1]), name

    def _neighbours(self, folder: str) -> Counter[str]:
        """How many images of a folder have which name, their endings aside."""
        found = self._beside.get(folder)
        if found is None:
            try:
                names = os.listdir(folder or ".")  # noqa: PTH208 - names that are no Unicode stay what they are
            except OSError:
                names = []
            found = Counter(Path(name).stem.casefold() for name in names if is_image_name(name))
            self._beside = {folder: found}  # images come folder by folder; other threads keep what they have found
        return found


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
