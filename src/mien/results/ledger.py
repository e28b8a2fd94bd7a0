"""The ledger: every opening of a sealed split, and every result that was recorded or withdrawn.

A text file of one JSON object per line. Lines are only ever appended; each carries the hash of the line before it, so
that nothing can be taken out or changed in the middle unnoticed. An opening is on disk before the split is handed
out. A process killed while writing can leave half a last line; whoever appends next keeps that text inside a line of
kind ``torn``, and reading says that it is there.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import IO, Any

from mien.errors import ResultError
from mien.results.canonical import canonical_json, content_hash, strict_json
from mien.store.locking import lock_file

GENESIS = "0" * 64
MAX_BYTES = 256 << 20
_FIELDS = {
    "opening": {
        "protocol", "split", "system", "kind", "recipe_hash", "weights_sha256", "views", "data_fingerprint",
    },
    "result": {"protocol", "system", "id"},
    "withdrawn": {"protocol", "system", "id", "reason"},
    "torn": {"text"},
}  # fmt: skip
_CHAIN = {"number", "event", "date", "previous", "hash"}


@dataclass(frozen=True)
class Opening:
    """One opening of a sealed split, as the ledger notes it. Hand it to `SealedSplit.open`, which asks the ledger.

    Args:
        protocol: name of the protocol.
        split: name of the split that is opened.
        system: whose scores will be measured.
        kind: run, bundle, ensemble, classical, clustering or submitted.
        recipe_hash: hash of the frozen recipe.
        weights_sha256: hash of the frozen weights.
        views: name of the view.
        data_fingerprint: fingerprint of the face set.
        number: 1-based line in the ledger.
        date: UTC, ISO 8601 to the second.
        previous: hash of the line before.
        hash: hash of this line, which a result carries as its ``opening``.
        ledger: path of the ledger that holds the line; no part of the line.
    """

    protocol: str
    split: str
    system: str
    kind: str
    recipe_hash: str
    weights_sha256: str
    views: str
    data_fingerprint: str
    number: int
    date: str
    previous: str
    hash: str
    ledger: str = field(default="", compare=False, repr=False)

    def confirm(self) -> None:
        """Ask the ledger, now, whether it holds this very line and its chain is whole.

        Raises:
            ResultError: it does not, or nothing says which ledger it would be.
        """
        if not self.ledger:
            raise ResultError("this opening was made by hand: only Ledger.open_split makes one that counts")
        if self not in Ledger(self.ledger).openings():
            raise ResultError(f"{self.ledger} holds no such line, so nothing was opened")


class Ledger:
    """The ledger in a file, usually ``results/ledger.jsonl``; a file that is not there yet is an empty ledger.

    Example:
        >>> import tempfile, pathlib
        >>> ledger = Ledger(pathlib.Path(tempfile.mkdtemp()) / "ledger.jsonl")
        >>> about = ("fer2013/private@1", "PrivateTest", "vggnet", "run")
        >>> opening = ledger.open_split(*about, "recipe hash", "weights hash", "one", "data fingerprint")
        >>> opening.number, len(ledger.lines()), ledger.counts()
        (1, 1, {'vggnet': 1})
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def open_split(
        self,
        protocol: str,
        split: str,
        system: str,
        kind: str,
        recipe_hash: str,
        weights_sha256: str,
        views: str,
        data_fingerprint: str,
    ) -> Opening:
        """Note that a sealed split is being opened. When this returns, the line is on disk for good."""
        noted = {
            "protocol": protocol, "split": split, "system": system, "kind": kind, "recipe_hash": recipe_hash,
            "weights_sha256": weights_sha256, "views": views, "data_fingerprint": data_fingerprint,
        }  # fmt: skip
        return _opening(self._append("opening", noted), self.path)

    def record(self, protocol: str, system: str, id: str) -> None:
        """Note that a result was recorded; from now on it has to be there."""
        self._append("result", {"protocol": protocol, "system": system, "id": id})

    def withdraw(self, protocol: str, system: str, id: str, reason: str) -> None:
        """Note that a recorded result was taken out, and why. Its openings stay and stay counted."""
        if not reason.strip():
            raise ResultError("a result is withdrawn for a reason that others can read: give one")
        self._append("withdrawn", {"protocol": protocol, "system": system, "id": id, "reason": reason})

    def lines(self) -> list[dict[str, Any]]:
        """All lines, checked: canonical form, numbers, chain of hashes.

        Raises:
            ResultError: naming the first line that does not hold, or saying that the last one is torn.
        """
        data = self._bytes()
        lines, tail = _parse(data, str(self.path))
        if tail:
            raise ResultError(
                f"{self.path}, line {len(lines) + 1} is torn: a process was stopped while it noted an opening, which "
                "therefore never happened; run `mien results verify --mend`, or any evaluation, to close the line"
            )
        return lines

    def openings(self) -> list[Opening]:
        """All openings, oldest first."""
        return [_opening(line, self.path) for line in self.lines() if line["event"] == "opening"]

    def counts(self, protocol: str | None = None, split: str | None = None) -> dict[str, int]:
        """How often each system had a sealed split opened, most often first.

        Args:
            protocol: only openings under that protocol.
            split: only openings of that split.
        """
        counted = Counter(
            opening.system
            for opening in self.openings()
            if protocol in (None, opening.protocol) and split in (None, opening.split)
        )
        return dict(counted.most_common())

    def recorded(self) -> dict[str, dict[str, Any]]:
        """The results that have to be there: id → line; those withdrawn since are left out."""
        there: dict[str, dict[str, Any]] = {}
        for line in self.lines():
            if line["event"] == "result":
                there[line["id"]] = line
            elif line["event"] == "withdrawn":
                there.pop(line["id"], None)
        return there

    def withdrawn(self) -> dict[str, str]:
        """The results that were taken out: id → reason."""
        return {line["id"]: line["reason"] for line in self.lines() if line["event"] == "withdrawn"}

    def head(self) -> str:
        """Hash of the last line: it stands for the whole ledger."""
        lines = self.lines()
        return str(lines[-1]["hash"]) if lines else GENESIS

    def mend(self) -> bool:
        """Close a torn last line; True if there was one."""
        with self._locked() as file:
            lines, tail = _parse(file.read(), str(self.path))
            if tail:
                self._write(file, lines, tail)
            return bool(tail)

    def _bytes(self) -> bytes:
        try:
            if self.path.stat().st_size > MAX_BYTES:
                raise ResultError(f"{self.path} is larger than {MAX_BYTES >> 20} MiB; that is no ledger")
            return self.path.read_bytes()
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise ResultError(f"{self.path} cannot be read: {error.strerror or error}") from None

    def _append(self, event: str, values: dict[str, Any]) -> dict[str, Any]:
        for name, value in values.items():
            if not isinstance(value, str):
                raise ResultError(f"the ledger notes text: {name} is {value!r}")
        with self._locked() as file:
            lines, tail = _parse(file.read(), str(self.path))
            if tail:
                lines.append(self._write(file, lines, tail))
            line = _line(event, values, lines)
            file.write((canonical_json(line) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
            return line

    def _write(self, file: IO[bytes], lines: list[dict[str, Any]], tail: bytes) -> dict[str, Any]:
        """Put the torn text into a line of its own."""
        line = _line("torn", {"text": tail.decode(errors="replace")}, lines)
        file.seek(-len(tail), os.SEEK_END)
        file.truncate()
        file.write((canonical_json(line) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
        return line

    @contextlib.contextmanager
    def _locked(self) -> Iterator[IO[bytes]]:
        """The file, open at its start, for this process alone."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a+b") as file:
            lock_file(file)
            file.seek(0)
            yield file


def _line(event: str, values: dict[str, Any], before: list[dict[str, Any]]) -> dict[str, Any]:
    line = {
        **values,
        "event": event,
        "number": len(before) + 1,
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "previous": before[-1]["hash"] if before else GENESIS,
    }
    return {**line, "hash": content_hash(line)}


def _parse(data: bytes, where: str) -> tuple[list[dict[str, Any]], bytes]:
    """Checked lines, and the bytes of a torn last one."""
    *whole, tail = data.split(b"\n")
    lines: list[dict[str, Any]] = []
    for number, raw in enumerate(whole, 1):
        place = f"{where}, line {number}"
        line = strict_json(raw, place)
        event = line.get("event") if isinstance(line, dict) else None
        if event not in _FIELDS or set(line) != _FIELDS[event] | _CHAIN:
            raise ResultError(f"{place} has fields that no ledger line has, or lacks some")
        if line["number"] != number or line["previous"] != (lines[-1]["hash"] if lines else GENESIS):
            raise ResultError(f"{place} does not follow the line before it: a line was removed, added or changed")
        texts = [line[name] for name in _FIELDS[event]]
        if not all(isinstance(text, str) for text in texts) or not re.fullmatch(
            r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(line["date"])
        ):
            raise ResultError(f"{place} holds a value that is no text, or no date")
        if content_hash({key: value for key, value in line.items() if key != "hash"}) != line["hash"]:
            raise ResultError(f"{place} was changed: its hash does not match")
        if canonical_json(line).encode() != raw:
            raise ResultError(f"{place} was reformatted; the ledger is only ever appended to, by mien")
        lines.append(line)
    return lines, tail


def _opening(line: dict[str, Any], path: Path) -> Opening:
    noted = {each.name: line[each.name] for each in fields(Opening) if each.name != "ledger"}
    return Opening(**noted, ledger=str(path.absolute()))
