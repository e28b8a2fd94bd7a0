"""JAFFE: 213 grey pictures of ten Japanese women posing seven expressions.

Source: Lyons, Akamatsu, Kamachi and Gyoba 1998, "Coding facial expressions with Gabor wavelets".
"""

from __future__ import annotations

import re
from pathlib import Path

from mien.datasets.card import POOL, Card
from mien.datasets.expression_words import label_of
from mien.datasets.faceset import SUBJECT, FaceSet
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, pictures, require, visible
from mien.datasets.readers.sources import open_source
from mien.errors import DataError
from mien.labels import JAFFE

CARD = Card(
    title="JAFFE, 213 posed faces of ten women, seven expressions (1998)",
    paper='Lyons, Akamatsu, Kamachi and Gyoba 1998, "Coding facial expressions with Gabor wavelets", FG 1998',
    licence="non-commercial scientific research; the images may not be passed on",
    obtain="ask for access at its record on Zenodo (doi 10.5281/zenodo.3451524)",
    layouts=("pictures named KA.AN1.39.tiff, in one folder or in one per expression",),
    label_set=JAFFE,
    counts=({POOL: {"angry": 30, "disgust": 29, "fear": 32, "happy": 31, "neutral": 30, "sad": 31, "surprise": 30}},),
    subjects=10,
    splits=(
        "No split is published. jaffe/subjects@1 leaves out one woman at a time. DeepEmotion reports on a random split "
        "of 120, 23 and 70 pictures, which is not published; the same women are in all of its parts."
    ),
    attributes=(SUBJECT,),
)

_NAME = re.compile(r"([A-Za-z]{2})[._-](AN|DI|FE|HA|NE|SA|SU)(\d+)[._-](\d+)", re.IGNORECASE)
_FRAMED = Framed(side=112, colour="grey", detect=True)


def read_jaffe(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read JAFFE; the largest face that is found in each picture is cut out.

    Raises:
        DataError: no such pictures, a name that says no expression, or one that contradicts its folder.
    """
    source = open_source(path)
    members = visible(source)
    names = pictures(members)
    require(names, "there is no picture in it", CARD, path)
    records, seen = [], dict[str, str]()
    for name in names:
        *folders, file = name.split("/")
        match = _NAME.match(file)
        if match is None:
            raise DataError(
                "its name says neither subject nor expression, as KA.AN1.39.tiff does; take it out or rename it",
                file=source.label(name),
            )
        label = label_of(match[2], JAFFE)
        assert label is not None
        by_folder = label_of(folders[-1], JAFFE) if folders else None
        if by_folder not in (None, label):
            raise DataError(
                f"it lies in {folders[-1]!r}, but its name says {JAFFE[label]}; put it where its name says",
                file=source.label(name),
            )
        if (key := match[0].upper()) in seen:
            raise DataError(f"it is there twice, also as {seen[key]}; take one out", file=source.label(name))
        seen[key] = name
        records.append(Record(name, label, POOL, attributes={SUBJECT: match[1].upper()}))
    return assemble(
        "jaffe", JAFFE, records, source, path, card=CARD, layout="named pictures", framed=_FRAMED,
        splits={POOL: "train"}, members=members, progress=progress,
    )  # fmt: skip
