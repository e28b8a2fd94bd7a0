"""FERG-DB: 55,767 rendered faces of six characters, seven expressions.

Source: Aneja, Colburn, Faigin, Shapiro and Mones 2016, "Modeling stylized character expressions via deep learning".
"""

from __future__ import annotations

from pathlib import Path

from mien.datasets.card import POOL, Card
from mien.datasets.expression_words import label_of
from mien.datasets.faceset import SUBJECT, FaceSet
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, pictures, require, visible
from mien.datasets.readers.sources import open_source
from mien.errors import DataError
from mien.labels import FERG
from mien.registry import suggestion

WORDS = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
CHARACTERS = ("aia", "bonnie", "jules", "malcolm", "mery", "ray")

CARD = Card(
    title="FERG-DB, 55,767 rendered faces of six characters, seven expressions (2016)",
    paper='Aneja, Colburn, Faigin, Shapiro and Mones 2016, "Modeling stylized character expressions", ACCV 2016',
    licence="non-commercial research; the images may not be passed on",
    obtain="fill in the form of the GRAIL group, University of Washington (deepexpr, FERG-DB)",
    layouts=("folders FERG_DB_256/aia/aia_anger/*.png, one per character and expression",),
    label_set=FERG,
    faces=55_767,
    subjects=6,
    splits=(
        "No split is published. ferg/characters@1 leaves out one character at a time. DeepEmotion reports on a random "
        "split of about 34,000, 14,000 and 7,000 pictures, which is not published; near copies of one rendering are in "
        "all of its parts."
    ),
    attributes=(SUBJECT,),
)


def read_ferg(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read FERG-DB; the pictures show nothing but the face, so they are taken whole.

    Raises:
        DataError: a folder that names no character and expression.
    """
    source = open_source(path)
    members = visible(source)
    names = pictures(members)
    require(names, "there is no picture in it", CARD, path)
    records = []
    for name in names:
        folder = name.split("/")[-2] if "/" in name else ""
        character, _, word = folder.lower().partition("_")
        if character not in CHARACTERS:
            raise DataError(
                f"its folder {folder!r} names no character of FERG-DB; {suggestion(character, CHARACTERS)}",
                file=source.label(name),
            )
        label = label_of(word, FERG)
        if label is None:
            raise DataError(
                f"its folder {folder!r} names no expression of FERG-DB; {suggestion(word, WORDS)}",
                file=source.label(name),
            )
        records.append(Record(name, label, POOL, attributes={SUBJECT: character}))
    return assemble(
        "ferg", FERG, records, source, path, card=CARD, layout="folders", framed=Framed(96, "rgb"),
        splits={POOL: "train"}, members=members, progress=progress,
    )  # fmt: skip
