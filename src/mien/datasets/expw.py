"""ExpW: 91,793 faces in photographs found by an image search, seven expressions.

Source: Zhang, Luo, Loy and Tang 2015, "Learning social relation traits from face images"; 2018, "From facial
expression recognition to interpersonal relation prediction".
"""

from __future__ import annotations

from pathlib import Path

from mien.datasets.card import Card
from mien.datasets.faceset import FaceSet
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, bucket, pictures, read_lines, require, visible
from mien.datasets.readers.sources import open_source
from mien.errors import DataError
from mien.labels import EXPW

CARD = Card(
    title="ExpW, 91,793 faces in photographs from the web, seven expressions (2015)",
    paper='Zhang, Luo, Loy and Tang 2018, "From facial expression recognition to interpersonal relation prediction"',
    licence="non-commercial research; the images may not be passed on",
    obtain="from the pages of the Multimedia Laboratory, Chinese University of Hong Kong (Expression in-the-Wild)",
    layouts=("label.lst (name, face, top, left, right, bottom, confidence, label) beside the photographs",),
    label_set=EXPW,
    faces=91_793,
    splits=(
        "No split is published. expw/photographs@1 draws one by the name of the photograph, so that its faces stay "
        "together: seven tenths to learn from, one to choose on, two to test. How ResEmoteNet split is not published."
    ),
    attributes=("confidence",),
)

_FIELDS = 8
_SPLITS = ("train",) * 7 + ("selection",) + ("test",) * 2


def read_expw(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read ExpW; each face is the square around the authors' box.

    The attribute ``confidence`` says in which fifth the detector's confidence lies, from "0-20" to "80-100".

    Raises:
        DataError: no label.lst, a line that is not of eight fields, a photograph that is missing.
    """
    source = open_source(path)
    members = visible(source)
    lists = [member.name for member in members if member.name.rsplit("/", 1)[-1].lower() == "label.lst"]
    require(lists, "there is no label.lst in it", CARD, path)
    if len(lists) > 1:
        raise DataError(f"there are two label lists, {lists[0]} and {lists[1]}; take one out", file=path)
    by_name: dict[str, str] = {}
    for name in pictures(members):
        other = by_name.setdefault(name.rsplit("/", 1)[-1], name)
        if other != name:
            raise DataError(f"it is there twice, also as {other}; take one out", file=source.label(name))
    records, seen = [], dict[tuple[str, str], int]()
    ((_, lines),) = read_lines(source, lists).items()
    file = source.label(lists[0])
    for number, text in lines:
        fields = text.split()
        try:
            name, face = fields[0], fields[1]
            top, left, right, bottom, confidence = map(float, fields[2:7])
            label = int(fields[7])
            if len(fields) != _FIELDS or not 0 <= label < len(EXPW):
                raise ValueError(text)
        except (ValueError, IndexError):
            raise DataError(
                f"{text[:80]!r} is no line of label.lst (name, face, top, left, right, bottom, confidence, label 0 to "
                "6); repair it",
                file=file,
                line=number,
            ) from None
        if right <= left or bottom <= top:
            raise DataError(
                f"the box from {left:g}, {top:g} to {right:g}, {bottom:g} holds nothing; repair the line",
                file=file,
                line=number,
            )
        if (name, face) in seen:
            raise DataError(
                f"face {face} of {name} was labelled before, in line {seen[name, face]}; take one out",
                file=file,
                line=number,
            )
        seen[name, face] = number
        fifth = min(4, max(0, int(confidence // 20)))
        records.append(
            Record(
                by_name.get(name, name), label, _SPLITS[bucket(name, 10)], (left, top, right, bottom),
                {"confidence": f"{20 * fifth}-{20 * fifth + 20}"}, file, number,
            )
        )  # fmt: skip
    without = len(set(by_name) - {record.member.rsplit("/", 1)[-1] for record in records})
    notes = [f"{without:,} photographs have no line in label.lst and were left out."] if without else []
    return assemble(
        "expw", EXPW, records, source, path, card=CARD, layout="label.lst and photographs", framed=Framed(96, "rgb"),
        splits={"train": "train", "selection": "selection", "test": "test"},
        taken_from=dict.fromkeys(("train", "selection", "test"), "all"),
        notes=notes, members=members, progress=progress,
    )  # fmt: skip
