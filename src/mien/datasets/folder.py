"""Anybody's own faces: pictures in folders named by expression, with whatever else is known in one table."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from mien.datasets.card import POOL, Card
from mien.datasets.expression_words import EXPRESSIONS
from mien.datasets.faceset import FaceSet, Role
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, pictures, read_lines, require, visible
from mien.datasets.readers.sources import Source, open_source
from mien.errors import DataError
from mien.labels import FER2013, FERPLUS
from mien.registry import suggestion
from mien.store.archives import Member

SPLITS: dict[str, Role] = {"train": "train", "selection": "selection", "test": "test"}
_OTHER_NAMES = {"training": "train", "val": "selection", "valid": "selection", "validation": "selection"}

CARD = Card(
    title="your own pictures in folders by expression",
    paper="",
    licence="yours to know",
    obtain="put pictures into folders",
    layouts=(
        "<expression>/*.png, or train|selection|test/<expression>/*.png; optionally attributes.csv with a column file "
        "and any others, e.g. subject, age",
    ),
    label_set=FER2013,
    splits=(
        "Those of its folders. Without any, all faces are one split, which a model that was trained elsewhere can be "
        "measured on."
    ),
    attributes=("any columns of attributes.csv",),
)


def read_folder(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read pictures; they are taken whole, so cut the faces before. Contempt is told where a folder is called so.

    Raises:
        DataError: a folder that is no expression, a line of attributes.csv without picture, a subject in two splits.
    """
    source = open_source(path)
    members = visible(source)
    names = pictures(members)
    require(names, "there is no picture in it", CARD, path)
    attributes = _attributes(source, members, names)
    placed = []
    for name in names:
        parts = name.split("/")
        word = parts[-2] if len(parts) > 1 else ""
        if word.lower() not in EXPRESSIONS:
            raise DataError(
                f"its folder {word!r} names no expression ({', '.join(FERPLUS.labels)}); "
                f"{suggestion(word, EXPRESSIONS)} Rename it, or take it out",
                file=source.label(name),
            )
        above = parts[-3].lower() if len(parts) > 2 else ""
        placed.append((name, EXPRESSIONS[word.lower()], _OTHER_NAMES.get(above, above if above in SPLITS else "")))
    with_split = [place for place in placed if place[2]]
    if with_split and len(with_split) < len(placed):
        outside = next(name for name, _, split in placed if not split)
        raise DataError(
            "it lies in no split, while others lie in train, selection or test; move it", file=source.label(outside)
        )
    label_set = FERPLUS if any(expression == "contempt" for _, expression, _ in placed) else FER2013
    records = [
        Record(name, label_set.id(expression), split or POOL, None, *attributes.get(name, ({}, "", None)))
        for name, expression, split in placed
    ]
    return assemble(
        "folder", label_set, records, source, path, card=CARD, layout="folders by expression",
        framed=Framed(112, "rgb"), splits=SPLITS if with_split else {POOL: "train"}, members=members, progress=progress,
    )  # fmt: skip


def _attributes(
    source: Source, members: list[Member], names: list[str]
) -> dict[str, tuple[dict[str, str], str, int | None]]:
    """For each picture what attributes.csv says of it, and where."""
    tables = [member.name for member in members if member.name.lower() == "attributes.csv"]
    if not tables:
        return {}
    file, lines = source.label(tables[0]), read_lines(source, tables)[tables[0]]
    header: list[str] = []
    found: dict[str, tuple[dict[str, str], str, int | None]] = {}
    there = set(names)
    for number, text in lines:
        fields = [field.strip() for field in next(csv.reader(io.StringIO(text)))]
        if not header:
            header = [field.lower() for field in fields]
            if "file" not in header or len(set(header)) < len(header):
                raise DataError("the header needs a column 'file', and each column once", file=file, line=number)
            continue
        if len(fields) != len(header):
            raise DataError(f"the line has {len(fields)} of {len(header)} fields; repair it", file=file, line=number)
        row = dict(zip(header, fields, strict=True))
        name = row.pop("file").replace("\\", "/")
        if name not in there:
            raise DataError(
                f"there is no picture {name!r}; {suggestion(name, there)} Name it from the folder of attributes.csv",
                file=file,
                line=number,
            )
        found[name] = (row, file, number)
    if missing := [name for name in names if name not in found]:
        raise DataError(
            f"it says nothing of {len(missing):,} pictures, {missing[0]!r} first; add them", file=file, line=1
        )
    return found
