"""The folder beside a table in the making: what is to be done, what is done, and who is at it.

It survives kill -9 and power cuts: the list of jobs is written before anything is recognised, and the rows of each
stretch of it appear whole or not at all, in a file that is named by the stretch. Whoever comes next goes on after the
last stretch without a gap, so no row is lost and none is there twice.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from mien.errors import InputError
from mien.recognition.listing import Job
from mien.recognition.tables import Row
from mien.store import atomic_file, write_text
from mien.store.atomic import remove_directory, tidy
from mien.store.locking import holding, lock_path

_JOB, _LIST, _LOCK, _PART = "job.json", "files.jsonl", "lock", "{:012d}-{:012d}.jsonl"
_OURS = re.compile(r"lock|(files|\d{12,}-\d{12,})\.jsonl|\.(job\.json|files\.jsonl|\d{12,}-\d{12,}\.jsonl)\..*\.part")


class Unfinished:
    """An unfinished table. Use it in a with statement: it is locked from then on.

    Args:
        target: the table that it becomes.
        settings: JSON values that decide what the rows are; an unfinished table with others is refused.
        jobs: what is to be done. Read once, when the table is begun; what is resumed has its list already.
        notes: gives JSON values that are known when the jobs were read, kept as ``notes`` for those who resume.

    Raises:
        InputError: another process is at it, it was begun with other settings, or a folder of somebody's own has that
            name.
    """

    def __init__(
        self,
        target: str | Path,
        settings: dict[str, Any],
        jobs: Iterable[Job],
        notes: Callable[[], dict[str, Any]] = dict,
    ) -> None:
        self.target = Path(target)
        self.folder = _folder(self.target)
        self.settings = json.loads(json.dumps(settings))
        self.notes: dict[str, Any] = {}
        self._jobs, self._note = jobs, notes
        self.jobs = self.done = 0
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Unfinished:
        with contextlib.ExitStack() as stack:
            self._check_strangers()
            try:
                lock = lock_path(self.folder / _LOCK, wait=False)
            except OSError as error:
                reason = error.strerror or error
                raise InputError(f"{self.target} cannot be written: {reason}; choose another path") from None
            if lock is None:
                raise InputError(f"another process is writing {self.target}; wait for it, or choose another path")
            stack.callback(os.close, lock)
            try:
                self._begin()
            except BaseException:
                if not (self.folder / _JOB).exists():
                    self._clear()  # nothing was begun
                    with contextlib.suppress(OSError):
                        (self.folder / _LOCK).unlink()
                        self.folder.rmdir()
                raise
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def todo(self) -> Iterator[Job]:
        """The jobs that are left."""
        return self.planned(self.done)

    def planned(self, start: int = 0) -> Iterator[Job]:
        """All jobs, or those from one on."""
        with (self.folder / _LIST).open(encoding="utf-8") as lines:
            for line in itertools.islice(lines, start, None):
                yield Job.from_json(json.loads(line))

    def add(self, files: int, rows: list[Row], counts: Counter[str]) -> None:
        """The rows of the next ``files`` jobs are done; when this returns, they are on disk for good."""
        with atomic_file(self.folder / _PART.format(self.done, self.done + files)) as out:
            for line in ({"counts": counts}, *rows):
                out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        self.done += files
        self.counts += counts

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of the jobs."""
        for part in self._parts():
            with part.open(encoding="utf-8") as lines:
                next(lines)
                yield from map(json.loads, lines)

    def remove(self) -> None:
        """The table is written. A kill from now on leaves at most a folder that the next run clears away."""
        remove_directory(self.folder)
        self._stack.close()

    def _begin(self) -> None:
        tidy(self.folder)
        if (self.folder / _JOB).exists():
            self._resume()
            return
        self._clear()  # left before the first stretch
        with atomic_file(self.folder / _LIST) as out:
            for job in self._jobs:
                out.write(json.dumps(job.to_json()).encode() + b"\n")
                self.jobs += 1
        self.notes = self._note()
        begun = {"jobs": self.jobs, "settings": self.settings, "notes": self.notes}
        write_text(self.folder / _JOB, json.dumps(begun, indent=1) + "\n")

    def _clear(self) -> None:
        for old in self.folder.iterdir():
            if _OURS.fullmatch(old.name) and old.name != _LOCK:
                old.unlink()

    def _check_strangers(self) -> None:
        """A folder of that name may be somebody's own: nothing in it is touched then."""
        if not self.folder.is_dir() or (self.folder / _JOB).exists():
            return
        if others := sorted(path.name for path in self.folder.iterdir() if not _OURS.fullmatch(path.name)):
            raise InputError(
                f"{self.folder} holds files that are none of an unfinished table ({others[0]:.60}); move that folder "
                "away, or choose another path for the table"
            )

    def _resume(self) -> None:
        begun = json.loads((self.folder / _JOB).read_text(encoding="utf-8"))
        if other := differing(begun["settings"], self.settings):
            raise InputError(
                f"{self.folder} holds an unfinished table that was begun with other settings ({', '.join(other)}); "
                "give the same to finish it, or remove that folder to begin anew"
            )
        self.jobs, self.notes = begun["jobs"], begun.get("notes", {})
        for part in self._parts():
            self.done = int(part.stem.partition("-")[2])
            with part.open(encoding="utf-8") as lines:
                self.counts += Counter(json.loads(next(lines))["counts"])

    def _parts(self) -> Iterator[Path]:
        """Finished stretches without a gap, in order."""
        end = 0
        for part in sorted(self.folder.glob("[0-9]*-*.jsonl")):
            first, _, last = part.stem.partition("-")
            if int(first) != end:
                return
            end = int(last)
            yield part


def clear_unfinished(target: Path) -> None:
    """The table is written and nobody will go on with it: what a kill left beside it goes, unless somebody is at it."""
    folder = _folder(target)
    if (folder / _JOB).exists():
        with holding(folder / _LOCK, wait=False) as ours:
            if ours is not None:
                remove_directory(folder)
    tidy(folder)


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of the settings that two tables do not share, sorted.

    Example:
        >>> differing({"views": "one", "model": "a"}, {"views": "flip", "model": "a", "crops": True})
        ['crops', 'views']
    """
    return sorted(key for key in {*one, *other} if one.get(key) != other.get(key))


def _folder(target: Path) -> Path:
    return target.with_name(f"{target.name}.unfinished")
