"""A table in parts, one per job of a job array, and the parts put together: no machinery beyond a shared folder.

Which part an image belongs to follows from its path alone, so images that come or go move no other. Each part lists
everything and keeps what is its own; it notes how many images it saw and the hash of their names. Putting the parts
together is at once the proof that nothing is lost: the places of their images have to be 0, 1, 2, … without a gap or a
repetition, and the names in that order have to give that hash.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mien.errors import InputError
from mien.labels import LabelSet
from mien.recognition.listing import Job
from mien.recognition.tables import Row, columns, table_format, write_table
from mien.recognition.unfinished import differing
from mien.store import atomic_file

MOST = 10_000
"""Shards of one table."""

_NAME = "{:05d}-of-{:05d}.jsonl"
_READ = 1 << 16  # bytes of each shard that are held while all are put together
_SHOWN = 8  # numbers that a sentence names


@dataclass(frozen=True)
class Shard:
    """One part of a list of images.

    Args:
        number: from 1.
        of: how many parts there are.

    Example:
        >>> shard = Shard.parse("2/3")
        >>> [name for name in ("a.jpg", "b.jpg", "c.jpg", "d.jpg") if shard.takes(name)]
        ['a.jpg', 'c.jpg']
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.of <= MOST:
            raise InputError(f"{self.of:,} shards are not possible; take 1 to {MOST:,}")
        if not 1 <= self.number <= self.of:
            raise InputError(f"there is no shard {self}; shards count from 1: 1/{self.of} to {self.of}/{self.of}")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """``3/16``: the third of sixteen.

        Raises:
            InputError: something else, or a number outside.
        """
        found = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text.strip())
        if found is None:
            raise InputError(f"{text!r} is no shard; give its number and how many there are, such as 3/16")
        return cls(int(found[1]), int(found[2]))

    def takes(self, file: str) -> bool:
        """Whether a path belongs to this part; each belongs to exactly one of the ``of`` parts."""
        digest = hashlib.sha256(file.encode(errors="surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % self.of == self.number - 1

    def path(self, out: str | Path) -> Path:
        """Where the part lies until all are put together."""
        return shard_folder(out) / _NAME.format(self.number, self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


class Listing:
    """A list of jobs while it is read: gives those of one shard, with their places, and learns what the whole is.

    Args:
        jobs: all of them.
        shard: whose are wanted; None: all.

    Attributes:
        inputs: how many there were.
    """

    def __init__(self, jobs: Iterable[Job], shard: Shard | None = None) -> None:
        self._jobs, self._shard = jobs, shard
        self._names = hashlib.sha256()
        self.inputs = 0

    def __iter__(self) -> Iterator[Job]:
        for job in self._jobs:
            self.note(job.shown)
            if self._shard is None or self._shard.takes(job.file):
                yield replace(job, at=self.inputs - 1)

    def note(self, name: str) -> None:
        """One more, by its printable name."""
        self._names.update(name.encode() + b"\0")
        self.inputs += 1

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: ``inputs`` and ``sha256`` of the names in their order."""
        return {"inputs": self.inputs, "sha256": self._names.hexdigest()}


@dataclass(frozen=True)
class Merged:
    """What came of putting shards together.

    Args:
        out: the table.
        problems: why it was not done, one sentence each; empty where the table was written.
        shards: how many there are.
        counts: ``files``, ``faces``, ``without``, ``errors``, ``left_out`` over all of them.
    """

    out: str
    problems: tuple[str, ...]
    shards: int
    counts: dict[str, int]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"out": self.out, "problems": list(self.problems), "shards": self.shards, **self.counts}

    def __str__(self) -> str:
        unread = self.counts["errors"]
        return (
            f"{self.out}: {self.counts['faces']:,} faces in {self.counts['files']:,} files from {self.shards:,} "
            f"shards; each file is there once, {shard_folder(self.out)} is no longer needed"
            + (f"; {unread:,} could not be read (see the column message)" if unread else "")
        )


def shard_folder(out: str | Path) -> Path:
    """Where the shards of a table lie: beside it."""
    return Path(out).with_name(f"{Path(out).name}.shards")


def write_shard(
    shard: Shard, out: str | Path, header: dict[str, Any], rows: Iterable[Row], jobs: Iterable[Job], label_set: LabelSet
) -> None:
    """Write a finished part: a header, then each row with the place of its image before it, then the hash of the rows.

    Args:
        shard: which.
        out: the table that it is a part of.
        header: ``settings``, ``about``, ``listing``, ``files`` and ``counts``.
        rows: of the part's images, in the order of the jobs.
        jobs: the part's images.
        label_set: of the recogniser.
    """
    first = {"schema": 1, "shard": shard.number, "of": shard.of, **header}
    first["labels"] = [label_set.name, *label_set.labels]
    with atomic_file(shard.path(out)) as stream:
        stream.write(_line(first))
        hashed = hashlib.sha256()
        for row in _placed(rows, jobs, columns(label_set).index("face")):
            line = _line(row)
            hashed.update(line)
            stream.write(line)
        stream.write(_line(hashed.hexdigest()))


def read_header(path: Path) -> dict[str, Any]:
    """The header of a finished part.

    Raises:
        InputError: the file is none.
    """
    try:
        with path.open("rb") as stream:
            header = json.loads(stream.readline(1 << 20))
        if header["schema"] == 1 and {"shard", "of", "settings", "about", "listing", "counts", "labels"} <= {*header}:
            return dict(header)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path} is no finished shard of this version; remove it and run that shard again")


def merge_shards(
    out: str | Path,
    jobs: Iterable[Job] | None = None,
    settings: dict[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Merged:
    """Put the shards of a table together, if each input is there exactly once; the same bytes as a run in one go.

    Args:
        out: the table, ``.csv``, ``.jsonl`` or ``.parquet``, that the shards were made for.
        jobs: what is to be recognised, to find out whether that is still what the shards were made for.
        settings: of those jobs, as `mien.recognition.listing.Plan` has them.
        progress: called with inputs done and inputs in all.

    Returns:
        What was found; the table was written only if there are no problems. The shards stay.

    Raises:
        InputError: there are no shards, or the table cannot be written.
        MissingExtraError: parquet without pyarrow.
    """
    format = table_format(str(out))
    found = _found(out)
    problems = _incomplete(out, found)
    headers = {shard: read_header(path) for shard, path in found.items()}
    if len({shard.of for shard in found}) == 1:
        problems += _disagreeing(headers, settings)
    counts = Counter(dict.fromkeys(("files", "faces", "without", "errors", "left_out"), 0))
    for header in headers.values():
        counts.update(files=header["files"], **header["counts"])
    if not problems:
        first = next(iter(headers.values()))
        name, *labels = first["labels"]
        label_set = LabelSet(name, tuple(labels))
        rows = _checked(found, first["listing"], columns(label_set), jobs, progress)
        try:
            with atomic_file(out) as stream:
                write_table(stream, format, rows, label_set, first["about"])
        except _IncompleteError as error:
            problems.append(str(error))
        except OSError as error:
            raise InputError(f"{out} cannot be written: {error.strerror or error}; choose another path") from None
    return Merged(str(out), tuple(problems), len(found), dict(counts))


class _IncompleteError(Exception):
    """Found while the rows were put together; nothing is kept of the table then."""


def _found(out: str | Path) -> dict[Shard, Path]:
    """The finished shards, by what their names say."""
    folder = shard_folder(out)
    found = {}
    for path in sorted(folder.glob("*-of-*.jsonl")):
        if match := re.fullmatch(r"(\d{5})-of-(\d{5})\.jsonl", path.name):
            found[Shard(int(match[1]), int(match[2]))] = path
    if not found:
        raise InputError(f"there are no finished shards in {folder}; make them with --shard 1/N to N/N --out {out}")
    return found


def _incomplete(out: str | Path, found: dict[Shard, Path]) -> list[str]:
    sizes = sorted({shard.of for shard in found})
    if len(sizes) > 1:
        said = "; ".join(f"{_numbers([shard.number for shard in found if shard.of == of])} of {of}" for of in sizes)
        folder = shard_folder(out)
        return [
            f"{folder} holds shards of several divisions ({said}); each image is to be there once: remove the others"
        ]
    (of,) = sizes
    missing = [number for number in range(1, of + 1) if Shard(number, of) not in found]
    if not missing:
        return []
    begun = [number for number in missing if Path(f"{Shard(number, of).path(out)}.unfinished").is_dir()]
    absent = [number for number in missing if number not in begun]
    problems = []
    for numbers, state, again in ((absent, "missing", ""), (begun, "unfinished", " again")):
        if numbers:
            one = len(numbers) == 1
            which = f"{'shard' if one else 'shards'} {_numbers(numbers)} of {of} {'is' if one else 'are'} {state}"
            problems.append(f"{which}; run {'it' if one else 'them'}{again} and merge then")
    return problems


def _disagreeing(headers: dict[Shard, dict[str, Any]], settings: dict[str, Any] | None) -> list[str]:
    problems = []
    for shard, header in headers.items():
        if (header["shard"], header["of"]) != (shard.number, shard.of):
            problems.append(
                f"the file of shard {shard} holds shard {header['shard']}/{header['of']}, which would be there twice; "
                "remove it and run that shard again"
            )
    first, head = next(iter(headers.items()))
    for shard, header in headers.items():
        if other := differing(head["settings"], header["settings"]):
            problems.append(f"shards {first} and {shard} were made with other settings ({', '.join(other)})")
        elif header["listing"] != head["listing"]:
            before, after = head["listing"]["inputs"], header["listing"]["inputs"]
            problems.append(
                f"shards {first} and {shard} saw other images ({before:,} and {after:,}); remove those that saw "
                "what is no longer so and run them again"
            )
    if settings is not None:
        made = {key: head["settings"].get(key) for key in settings}
        if other := differing(made, json.loads(json.dumps(settings))):
            problems.append(f"the shards were made for other images ({', '.join(other)}); give the same")
    return problems


def _checked(
    found: dict[Shard, Path],
    listing: dict[str, Any],
    names: tuple[str, ...],
    jobs: Iterable[Job] | None,
    progress: Callable[[int, int], None] | None,
) -> Iterator[Row]:
    """All rows in the order of the inputs, each of which has to be there exactly once."""
    seen, wanted = Listing(()), None if jobs is None else iter(jobs)
    file, face = names.index("file"), names.index("face")
    for at, row, shard in heapq.merge(
        *(_read(path, shard, len(names)) for shard, path in found.items()), key=lambda entry: entry[0]
    ):
        new = row[face] in (None, 1)
        if at > seen.inputs - (not new):
            raise _IncompleteError(f"input {seen.inputs:,} is in no shard; the files of the shards were changed")
        if at < seen.inputs - (not new):
            raise _IncompleteError(
                f"{row[file]} is there twice, the second time in shard {shard}; run that shard again"
            )
        if new:
            seen.note(row[file])
            if wanted is not None:
                now = next(wanted, None)
                if now is None or now.shown != row[file]:
                    there = "nothing" if now is None else now.shown
                    raise _IncompleteError(
                        f"the images are others than when the shards were made: {there} now, and {row[file]} then, "
                        f"as number {at + 1:,}; make the shards again"
                    )
            if progress is not None:
                progress(seen.inputs, listing["inputs"])
        yield row
    if seen.to_json() != listing:
        raise _IncompleteError(
            f"{seen.inputs:,} inputs are in the shards and {listing['inputs']:,} were listed; the files of the shards "
            "were changed"
        )
    if wanted is not None and (more := next(wanted, None)) is not None:
        raise _IncompleteError(
            f"there are more images than when the shards were made, such as {more.shown}; make the shards again"
        )


def _read(path: Path, shard: Shard, width: int) -> Iterator[tuple[int, Row, Shard]]:
    """Place, row and shard; the file is opened anew for each stretch, as thousands cannot be open at once."""
    with path.open("rb") as stream:
        stream.readline()
        position = stream.tell()
    hashed, last = hashlib.sha256(), None
    while last is None:
        with path.open("rb") as stream:
            stream.seek(position)
            lines = stream.readlines(_READ)
            position = stream.tell()
        for line in lines or [b""]:
            try:
                entry = json.loads(line)
                if isinstance(entry, str):
                    last = entry
                    break
                at, *row = entry
                if len(row) != width or not isinstance(at, int):
                    raise ValueError
            except (ValueError, TypeError):
                raise _damaged(path, shard) from None
            hashed.update(line)
            yield at, row, shard
    if last != hashed.hexdigest():
        raise _damaged(path, shard)


def _damaged(path: Path, shard: Shard) -> _IncompleteError:
    return _IncompleteError(f"shard {shard} is damaged; remove {path} and run that shard again")


def _placed(rows: Iterable[Row], jobs: Iterable[Job], face: int) -> Iterator[Row]:
    """The place of its image before each row; an image's first row has face 1, or none."""
    remaining, at = iter(jobs), -1
    for row in rows:
        if row[face] in (None, 1):
            at = next(remaining).at
        yield [at, *row]


def _line(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _numbers(numbers: list[int]) -> str:
    """Numbers for a sentence.

    Example:
        >>> _numbers([3, 7]), _numbers([2]), _numbers(list(range(1, 100)))
        ('3 and 7', '2', '1, 2, 3, 4, 5, 6, 7, 8 and 91 more')
    """
    shown = [str(number) for number in numbers[:_SHOWN]]
    if len(numbers) > _SHOWN:
        shown.append(f"{len(numbers) - _SHOWN} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
