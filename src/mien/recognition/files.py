"""Image files in, one record per file out: what ``mien predict`` and every batch job do."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mien.errors import InputError
from mien.recognition.expressions import Expressions
from mien.store import atomic_file

if TYPE_CHECKING:
    from mien.recognition.recognizer import Recognizer

STDIN = "-"


@dataclass(frozen=True)
class FileRecord:
    """What was found in one image file.

    Args:
        file: as the caller named it.
        status: ``ok``, ``no face`` or ``error``.
        faces: empty without a face, None for an error.
        message: what is wrong with the file, one sentence; empty otherwise.
    """

    file: str
    status: str
    faces: Expressions | None = None
    message: str = ""

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
    files: Iterable[str | Path],
    *,
    min_confidence: float = 0.0,
    stdin: IO[bytes] | None = None,
) -> Iterator[FileRecord]:
    """Recognise files one after the other; one that cannot be read becomes a record and stops nothing.

    Args:
        recognizer: with or without a detector.
        files: paths; ``-`` stands for ``stdin``.
        min_confidence: faces with less confidence are left out of the records. A file whose faces were all left out
            still has status ``ok``: there were faces.
        stdin: binary stream that ``-`` reads one image from.

    Yields:
        One record per file, in order.

    Raises:
        InputError: if ``min_confidence`` is outside 0–1.
    """
    if not 0 <= min_confidence <= 1:
        raise InputError(f"a minimal confidence lies in 0–1, not {min_confidence}")
    return (_record(recognizer, str(file), min_confidence, stdin) for file in files)


def _record(recognizer: Recognizer, file: str, min_confidence: float, stdin: IO[bytes] | None) -> FileRecord:
    from mien.faces.decode import decode

    # Names that are no Unicode can be opened but not printed.
    shown = os.fsencode(file).decode(errors="replace")
    try:
        pixels = decode(stdin, name="standard input") if file == STDIN and stdin is not None else decode(file)
    except InputError as error:
        return FileRecord(shown, "error", message=str(error))
    faces = recognizer.predict(pixels)
    status = "ok" if len(faces) else "no face"
    return FileRecord(shown, status, faces[faces.confidence >= min_confidence])


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
            name = f"{stem}.faces.png" if number == 1 else f"{stem}-{number}.faces.png"
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
        picture = record.faces.draw()
        try:
            with atomic_file(path) as out:
                picture.save(out, "PNG", compress_level=4)
        except OSError as error:
            raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another folder") from None
        return path


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
