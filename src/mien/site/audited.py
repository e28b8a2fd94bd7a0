"""The tables that an audit of FER2013 recorded, as its page shows them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import InputError
from mien.results.tables import percent


@dataclass(frozen=True)
class AuditTable:
    """A table that an audit recorded.

    Args:
        title: what it shows.
        columns: headings.
        rows: as many texts each.
        note: what to know about it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def audit_tables(path: str | Path) -> list[AuditTable]:
    """The tables of a recorded audit of FER2013.

    Raises:
        InputError: the file is no such record.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["tables"].values()
        return [
            AuditTable(
                entry["title"],
                tuple(entry["columns"]),
                tuple(tuple(map(_audit_cell, row)) for row in entry["rows"]),
                entry.get("note", ""),
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is no recorded audit; `mien data audit fer2013` makes one") from None


def _audit_cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else percent(value) if isinstance(value, float) else str(value)
