"""AffectNet: about 290,000 faces from the web labelled by hand with eight expressions.

Source: Mollahosseini, Hasani and Mahoor 2017, "AffectNet: a database for facial expression, valence, and arousal
computing in the wild", IEEE Transactions on Affective Computing.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np

from mien.datasets.card import Card
from mien.datasets.expression_words import label_of
from mien.datasets.faceset import FaceSet
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, bucket, pictures, read_lines, require, visible
from mien.datasets.readers.sources import Source, open_source
from mien.errors import DataError
from mien.labels import AFFECTNET
from mien.store.archives import Member

_TRAIN = {
    "neutral": 74_874, "happy": 134_415, "sad": 25_459, "surprise": 14_090, "fear": 6_378, "disgust": 3_803,
    "angry": 24_882, "contempt": 3_750,
}  # fmt: skip
_VALIDATION = dict.fromkeys(AFFECTNET.labels, 500)

CARD = Card(
    title="AffectNet, about 290,000 faces from the web, eight expressions (2017)",
    paper='Mollahosseini, Hasani and Mahoor 2017, "AffectNet", IEEE Transactions on Affective Computing',
    licence="non-commercial research after a signed agreement; the images may not be passed on",
    obtain="ask Mohammad Mahoor (mohammadmahoor.com/affectnet), as the leader of a laboratory",
    layouts=(
        "training.csv and validation.csv of the full set beside its folders of pictures",
        "the re-release of eight expressions: train_set and val_set with images/*.jpg and annotations/*_exp.npy",
        "folders train and val of 0 to 7 or of the expressions' names",
    ),
    label_set=AFFECTNET,
    counts=(
        {"train": _TRAIN, "validation": _VALIDATION},
        {"train": _TRAIN, "validation": {**_VALIDATION, "contempt": 499}},
    ),
    splits=(
        "The authors' test split is not handed out, so the field reports on their validation split; it is the test "
        "split of affectnet/8@1 and affectnet/7@1. A fiftieth of train, drawn by file name, is kept for selection. "
        "How ResEmoteNet chose its epoch is not published."
    ),
)

SIDE = 112
_NOT_EXPRESSIONS = (8, 9, 10)  # none, uncertain, no face
_COLUMNS = ("subdirectory_filepath", "face_x", "face_y", "face_width", "face_height")
_ANNOTATION = re.compile(r"(?:.*/)?(train_set|val_set)/annotations/([^/]+)_exp\.npy")
_SPLITS = {"train": "train", "training": "train", "train_set": "train", "train_class": "train"}
_SPLITS |= dict.fromkeys(("val", "valid", "validation", "val_set", "val_class", "test"), "validation")


def read_affectnet(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read AffectNet; what is labelled none, uncertain or no face is left out.

    Raises:
        DataError: one of the tables is missing, a label without picture, a picture without label.
    """
    source = open_source(path)
    members = visible(source)
    names = [member.name for member in members]
    tables = {name.rsplit("/", 1)[-1].lower(): name for name in names}
    annotations = [name for name in names if _ANNOTATION.fullmatch(name)]
    notes: list[str] = []
    if "training.csv" in tables or "validation.csv" in tables:
        for file in ("training.csv", "validation.csv"):
            if file not in tables:
                raise DataError(f"there is no {file}; put both tables beside the pictures", file=path)
        layout = "tables and pictures"
        records, left_out = _tabled(
            source, members, {tables["training.csv"]: "train", tables["validation.csv"]: "validation"}
        )
        if left_out:
            notes.append(f"{left_out:,} faces are labelled none, uncertain or no face, and were left out.")
    elif annotations:
        layout, records = "re-release with npy annotations", _annotated(source, members, annotations)
    else:
        found = pictures(members)
        require(found, "there are neither tables nor pictures in it", CARD, path)
        layout, records = "folders", _by_folder(source, found)
    require(records, "no face in it has an expression", CARD, path)
    records = [
        Record(r.member, r.label, "selection", r.box, r.attributes, r.file, r.line)
        if r.split == "train" and bucket(r.member.rsplit("/", 1)[-1], 50) == 0
        else r
        for r in records
    ]
    return assemble(
        "affectnet", AFFECTNET, records, source, path, card=CARD, layout=layout, framed=Framed(SIDE, "rgb"),
        splits={"train": "train", "selection": "selection", "validation": "test"}, taken_from={"selection": "train"},
        notes=notes, members=members, progress=progress,
    )  # fmt: skip


def _tabled(source: Source, members: list[Member], tables: dict[str, str]) -> tuple[list[Record], int]:
    # Tables name pictures below a folder whose name differs between copies, so the last two parts tell them apart.
    places = {"/".join(name.split("/")[-2:]).lower(): name for name in pictures(members)}
    records, left_out = [], 0
    for table, lines in read_lines(source, tables).items():
        file, header = source.label(table), [*_COLUMNS, "facial_landmarks", "expression", "valence", "arousal"]
        for number, text in lines:
            fields = next(csv.reader(io.StringIO(text)))
            if fields[0].lower() == _COLUMNS[0]:
                header = [field.strip().lower() for field in fields]
                if missing := [name for name in (*_COLUMNS, "expression") if name not in header]:
                    raise DataError(
                        f"the header has no column {missing[0]!r}; give the authors' table", file=file, line=number
                    )
                continue
            if len(fields) != len(header):
                raise DataError(
                    f"the line has {len(fields)} of {len(header)} fields; get the table again", file=file, line=number
                )
            row = dict(zip(header, fields, strict=True))
            try:
                expression = int(row["expression"])
                if not 0 <= expression <= _NOT_EXPRESSIONS[-1]:
                    raise ValueError(expression)
                if expression in _NOT_EXPRESSIONS:
                    left_out += 1
                    continue
                x, y, width, height = (float(row[name]) for name in _COLUMNS[1:])
                if width <= 0 or height <= 0:
                    raise ValueError(width)
            except ValueError:
                raise DataError(
                    f"box or expression is no number that can be (expression {row['expression'][:20]!r}, 0 to 10); "
                    "repair the line",
                    file=file,
                    line=number,
                ) from None
            name = row[_COLUMNS[0]].replace("\\", "/")
            member = places.get("/".join(name.split("/")[-2:]).lower(), name)
            records.append(Record(member, expression, tables[table], (x, y, x + width, y + height), {}, file, number))
    return records, left_out


def _annotated(source: Source, members: list[Member], annotations: list[str]) -> list[Record]:
    there = {name.rsplit(".", 1)[0]: name for name in pictures(members)}
    records, labelled = [], set()
    for member, stream in source.read(set(annotations).__contains__):
        file = source.label(member.name)
        try:
            value = np.load(io.BytesIO(stream.read(1 << 16)), allow_pickle=False)
            expression = int(value.reshape(-1)[0])
            if value.size != 1 or not 0 <= expression < len(AFFECTNET):
                raise ValueError(str(value)[:20])
        except (ValueError, IndexError, EOFError, OSError):
            raise DataError("it is no NumPy array of one expression from 0 to 7; get it again", file=file) from None
        match = _ANNOTATION.fullmatch(member.name)
        assert match is not None
        root = member.name.rsplit("/annotations/", 1)[0]
        picture = there.get(f"{root}/images/{match[2]}", f"{root}/images/{match[2]}.jpg")
        labelled.add(picture)
        records.append(Record(picture, expression, _SPLITS[match[1]], None, {}, file))
    for name in there.values():
        if "/images/" in name and name not in labelled:
            raise DataError(
                "no annotation labels it (…/annotations/…_exp.npy); get the whole data set", file=source.label(name)
            )
    return records


def _by_folder(source: Source, names: list[str]) -> list[Record]:
    records = []
    for name in names:
        parts = name.split("/")
        word = parts[-2] if len(parts) > 1 else ""
        label = int(word) if word in set("01234567") else label_of(word, AFFECTNET)
        split = next((_SPLITS[part.lower()] for part in reversed(parts[:-2]) if part.lower() in _SPLITS), None)
        if label is None or split is None:
            raise DataError(
                "neither training.csv and validation.csv, nor annotations, nor folders like train/0 to val/7 say its "
                "label; put the authors' files beside the pictures",
                file=source.label(name),
            )
        records.append(Record(name, label, split))
    return records
