"""The audit itself: everything that is looked for, in one report for people, programs and later runs."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mien
from mien.audit import content, copies
from mien.audit.finding import Entry, Face, Finding, Table
from mien.audit.leaks import LEAKED, Stage, leaks
from mien.audit.noise import read_predictions, suspects
from mien.audit.pictures import Pictures, from_face_set, read_pictures
from mien.datasets import DATASETS, FaceSet, load_dataset
from mien.errors import InputError
from mien.store import write_text
from mien.store.atomic import atomic_directory


@dataclass(frozen=True, eq=False)
class AuditReport:
    """What an audit found.

    Args:
        subject: name of what was audited.
        against: name of the data set it was compared with; None for an audit of the data itself.
        size: how many pictures were looked at.
        splits: pictures per split.
        fingerprint: of the face set; empty for other sources.
        findings: everything that was looked for, also where nothing was found.
        tables: numbers beside the findings.
        notes: what a person should know.
        seconds: how long it took.
    """

    subject: str
    against: str | None
    size: int
    splits: dict[str, int]
    fingerprint: str
    findings: tuple[Finding, ...]
    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def found(self) -> bool:
        """Whether anything is a leak or a problem; remarks do not count."""
        return any(finding.entries for finding in self.findings if finding.weight != "remark")

    def finding(self, name: str) -> Finding:
        """A finding by its name."""
        for finding in self.findings:
            if finding.name == name:
                return finding
        raise InputError(f"the audit has no finding {name!r}; it has {', '.join(f.name for f in self.findings)}")

    def table(self, name: str) -> Table:
        """A table by its name."""
        for table in self.tables:
            if table.name == name:
                return table
        raise InputError(f"the audit has no table {name!r}; it has {', '.join(t.name for t in self.tables)}")

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "schema": 1,
            "mien": mien.__version__,
            "subject": self.subject,
            "against": self.against,
            "faces": self.size,
            "splits": self.splits,
            "fingerprint": self.fingerprint,
            "found": self.found,
            "findings": [finding.to_json() for finding in self.findings],
            "tables": {table.name: table.to_json() for table in self.tables},
            "notes": self.notes,
            "seconds": round(self.seconds, 1),
        }

    def write(self, folder: str | Path) -> Path:
        """Write ``report.html``, ``report.json`` and ``ids/<finding>.txt``, whole or not at all.

        Each line of a list holds the ids of one entry between tabs; lines that begin with # are comments.

        Returns:
            The path of ``report.html``.
        """
        from mien.audit.page import render

        folder = Path(folder)
        if folder.exists() and (not folder.is_dir() or not _is_report_or_empty(folder)):
            raise InputError(f"{folder} exists and is no audit report; name a new folder")
        with atomic_directory(folder) as part:
            for finding in self.findings:
                subject = self.subject.encode("unicode_escape").decode()
                head = f"# {finding.name}: {len(finding.entries)} entries, {subject}"
                if self.fingerprint:
                    head += f", data {self.fingerprint}"
                write_text(part / "ids" / f"{finding.name}.txt", "\n".join([head, *finding.id_lines(), ""]))
            write_text(part / "report.json", json.dumps(self.to_json(), ensure_ascii=False, allow_nan=False))
            write_text(part / "report.html", render(self))
        return folder / "report.html"


def audit(
    data: str | Path | FaceSet | Pictures,
    *,
    against: str | FaceSet | None = None,
    noise: str | Path | None = None,
    stage: Stage | None = None,
) -> AuditReport:
    """Look through a data set, or look for test faces in training pictures.

    Args:
        data: name of an imported data set (``"fer2013"``), a face set, or the path of a folder, zip, tar, npz or csv.
        against: a data set whose test faces should not be in ``data``; then only that is looked for.
        noise: a result of ``fer2013/folds@1`` (path or id), or an npz of cross-validated probabilities: labels that
            they contradict are listed (see `mien.audit.noise.read_predictions`).
        stage: gives the progress of each stage that begins.

    Raises:
        InputError: nothing of that name or path, or it cannot be read.
        MissingExtraError: ``noise`` was given, but cleanlab is not installed.

    Example:
        >>> from mien.datasets import load_dataset
        >>> report = audit(load_dataset("drawn", count=70))
        >>> report.size, report.finding("exact-copies").entries, report.finding("constant-images").entries
        (70, (), ())
    """
    started = time.monotonic()
    pictures = _opened(data, stage)
    notes = list(pictures.notes)
    findings: list[Finding] = []
    tables: list[Table] = []
    if against is not None:
        if noise is not None:
            raise InputError("predictions belong to an audit of the data itself; leave `against` away")
        other = from_face_set(load_dataset(against) if isinstance(against, str) else against)
        found, table = leaks(pictures, other, stage=stage)
        findings += found
        tables.append(table)
        notes.append(
            f"A picture counts as a test face from a correlation of {LEAKED:g} after alignment. Pixels alone were "
            "compared; faces within larger photographs are not searched for."
        )
    else:
        other = None
        for tested in _looks(pictures, noise, stage):
            (findings if isinstance(tested, Finding) else tables).append(tested)  # type: ignore[arg-type]
    findings += _unreadable(pictures)
    return AuditReport(
        subject=pictures.name,
        against=None if other is None else other.name,
        size=len(pictures),
        splits={name: int((pictures.splits == index).sum()) for index, name in enumerate(pictures.split_names)},
        fingerprint=pictures.fingerprint,
        findings=tuple(findings),
        tables=tuple(tables),
        notes=tuple(notes),
        seconds=time.monotonic() - started,
    )


def _looks(pictures: Pictures, noise: str | Path | None, stage: Stage | None) -> list[Finding | Table]:
    doubtful = None if noise is None else suspects(pictures, read_predictions(noise, pictures))
    (across, anywhere), exact_table = copies.exact(pictures)
    near, near_table, pairs = copies.near(pictures, progress=stage("near copies") if stage else None)
    recut, all_table = copies.recut(pictures, pairs, progress=stage("copies cut differently") if stage else None)
    votes = content.agreement(pictures)
    not_faces = content.not_faces(pictures)
    parts: list[Finding | Table | None] = [
        across,
        anywhere,
        near,
        recut,
        content.conflicts(pictures),
        *content.blank(pictures),
        not_faces,
        doubtful,
        votes[1] if votes else None,
        *((exact_table, near_table, all_table) if len(pictures.split_names) > 1 else ()),
        content.balance(pictures),
        votes[0] if votes else None,
    ]
    return [part for part in parts if part is not None]


def _unreadable(pictures: Pictures) -> list[Finding]:
    if not pictures.unreadable:
        return []
    import numpy as np

    nothing = np.zeros(pictures.images.shape[1:], np.uint8)
    return [
        Finding(
            name="unreadable-files",
            title="Files that cannot be read",
            sentence="They look like pictures by name, but cannot be decoded; they were left out of everything else.",
            weight="problem",
            entries=tuple(Entry((Face(name, nothing),), note=reason) for name, reason in pictures.unreadable),
        )
    ]


def _opened(data: str | Path | FaceSet | Pictures, stage: Stage | None) -> Pictures:
    if isinstance(data, Pictures):
        return data
    if isinstance(data, FaceSet):
        return from_face_set(data)
    if isinstance(data, str) and data in DATASETS and not Path(data).exists():
        return from_face_set(load_dataset(data))
    if not Path(data).exists():
        raise InputError(
            f"{data} is no file, no folder and no data set; `mien data list` shows the data sets, "
            "anything else is given as a path"
        )
    return read_pictures(data, progress=stage("reading") if stage else None)


def _is_report_or_empty(folder: Path) -> bool:
    names = {path.name for path in folder.iterdir()}
    return not names or ("report.json" in names and names <= {"report.html", "report.json", "ids"})
