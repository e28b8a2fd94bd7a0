"""Any number of images → one table, in bounded memory and in several threads; after a kill it goes on where it was."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mien
from mien.errors import InputError
from mien.recognition.files import STDIN, DrawingFolder, FileRecord, recognize_files
from mien.recognition.listing import Job
from mien.recognition.shards import Listing, Shard, read_header, write_shard
from mien.recognition.tables import Row, check_place, rows, table_format, write_table
from mien.recognition.unfinished import Unfinished, clear_unfinished, differing
from mien.store import atomic_file
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    from mien.recognition.recognizer import Recognizer

STRETCH = 256
"""Files after which the rows are brought to disk, or sooner, after so many seconds:"""
SECONDS = 5.0


@dataclass(frozen=True)
class Summary:
    """What a table holds.

    Args:
        out: its path.
        files: images that were asked for; one row or more for each.
        faces: rows with a face.
        without: files without a face.
        errors: files that could not be read; their rows say why.
        left_out: faces below the minimal confidence.
        resumed: files that an earlier, interrupted run had done.
    """

    out: str
    files: int
    faces: int
    without: int
    errors: int
    left_out: int
    resumed: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.faces:,} {'face' if self.faces == 1 else 'faces'} in {_files(self.files)}"]
        if self.without:
            parts.append(f"{self.without:,} without a face")
        if self.errors:
            parts.append(f"{self.errors:,} could not be read (see the column message)")
        if self.left_out:
            parts.append(f"{self.left_out:,} less certain than asked for and left out")
        if self.resumed:
            parts.append(f"{_files(self.resumed)} done by an earlier run")
        return f"{self.out}: " + "; ".join(parts)


def recognize_to_table(
    recognizer: Recognizer,
    files: Iterable[str | Path | Job],
    out: str | Path,
    *,
    min_confidence: float = 0.0,
    draw: str | Path | None = None,
    root: str | Path | None = None,
    workers: int | None = None,
    settings: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
    stretch: int = STRETCH,
    shard: Shard | None = None,
) -> Summary:
    """Recognise files into a table with a row per face, and a row with its status for a file without one.

    The rows are in the order of the files. Until the table is whole they lie in a folder beside it; a run that was
    stopped, by kill -9 too, is finished by the same call, and the table is the same to the last byte as that of a run
    in one go.

    Args:
        recognizer: made with ``threads=1``, so that several images are worked on at once without getting in each
            other's way.
        files: paths or jobs with boxes. They are written down at the start, and a resumed run takes them from there.
        out: ``.csv``, ``.jsonl`` or ``.parquet``; replaced when the table is whole.
        min_confidence: faces with less are left out and counted.
        draw: folder for an annotated PNG of each image, see `mien.recognition.files.DrawingFolder`.
        root: folder that these paths are shortened by.
        workers: images in work at once; by default the cores of this process.
        settings: JSON values that tell this table from others, on top of what the recogniser says of itself; if they
            differ from those of an interrupted run, that one is not continued. By default a list of files is told from
            another; an iterator is taken for the same.
        progress: called with files done and files in all.
        stretch: files after which rows are brought to disk.
        shard: do this part of the files only. It lies in the folder ``OUT.shards`` until
            `mien.recognition.shards.merge_shards` puts all of them together; one that is finished is not done again.

    Raises:
        InputError: another ending, an interrupted run with other settings, a path that cannot be written, a finished
            shard with other settings or of other files.
        MissingExtraError: parquet without pyarrow.
    """
    format = table_format(str(out))
    check_place(out)
    about = {"mien": mien.__version__, **model_facts(recognizer), "min_confidence": min_confidence}
    if settings is None and isinstance(files, list | tuple):
        settings = {"files": hashlib.sha256(repr([_job(file) for file in files]).encode(errors="replace")).hexdigest()}
    asked = {**about, "draw": None if draw is None else str(draw), **(settings or {})}
    listing = Listing(map(_job, files), shard)
    target = Path(out) if shard is None else shard.path(out)
    if shard is not None and (done := _finished(target, asked, listing)) is not None:
        return done
    with Unfinished(target, asked, listing, listing.to_json) as table:
        resumed = table.done
        _recognize(recognizer, table, min_confidence, draw, root, workers, progress, stretch)
        files_done, counts = table.jobs, table.counts
        try:
            if shard is None:
                with atomic_file(out) as stream:
                    write_table(stream, format, table.rows(), recognizer.label_set, about)
            else:
                header = {"settings": table.settings, "about": about, "listing": table.notes}
                header |= {"files": files_done, "counts": counts}
                write_shard(shard, out, header, table.rows(), table.planned(), recognizer.label_set)
        except OSError as error:
            raise InputError(f"{target} cannot be written: {error.strerror or error}; choose another path") from None
        table.remove()
    return _summary(target, files_done, counts, resumed)


def _recognize(
    recognizer: Recognizer,
    table: Unfinished,
    min_confidence: float,
    draw: str | Path | None,
    root: str | Path | None,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
    stretch: int,
) -> None:
    """What is left of a table."""
    if progress is not None:
        progress(table.done, table.jobs)

    drawings = None if draw is None else DrawingFolder(draw, root=root)

    def finish(record: FileRecord) -> FileRecord:
        if drawings is not None:
            drawings.save(record)
        return record.without_image()

    records = recognize_files(
        recognizer, table.todo(), min_confidence=min_confidence, workers=workers or cpu_count(), finish=finish
    )
    pending: list[Row] = []
    counts: Counter[str] = Counter()
    count, since = 0, time.monotonic()
    try:
        for record in records:
            pending += rows(record, recognizer.label_set)
            counts += counted(record)
            count += 1
            if count >= stretch or time.monotonic() - since > SECONDS:
                table.add(count, pending, counts)
                pending, counts, count, since = [], Counter(), 0, time.monotonic()
            if progress is not None:
                progress(table.done + count, table.jobs)
    finally:
        # Also when somebody stops it: what is done need not be done again.
        if count:
            table.add(count, pending, counts)


def _finished(target: Path, asked: dict[str, Any], listing: Listing) -> Summary | None:
    """What an earlier run made of this shard."""
    if not target.exists():
        return None
    header = read_header(target)
    if other := differing(header["settings"], json.loads(json.dumps(asked))):
        raise InputError(
            f"{target} was made with other settings ({', '.join(other)}); give the same, or remove it to do it again"
        )
    for _ in listing:
        pass
    if header["listing"] != listing.to_json():
        raise InputError(
            f"{target} was made of {header['listing']['inputs']:,} images, and now there are others "
            f"({listing.inputs:,}); remove it to do it again"
        )
    clear_unfinished(target)
    return _summary(target, header["files"], Counter(header["counts"]), header["files"])


def _summary(out: Path, files: int, counts: Counter[str], resumed: int) -> Summary:
    c = counts
    return Summary(str(out), files, c["faces"], c["without"], c["errors"], c["left_out"], resumed)


def _job(file: str | Path | Job) -> Job:
    job = file if isinstance(file, Job) else Job(str(file))
    if job.file == STDIN:
        raise InputError("standard input cannot be read again after a stop; with --out give files or folders")
    return job


def counted(record: FileRecord) -> Counter[str]:
    """What a record adds to a summary: ``faces``, ``without``, ``errors``, ``left_out``."""
    return Counter(
        faces=0 if record.faces is None else len(record.faces),
        without=int(record.status == "no face"),
        errors=int(record.status == "error"),
        left_out=record.left_out,
    )


def model_facts(recognizer: Recognizer) -> dict[str, Any]:
    """What decides the numbers of a recogniser."""
    return {
        "model": recognizer.card.name,
        "sha256": hashlib.sha256(recognizer.bundle.model).hexdigest(),
        "detector": recognizer.detector_name,
        "views": recognizer.views,
        "threshold": recognizer.threshold,
        "min_face": recognizer.min_face,
    }


def _files(count: int) -> str:
    return f"{count:,} {'file' if count == 1 else 'files'}"
