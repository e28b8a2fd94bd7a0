"""Faces as a flat table: a row per face, and a row per file without one or in error, so that no file vanishes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from typing import IO, Any

from mien.labels import LabelSet
from mien.recognition.files import FileRecord

_BEFORE = ("file", "status", "width", "height", "face", "x1", "y1", "x2", "y2", "score")
_AFTER = ("label", "confidence", "decided", "runner_up")


def columns(label_set: LabelSet) -> tuple[str, ...]:
    """The names of the columns.

    ``face`` counts from 1 within a file; boxes are in pixels; ``score`` is the detector's; ``decided`` is 1 or 0;
    ``p_<label>`` are the calibrated probabilities. What is not known is empty.
    """
    return (*_BEFORE, *_AFTER, *(f"p_{label}" for label in label_set.labels))


def rows(record: FileRecord, label_set: LabelSet) -> list[list[Any]]:
    """The rows of one file, in the order of `columns`; numbers are rounded as in the JSON."""
    entry = record.to_dict()
    start = [entry["file"], entry["status"], _blank(entry["width"]), _blank(entry["height"])]
    if not entry["faces"]:
        return [start + [""] * (len(columns(label_set)) - len(start))]
    assert record.faces is not None
    table = []
    for number, (face, runner_up) in enumerate(zip(entry["faces"], record.faces.runner_up, strict=True), 1):
        box = ["", "", "", ""] if face["box"] is None else face["box"]
        found = [face["label"], face["confidence"], int(face["decided"]), runner_up]
        table.append([*start, number, *box, _blank(face["score"]), *found, *face["probabilities"].values()])
    return table


def write_csv(stream: IO[str], records: Iterable[FileRecord], label_set: LabelSet) -> None:
    """Write a header and the rows of all records; lines end with a line feed."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns(label_set))
    for record in records:
        writer.writerows(rows(record, label_set))


def _blank(value: Any) -> Any:
    return "" if value is None else value
