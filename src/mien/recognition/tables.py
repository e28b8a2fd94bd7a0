"""Faces as a flat table: a row per face, and a row per file without one or in error, so that no file vanishes."""

from __future__ import annotations

import csv
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from mien.errors import InputError, MissingExtraError
from mien.labels import LabelSet
from mien.store.cells import path_cell, text_cell

if TYPE_CHECKING:
    from mien.recognition.files import FileRecord

Row = list[Any]

FORMATS = ("csv", "jsonl", "parquet")

_BEFORE = ("file", "status", "width", "height", "face", "x1", "y1", "x2", "y2", "score")
_AFTER = ("label", "confidence", "decided", "runner_up")
_BATCH = 10_000  # rows that become one group of a Parquet file


def columns(label_set: LabelSet) -> tuple[str, ...]:
    """The names of the columns.

    ``face`` counts from 1 within a file; boxes are in pixels; ``score`` is the detector's; ``decided`` is 1 or 0 in a
    CSV and a truth value elsewhere; ``p_<label>`` are the calibrated probabilities; ``message`` says what is wrong with
    a file, or how many faces were left out. What is not known is empty.
    """
    return (*_BEFORE, *_AFTER, *(f"p_{label}" for label in label_set.labels), "message")


def rows(record: FileRecord, label_set: LabelSet) -> list[Row]:
    """The rows of one file, in the order of `columns`; numbers are rounded as in the JSON, None is what is unknown."""
    entry = record.to_dict()
    start = [entry["file"], entry["status"], entry["width"], entry["height"]]
    message = record.message or None
    if not entry["faces"]:
        return [[*start, *[None] * (len(columns(label_set)) - len(start) - 1), message]]
    assert record.faces is not None
    table = []
    for number, (face, runner_up) in enumerate(zip(entry["faces"], record.faces.runner_up, strict=True), 1):
        box = [None] * 4 if face["box"] is None else face["box"]
        found = [face["label"], face["confidence"], face["decided"], runner_up]
        table.append([*start, number, *box, face["score"], *found, *face["probabilities"].values(), message])
    return table


def table_format(path: str) -> str:
    """``csv``, ``jsonl`` or ``parquet``, by the ending of a path.

    Raises:
        InputError: another ending.
        MissingExtraError: parquet without pyarrow.

    Example:
        >>> table_format("faces.CSV")
        'csv'
    """
    from importlib.util import find_spec

    ending = str(path).rpartition(".")[2].lower()
    if ending not in FORMATS:
        endings = [f".{name}" for name in FORMATS]
        raise InputError(f"{path} says no format; let its name end in {', '.join(endings[:-1])} or {endings[-1]}")
    if ending == "parquet" and find_spec("pyarrow") is None:
        raise MissingExtraError("a Parquet file", "table")
    return ending


def check_place(path: str | Path) -> None:
    """Refuse, before any work and without a trace, a file that could not be written in the end.

    Args:
        path: of the file to be; folders above it that do not exist yet would be made.

    Raises:
        InputError: it is a folder, or nothing can be written where it would lie.

    Example:
        >>> check_place("/")
        Traceback (most recent call last):
        ...
        mien.errors.InputError: / is a folder; name a file in it
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a file in it")
        folder = path.absolute().parent
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}; choose another path") from None


def write_table(out: IO[bytes], format: str, table: Iterable[Row], label_set: LabelSet, about: dict[str, Any]) -> None:
    """Write rows as they come; never more than one group of them is held.

    Args:
        out: a binary stream.
        format: ``csv`` (UTF-8, lines end with a line feed), ``jsonl`` (an object per row, null is what is unknown) or
            ``parquet``.
        table: rows as `rows` gives them.
        label_set: of the recogniser.
        about: JSON values that a Parquet file keeps in its metadata under ``mien``.
    """
    {"csv": _write_csv, "jsonl": _write_jsonl, "parquet": _write_parquet}[format](out, table, label_set, about)


def write_csv(stream: IO[str], records: Iterable[FileRecord], label_set: LabelSet) -> None:
    """Write a header and the rows of all records; lines end with a line feed."""
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(columns(label_set))
    for record in records:
        writer.writerows(map(_plain, rows(record, label_set)))


def _write_csv(out: IO[bytes], table: Iterable[Row], label_set: LabelSet, about: dict[str, Any]) -> None:
    import io

    text = io.TextIOWrapper(out, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns(label_set))
    writer.writerows(map(_plain, table))
    text.detach()


def _write_jsonl(out: IO[bytes], table: Iterable[Row], label_set: LabelSet, about: dict[str, Any]) -> None:
    names = columns(label_set)
    for row in table:
        line = json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False, allow_nan=False)
        out.write(line.encode() + b"\n")


def _write_parquet(out: IO[bytes], table: Iterable[Row], label_set: LabelSet, about: dict[str, Any]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {
        **dict.fromkeys(("file", "status", "label", "runner_up", "message"), pa.string()),
        **dict.fromkeys(("width", "height", "face"), pa.int32()),
        "decided": pa.bool_(),
    }
    schema = pa.schema(
        [(name, kinds.get(name, pa.float32())) for name in columns(label_set)],
        metadata={"mien": json.dumps(about, ensure_ascii=False)},
    )
    with parquet.ParquetWriter(out, schema, compression="zstd") as writer:
        for group in _groups(table, _BATCH):
            values = zip(*group, strict=True)
            writer.write_table(
                pa.table([pa.array(c, f.type) for c, f in zip(values, schema, strict=True)], schema=schema)
            )


def _groups(table: Iterable[Row], size: int) -> Iterator[list[Row]]:
    group: list[Row] = []
    for row in table:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def _plain(row: Row) -> Row:
    """As cells: truth values are 1 and 0, no name from outside is a formula; the csv module leaves None empty."""
    file, *others = row
    return [path_cell(file), *map(_cell, others)]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)
    return text_cell(value) if isinstance(value, str) else value
