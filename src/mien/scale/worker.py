"""What one worker does: a recogniser of its own in one thread, stretches of inputs in, a file of rows each out."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mien
from mien.bundle import read_bundle
from mien.errors import MienError
from mien.faces.decode import Limits
from mien.recognition.batch import counted
from mien.recognition.files import FileRecord, in_order, recognize_file
from mien.recognition.listing import Job, is_address
from mien.recognition.recognizer import Recognizer
from mien.recognition.tables import Row, rows
from mien.scale.parts import MODEL, Stretch, tries_name, write_part
from mien.scale.places import ForbiddenError, GoneError, Place, read_address

AHEAD = 4
"""Objects that a worker fetches at a time while it looks at another; twice as many are held at most."""
DEATHS = 3
"""How often workers may die over one stretch before the job stops: it is the images then, or the memory. Ray itself
would start a new worker for ever."""


@dataclass(frozen=True)
class Task:
    """What every worker has to know; travels to other machines.

    Args:
        detector: its name, or None where each image is one face.
        views: see `mien.Recognizer`.
        threshold: likewise.
        min_face: likewise.
        min_confidence: faces with less are left out and counted.
        out: address of the table.
        about: what each file says of itself.
        folder: what relative paths are meant from.
        version: of mien, which has to be the same everywhere.
    """

    detector: str | None
    views: str
    threshold: float
    min_face: float
    min_confidence: float
    out: str
    about: dict[str, Any]
    folder: str
    version: str


class Worker:
    """Recognises stretches. One per process."""

    def __init__(self, task: Task) -> None:
        if task.version != mien.__version__:
            raise RuntimeError(f"mien {mien.__version__} runs here and {task.version} where the job was started")
        self._task = task
        self._place = Place(task.out)
        bundle = read_bundle(self._place.read(MODEL))
        self._recognizer = Recognizer(
            bundle,
            detector=task.detector,
            views=task.views,
            threads=1,
            threshold=task.threshold,
            min_face=task.min_face,
        )

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """For Ray Data: a column of stretches as JSON becomes columns of what `do` answers."""
        answers = [self.do(Stretch.from_json(text)) for text in batch["stretch"]]
        keys = ("faces", "without", "errors", "left_out")
        return {
            "name": [name for name, _, _ in answers],
            "fault": [fault for _, _, fault in answers],
            **{key: [counts[key] for _, counts, _ in answers] for key in keys},
        }

    def do(self, stretch: Stretch) -> tuple[str, Counter[str], str]:
        """Recognise one stretch and write its file.

        Returns:
            Its file, what was counted, and what stops the whole job, if anything does.
        """
        found: list[Row] = []
        counts: Counter[str] = Counter()
        try:
            if (deaths := self._begin(stretch)) > DEATHS:
                first, last = stretch.jobs[0].shown, stretch.jobs[-1].shown
                said = (
                    f"a worker died {deaths} times over the images {first} to {last}; take fewer workers if memory is "
                )
                return stretch.name, counts, said + "short, or move the image away that breaks it"
            for job, source in in_order(self._fetch, stretch.jobs, AHEAD if _remote(stretch) else 1):
                if isinstance(source, FileRecord):
                    record = source
                else:
                    record = recognize_file(self._recognizer, job, source, min_confidence=self._task.min_confidence)
                found += rows(record.without_image(), self._recognizer.label_set)
                counts += counted(record)
            write_part(self._place, stretch, found, counts, self._recognizer.label_set, self._task.about)
            self._place.remove(tries_name(stretch))
        except MienError as error:
            return stretch.name, counts, str(error)
        return stretch.name, counts, ""

    def _begin(self, stretch: Stretch) -> int:
        """Note that somebody is at it; how often somebody was before and did not come back."""
        try:
            noted = self._place.read(tries_name(stretch))
        except GoneError:
            noted = b""
        before = int(noted) if noted.isdigit() else 0
        self._place.write(tries_name(stretch), str(before + 1).encode())
        return before

    def _fetch(self, job: Job) -> tuple[Job, bytes | str | FileRecord]:
        """The bytes of an object, the path of a file, or what is wrong with either."""
        if not is_address(job.file) or job.fault:
            return job, str(Path(self._task.folder, os.fspath(job.file)))
        try:
            return job, read_address(job, Limits().bytes)
        except (GoneError, ForbiddenError) as error:  # about this one image; what else a store says ends the job
            return job, FileRecord(job.shown, "error", message=str(error))


def _remote(stretch: Stretch) -> bool:
    return any(is_address(job.file) for job in stretch.jobs)
