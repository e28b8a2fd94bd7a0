"""A folder of Parquet files that many workers fill: which inputs belong to which file is settled before the first.

The inputs are listed once and written down. Each file holds the rows of a fixed stretch of that list and is named by
it, so whoever does a stretch a second time replaces the file by the same rows: a worker that dies, a task that is done
twice, a job that is started again neither lose nor double anything. A stretch without its file is what is left to do.

    part-000000000000-000000001024.parquet   rows of inputs 0 to 1,023
    _mien/…                                  settings, list and bundle; readers of Parquet folders skip names with _
    _SUCCESS                                 what the table holds, once every file was found to be there
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from mien.errors import InputError
from mien.labels import LabelSet
from mien.recognition.batch import Summary
from mien.recognition.files import in_order
from mien.recognition.listing import Job
from mien.recognition.shards import Listing
from mien.recognition.tables import Row, write_table
from mien.recognition.unfinished import differing
from mien.scale.places import GoneError, Place

LIST = 100_000
"""Inputs per file of the list; one such file is in memory at a time."""
SMALLEST, LARGEST = 16, 1024
"""Inputs of one part: so many are lost with a worker at most."""
SHARES = 8
"""Parts per worker that are aimed at, so that all of them end at about the same time."""

MODEL = "_mien/model.onnx"
_TRIES = "_mien/tries"
_JOB, _DONE = "_mien/job.json", "_SUCCESS"
_PART = re.compile(r"part-(\d{12})-(\d{12})\.parquet")


@dataclass(frozen=True)
class Stretch:
    """Neighbouring inputs whose rows become one file."""

    start: int
    jobs: tuple[Job, ...]

    @property
    def end(self) -> int:
        """The first input after it."""
        return self.start + len(self.jobs)

    @property
    def name(self) -> str:
        """Of its file."""
        return f"part-{self.start:012d}-{self.end:012d}.parquet"

    def to_json(self) -> str:
        """One line, for the way to a worker."""
        return json.dumps({"start": self.start, "jobs": [job.to_json() for job in self.jobs]})

    @classmethod
    def from_json(cls, text: str) -> Stretch:
        """What `to_json` gave."""
        entry = json.loads(text)
        return cls(entry["start"], tuple(map(Job.from_json, entry["jobs"])))


class PartedTable:
    """A table in the making, or a finished one.

    Args:
        address: of the folder, here or in an object store.
        settings: JSON values that decide what the rows are; an unfinished or finished table with others is refused.
    """

    def __init__(self, address: str, settings: dict[str, Any]) -> None:
        self.place = Place(address)
        self.settings: dict[str, Any] = json.loads(json.dumps(settings))
        self.inputs = self.part = 0
        self._lists: list[int] = []
        self._known: set[str] = set()

    def open(self, jobs: Iterable[Job], workers: int) -> Summary | None:
        """Begin the table, or find out what is left of it.

        Args:
            jobs: all inputs. Read when the table is begun, or when it is finished, to see whether it is still theirs.
            workers: that will share the work.

        Returns:
            What the table holds if it is finished already, and none of its files was lost since.

        Raises:
            InputError: other settings, other inputs than those of a finished table, something else lies there.
        """
        names = set(self.place.names())
        if not {"_mien", _DONE} & names and (others := sorted(name for name in names if not name.startswith("."))):
            raise InputError(
                f"{self.place.address} holds something else ({others[0]:.60}); choose another path for the table"
            )
        self._known = {name for name in names if _PART.fullmatch(name)}
        begun = self._begun()
        if begun is None:
            self._begin(jobs, workers)
            return None
        if other := differing(begun["settings"], self.settings):
            raise InputError(
                f"{self.place.address} was begun with other settings ({', '.join(other)}); give the same, or remove "
                "that folder to begin anew"
            )
        for name in self.place.names(_TRIES):
            self.place.remove(f"{_TRIES}/{name}")
        self.inputs, self.part, self._lists = begun["listing"]["inputs"], begun["part"], begun["lists"]
        if _DONE not in names:
            return None
        listing = Listing(jobs)
        for _ in listing:
            pass
        if listing.to_json() != begun["listing"]:
            raise InputError(
                f"{self.place.address} is a finished table of {self.inputs:,} images, and now there are others "
                f"({listing.inputs:,}); choose another path, or remove that folder"
            )
        if self._lacking(names):
            self.place.remove(_DONE)  # readers take it for a promise
            return None
        made = json.loads(self.place.read(_DONE))
        return Summary(**{**made, "out": self.place.address, "resumed": self.inputs})

    def lists(self) -> Iterator[list[Stretch]]:
        """Stretches without a file yet, one file of the list after the other."""
        start = 0
        for count in self._lists:
            left = [
                first
                for first in range(start, start + count, self.part)
                if self._name(first, start + count) not in self._known
            ]
            if left:
                lines = self.place.read(_list_name(start)).decode().splitlines()
                jobs = [Job.from_json(json.loads(line)) for line in lines]
                yield [
                    Stretch(first, tuple(jobs[first - start : min(first + self.part, start + count) - start]))
                    for first in left
                ]
            start += count

    def done(self) -> int:
        """Inputs whose rows were there when the table was opened."""
        return sum(end - start for start, end in map(_range, self._known))

    def finish(self, answered: dict[str, Counter[str]]) -> Summary:
        """Check that every stretch has its file, and say what the table holds.

        Args:
            answered: file → counts, of those that were written since the table was opened.

        Raises:
            InputError: a file is missing, does not hold what its name says, or belongs to something else.
        """
        if lost := self._lacking(self.place.names()):
            raise InputError(f"{self.place.address} lacks {lost}; start it again")
        counts: Counter[str] = Counter()
        for name, footer in in_order(self._footer, sorted(self._expected() - {*answered}), 8):
            start, end = _range(name)
            if footer is None or footer["files"] != end - start:
                raise InputError(f"{self.place.address}/{name} is damaged; remove it and start the same command again")
            counts.update(footer["counts"])
        for given in answered.values():
            counts.update(given)
        c = counts
        resumed = self.done()
        made = Summary(self.place.address, self.inputs, c["faces"], c["without"], c["errors"], c["left_out"], resumed)
        kept = {key: value for key, value in made.to_json().items() if key not in ("out", "resumed")}
        self.place.sweep(_TRIES, "_mien", "")
        self.place.write(_DONE, json.dumps(kept, indent=1).encode() + b"\n")
        return made

    def _expected(self) -> set[str]:
        return {
            self._name(first, start + count)
            for start, count in zip(_sums(self._lists), self._lists, strict=True)
            for first in range(start, start + count, self.part)
        }

    def _lacking(self, names: Iterable[str]) -> str | None:
        """The first of our files that is not among what lies there; a table that lies there as well is refused."""
        expected, found = self._expected(), {name for name in names if name.endswith(".parquet")}
        if lost := expected - found:
            return min(lost)
        if strange := found - expected:
            raise InputError(
                f"{self.place.address} holds {min(strange):.60}, which is none of its parts; move that file away"
            )
        return None

    def _begun(self) -> dict[str, Any] | None:
        try:
            begun: dict[str, Any] = json.loads(self.place.read(_JOB))
        except GoneError:
            return None
        return begun

    def _begin(self, jobs: Iterable[Job], workers: int) -> None:
        if self._known:
            raise InputError(
                f"{self.place.address} holds parts of a table without its list (_mien); remove them, or choose another "
                "path"
            )
        self.place.check()
        listing, entries = Listing(jobs), list[Job]()
        for job in listing:
            entries.append(job)
            if len(entries) == LIST:
                entries = self._keep(entries)
        if entries:
            self._keep(entries)
        self.inputs = listing.inputs
        even = -(-self.inputs // (SHARES * workers))
        self.part = min(max(even, SMALLEST), LARGEST)
        begun = {"settings": self.settings, "listing": listing.to_json(), "part": self.part, "lists": self._lists}
        self.place.write(_JOB, json.dumps({"schema": 1, **begun}, indent=1).encode() + b"\n")

    def _keep(self, entries: list[Job]) -> list[Job]:
        lines = "".join(json.dumps(job.to_json()) + "\n" for job in entries)
        self.place.write(_list_name(sum(self._lists)), lines.encode())
        self._lists.append(len(entries))
        return []

    def _name(self, first: int, most: int) -> str:
        return f"part-{first:012d}-{min(first + self.part, most):012d}.parquet"

    def _footer(self, name: str) -> tuple[str, dict[str, Any] | None]:
        from pyarrow import ArrowException, parquet

        data = self.place.read(name)  # what a store says of itself is no damage to the file
        try:
            metadata = parquet.read_schema(io.BytesIO(data)).metadata
            return name, json.loads(metadata[b"mien"])
        except (ArrowException, KeyError, TypeError, ValueError):
            return name, None


def write_part(
    place: Place,
    stretch: Stretch,
    rows: Iterable[Row],
    counts: Counter[str],
    label_set: LabelSet,
    about: dict[str, Any],
) -> None:
    """The file of a stretch, whole or not at all."""
    out = io.BytesIO()
    write_table(out, "parquet", rows, label_set, {**about, "files": len(stretch.jobs), "counts": counts})
    place.write(stretch.name, out.getvalue())


def tries_name(stretch: Stretch) -> str:
    """Where it is noted how often a stretch was begun and not ended."""
    return f"{_TRIES}/{stretch.name}.txt"


def _list_name(start: int) -> str:
    return f"_mien/inputs-{start:012d}.jsonl"


def _range(name: str) -> tuple[int, int]:
    found = _PART.fullmatch(name)
    assert found is not None
    return int(found[1]), int(found[2])


def _sums(counts: list[int]) -> Iterator[int]:
    total = 0
    for count in counts:
        yield total
        total += count
