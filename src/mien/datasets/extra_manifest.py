"""The list of extra training images: a csv, or a JSON object per line, beside the images that it names.

=============  ========  ==========================================================================================
column         needed    what it holds
=============  ========  ==========================================================================================
``file``       yes       path of the image, relative to the manifest's folder and inside it
``label``      yes       the expression, by name: orders of label numbers disagree between copies of FER2013; empty
                         where only a teacher tells it (``mien distill``)
``data``       yes       what the extra data is called in recipes and results, e.g. ``Stable Diffusion 2.1 edits``
``source_id``            row number of the face that the image was made from; empty if it was made from none
``generator``            what made it, e.g. a program, its version and its settings
``psnr``                 of the image against its source, in dB
``clip_cos``             cosine between the image and the text of ``label``, by whichever CLIP was used
``clip_label``           the label whose text that CLIP found nearest
``licence``              of the image
``note``                 anything else; it is carried along and not read
=============  ========  ==========================================================================================
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from mien.errors import DataError
from mien.labels import LabelSet
from mien.registry import suggestion
from mien.store import write_text

MAX_BYTES = 128 << 20
"""Largest manifest, in bytes."""
MAX_IMAGES = 200_000
"""Most images in one manifest; FER2013 has 28,709 to learn from."""


@dataclass(frozen=True)
class ExtraImage:
    """One line of a manifest; the columns of the module, and the ``line`` it stands in (0: in none yet)."""

    file: str
    label: str
    data: str
    source_id: int | None = None
    generator: str = ""
    psnr: float | None = None
    clip_cos: float | None = None
    clip_label: str = ""
    licence: str = ""
    note: str = ""
    line: int = 0


COLUMNS = tuple(field.name for field in fields(ExtraImage) if field.name != "line")
_NEEDED = COLUMNS[:3]


def read_entries(path: str | Path, label_set: LabelSet, *, unlabelled: bool = False) -> list[ExtraImage]:
    """Read a manifest, not its images.

    Args:
        path: the csv, or the file of JSON lines; told apart by their first character.
        label_set: what a label may be.
        unlabelled: whether a label may be empty.

    Returns:
        Its lines, in order.

    Raises:
        DataError: it is too large, empty or malformed, names a column or label that does not exist, the same image
            twice, or a file outside its folder; the message names the line.
    """
    path = Path(path)
    text = _read_text(path)
    rows = _json_rows(text, path) if text.lstrip()[:1] == "{" else _csv_rows(text, path)
    entries: list[ExtraImage] = []
    seen: dict[str, int] = {}
    for line, row in rows:
        if len(entries) == MAX_IMAGES:
            raise DataError(f"it names more than {MAX_IMAGES:,} images; split it", file=path, line=line)
        entry = _entry(row, label_set, path, line)
        if not entry.label and not unlabelled:
            raise DataError(
                "label is empty; give the expression, or let a teacher tell it: `mien distill --extra-images`",
                file=path,
                line=line,
            )
        if seen.setdefault(entry.file, line) != line:
            raise DataError(
                f"{entry.file} stands in line {seen[entry.file]} already; name each image once", file=path, line=line
            )
        entries.append(entry)
    if not entries:
        raise DataError("it names no image", file=path)
    return entries


def write_entries(path: str | Path, entries: Iterable[ExtraImage]) -> None:
    """Write a manifest, as JSON lines where ``path`` ends with .jsonl and as csv elsewhere; whole or not at all.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "extra.csv"
        >>> write_entries(path, [ExtraImage("a.png", "disgust", "Drawn by hand", source_id=7)])
        >>> from mien.labels import FER2013
        >>> read_entries(path, FER2013)[0].source_id
        7
    """
    path = Path(path)
    rows = [{name: getattr(entry, name) for name in COLUMNS} for entry in entries]
    if path.suffix == ".jsonl":
        write_text(path, "".join(json.dumps(_filled(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows))
        return
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def image_path(manifest: Path, entry: ExtraImage) -> Path:
    """Where the image of a line lies; a link that leads out of the manifest's folder raises `DataError`."""
    folder = manifest.parent.resolve()
    path = (folder / entry.file).resolve()
    if not path.is_relative_to(folder):
        raise _outside(entry.file, manifest, entry.line)
    return path


def _filled(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value not in (None, "")}


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror or error}); give a manifest", file=path) from None
    if len(data) > MAX_BYTES:
        raise DataError(f"it is larger than {MAX_BYTES >> 20} MiB; give a manifest, csv or JSON lines", file=path)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("it is no text in UTF-8; give a manifest, csv or JSON lines", file=path) from None


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = next(reader, [])
        _check_columns(header, path, 1)
        for cells in reader:
            if not any(cells):
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"it has {len(cells)} fields and the header {len(header)}; quote fields that hold commas",
                    file=path,
                    line=reader.line_num,
                )
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"it is no csv here ({error}); repair that line", file=path, line=reader.line_num) from None


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line, piece in enumerate(text.split("\n"), 1):
        if not piece.strip():
            continue
        try:
            row = json.loads(piece)
        except (ValueError, RecursionError):
            raise DataError("it is no JSON object; write one per line", file=path, line=line) from None
        if not isinstance(row, dict):
            raise DataError("it is no JSON object; write one per line", file=path, line=line)
        _check_columns(list(row), path, line)
        yield line, row


def _check_columns(names: Sequence[str], path: Path, line: int) -> None:
    for name in names:
        if name not in COLUMNS:
            raise DataError(f"a manifest has no {name[:40]!r}; {suggestion(name[:40], COLUMNS)}", file=path, line=line)
    missing = [name for name in _NEEDED if name not in names]
    if missing or len(set(names)) != len(names):
        what = f"{', '.join(missing)} is missing" if missing else "a column stands twice"
        raise DataError(f"{what}; a manifest has {', '.join(COLUMNS)}, the first three always", file=path, line=line)


def _entry(row: dict[str, Any], label_set: LabelSet, path: Path, line: int) -> ExtraImage:
    def broken(message: str) -> DataError:
        return DataError(message, file=path, line=line)

    def text(name: str) -> str:
        value = row.get(name)
        if value is not None and not isinstance(value, str):
            raise broken(f"{name} is {str(value)[:40]}; write text")
        return (value or "").strip()

    def number(name: str, low: float, high: float) -> float | None:
        value = row.get(name)
        if value is None or value == "":
            return None
        try:
            found = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            found = math.nan
        if not low <= found <= high:
            raise broken(f"{name} is {str(value)[:40]!r}; write a number from {low:g} to {high:g}, or leave it empty")
        return found

    for name in ("file", "data"):
        if not text(name):
            raise broken(f"{name} is empty; every image has one")
    for name in ("label", "clip_label"):
        if text(name) and text(name) not in label_set.labels:
            raise broken(
                f"the {name} {text(name)[:40]!r} does not exist; {suggestion(text(name)[:40], label_set.labels)}"
            )
    source = number("source_id", 0, 2**31)
    if source is not None and source != int(source):
        raise broken(f"source_id is {source:g}; write the row number of the face that the image was made from")
    file = text("file")
    parts = file.split("/")
    if file.startswith("/") or "\\" in file or ".." in parts or ":" in parts[0] or "\0" in file:
        raise _outside(file, path, line)
    return ExtraImage(
        file=file,
        label=text("label"),
        data=text("data"),
        source_id=None if source is None else int(source),
        generator=text("generator"),
        psnr=number("psnr", 0, 1000),
        clip_cos=number("clip_cos", -1, 1),
        clip_label=text("clip_label"),
        licence=text("licence"),
        note=text("note"),
        line=line,
    )


def _outside(file: str, path: Path, line: int) -> DataError:
    return DataError(
        f"{file[:80]!r} is no file inside the manifest's folder; put images and manifest into one folder, and write "
        "paths relative to it, with /",
        file=path,
        line=line,
    )
