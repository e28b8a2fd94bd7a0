"""What an audit found: titled lists of faces, tables beside them, and a sentence for each that anybody understands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mien.audit.pictures import Pictures

Weight = Literal["leak", "problem", "remark"]


@dataclass(frozen=True, eq=False)
class Face:
    """One face in a finding.

    Args:
        id: row number, or path inside the source.
        image: uint8 (48, 48).
        caption: split and class, for people.
        own: it belongs to the audited source, not to the data set that the source is compared with.
    """

    id: str
    image: NDArray[np.uint8] = field(repr=False)
    caption: str = ""
    own: bool = True


@dataclass(frozen=True)
class Entry:
    """Faces that belong together: one, a pair, or a group.

    Args:
        faces: at least one.
        score: how sure or how bad, in the unit that the finding names.
        note: a few words for people.
    """

    faces: tuple[Face, ...]
    score: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """One kind of thing that was found.

    Args:
        name: for programs and file names: small letters, digits and hyphens.
        title: for people.
        sentence: what it is and why it matters.
        weight: ``leak`` (a test cannot be trusted), ``problem``, or ``remark``.
        entries: the faces, worst first.
        counts: numbers worth reading, by name.
    """

    name: str
    title: str
    sentence: str
    weight: Weight
    entries: tuple[Entry, ...]
    counts: dict[str, int | float] = field(default_factory=dict)

    @property
    def faces(self) -> int:
        """How many different faces of the audited source the finding names."""
        return len({face.id for entry in self.entries for face in entry.faces if face.own})

    def id_lines(self) -> list[str]:
        """One line per entry: its ids between tabs. Tabs, line ends and backslashes in names are escaped."""
        return ["\t".join(_plain(face.id) for face in entry.faces) for entry in self.entries]

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "name": self.name,
            "title": self.title,
            "sentence": self.sentence,
            "weight": self.weight,
            "entries": len(self.entries),
            "faces": self.faces,
            "counts": self.counts,
            "list": [
                {"ids": [face.id for face in entry.faces], "score": entry.score, "note": entry.note}
                for entry in self.entries
            ],
        }


@dataclass(frozen=True)
class Table:
    """Numbers for people and programs.

    Args:
        name: for programs.
        title: for people.
        columns: the first names the rows.
        rows: cells; numbers stay numbers.
        note: a sentence under the table.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | None, ...], ...]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {"title": self.title, "columns": self.columns, "rows": self.rows, "note": self.note}


def face(pictures: Pictures, row: int) -> Face:
    """A row of the audited pictures as a face with its caption."""
    split = pictures.split_names[pictures.splits[row]]
    words = [split if len(pictures.split_names) > 1 else "", pictures.label(row) or ""]
    return Face(pictures.ids[row], pictures.images[row], " · ".join(word for word in words if word))


def _plain(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
    return text.encode("utf-8", "backslashreplace").decode()
