"""RAF-DB (basic): 15,339 faces from the web, seven expressions agreed on by about forty people each.

Source: Li, Deng and Du 2017, "Reliable crowdsourcing and deep locality-preserving learning for expression recognition
in the wild".
"""

from __future__ import annotations

import re
from pathlib import Path

from mien.datasets.card import Card
from mien.datasets.faceset import FaceSet
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, bucket, pictures, read_lines, require, visible
from mien.datasets.readers.sources import Source, open_source
from mien.errors import DataError
from mien.labels import RAFDB
from mien.store.archives import Member

_TRAIN = {"surprise": 1290, "fear": 281, "disgust": 717, "happy": 4772, "sad": 1982, "angry": 705, "neutral": 2524}
_TEST = {"surprise": 329, "fear": 74, "disgust": 160, "happy": 1185, "sad": 478, "angry": 162, "neutral": 680}

CARD = Card(
    title="RAF-DB (basic), 15,339 faces from the web, seven expressions (2017)",
    paper='Li, Deng and Du 2017, "Reliable crowdsourcing and deep locality-preserving learning", CVPR 2017',
    licence="non-commercial research; the images may not be passed on",
    obtain="ask the PRIS group of BUPT by e-mail (whdeng.cn/RAF), as a member of a university",
    layouts=(
        "the authors' folders EmoLabel/list_patition_label.txt, Image/aligned/*.jpg and Annotation/manual/*.txt",
        "train_labels.csv and test_labels.csv (image, label) beside the pictures",
        "folders train and test of 1 to 7",
    ),
    label_set=RAFDB,
    counts=({"train": _TRAIN, "test": _TEST},),
    splits=(
        "The authors' train and test. A tenth of train, drawn by file name, is kept for selection, since they publish "
        "no split for it. ResEmoteNet chose its epoch on test."
    ),
    attributes=("gender", "race", "age"),
)

GENDERS = ("male", "female", "unsure")
RACES = ("Caucasian", "African-American", "Asian")
AGES = ("0-3", "4-19", "20-39", "40-69", "70+")
_NAME = re.compile(r"(train|test)_(\d+)(?:_aligned)?\.(?:jpe?g|png)", re.IGNORECASE)
_WHOLE = re.compile(r"\d+")


def read_rafdb(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read the basic part of RAF-DB with its attributes, where their files are there.

    Raises:
        DataError: a label without picture, a picture without label, a line that is no ``train_00001.jpg 5``.
    """
    source = open_source(path)
    members = visible(source)
    aligned = _pictures(source, members)
    require(list(aligned), "no picture in it is named train_00001_aligned.jpg or test_0001_aligned.jpg", CARD, path)
    lists = [
        m.name
        for m in members
        if m.name.rsplit("/", 1)[-1].lower() in ("list_patition_label.txt", "list_partition_label.txt")
    ]
    tables = [m.name for m in members if m.name.rsplit("/", 1)[-1].lower() in ("train_labels.csv", "test_labels.csv")]
    if len(tables) == 1 and not lists:
        missing = "test_labels.csv" if "train" in tables[0].rsplit("/", 1)[-1] else "train_labels.csv"
        raise DataError(
            f"there is {tables[0].rsplit('/', 1)[-1]} but no {missing}; put both beside the pictures", file=path
        )
    if lists or tables:
        labels = _listed(source, lists[:1] or tables)
        layout = "list and aligned pictures" if lists else "tables and pictures"
    else:
        labels, layout = _by_folder(source, aligned, path), "folders 1 to 7"
    attributes = _attributes(source, members)
    for key, name in aligned.items():
        if key not in labels:
            raise DataError(
                f"no list labels it ({len(set(aligned) - set(labels)):,} pictures have no label); get the whole data "
                "set, or take it out",
                file=source.label(name),
            )
    records = []
    for key, (label, file, line) in labels.items():
        split = key.partition("_")[0]
        if split == "train" and bucket(key, 10) == 0:
            split = "selection"
        records.append(
            Record(aligned.get(key, f"{key}_aligned.jpg"), label, split, None, attributes.get(key, {}), file, line)
        )
    notes = []
    if attributes and (without := len(set(labels) - set(attributes))):
        notes.append(f"{without:,} faces have no file of attributes; theirs are 'unknown'.")
    return assemble(
        "rafdb", RAFDB, records, source, path, card=CARD, layout=layout, framed=Framed(100, "rgb"),
        splits={"train": "train", "selection": "selection", "test": "test"}, taken_from={"selection": "train"},
        notes=notes, members=members, progress=progress,
    )  # fmt: skip


def _pictures(source: Source, members: list[Member]) -> dict[str, str]:
    """``train_00001`` → the name of its picture; aligned ones, if the originals are there as well."""
    found: dict[str, str] = {}
    for name in pictures(members):
        if match := _NAME.fullmatch(name.rsplit("/", 1)[-1]):
            key = f"{match[1].lower()}_{match[2]}"
            other = found.setdefault(key, name)
            if other == name:
                continue
            aligned, other_aligned = "_aligned." in name.lower(), "_aligned." in other.lower()
            if aligned == other_aligned:
                raise DataError(f"it is there twice, also as {other}; take one out", file=source.label(name))
            if aligned:
                found[key] = name
    return found


def _listed(source: Source, names: list[str]) -> dict[str, tuple[int, str, int]]:
    labels: dict[str, tuple[int, str, int]] = {}
    for name, lines in read_lines(source, names).items():
        file = source.label(name)
        for number, text in lines:
            fields = [field.strip() for field in text.replace(",", " ").split()]
            if number == 1 and fields[-1].lower() == "label":
                continue
            match = _NAME.fullmatch(fields[0])
            if match is None or len(fields) != 2 or fields[1] not in set("1234567"):
                raise DataError(
                    f"{text[:60]!r} is no name and label, as 'train_00001.jpg 5' is (labels 1 to 7); repair the line",
                    file=file,
                    line=number,
                )
            key = f"{match[1].lower()}_{match[2]}"
            if key in labels:
                raise DataError(f"{key} was labelled before, in line {labels[key][2]}", file=file, line=number)
            labels[key] = (int(fields[1]) - 1, file, number)
    return labels


def _by_folder(source: Source, aligned: dict[str, str], path: Path) -> dict[str, tuple[int, str, int]]:
    labels: dict[str, tuple[int, str, int]] = {}
    for key, name in aligned.items():
        parts = name.split("/")
        if len(parts) < 3 or parts[-2] not in set("1234567") or parts[-3].lower() != key.partition("_")[0]:
            raise DataError(
                "neither list_patition_label.txt nor folders like train/1 to train/7 say its label; put the authors' "
                "list beside the pictures",
                file=source.label(name),
            )
        labels[key] = (int(parts[-2]) - 1, "", 0)
    return labels


def _attributes(source: Source, members: list[Member]) -> dict[str, dict[str, str]]:
    """Gender, race and age: the last three lines of each ``*_manu_attri.txt``, below the landmarks."""
    names = [member.name for member in members if member.name.lower().endswith("_manu_attri.txt")]
    found = {}
    meanings = (("gender", GENDERS), ("race", RACES), ("age", AGES))
    for name, lines in read_lines(source, names).items():
        if len(lines) < len(meanings):
            raise DataError("it has fewer than the three lines gender, race and age", file=source.label(name))
        values = {}
        for (what, meaning), (number, text) in zip(meanings, lines[-len(meanings) :], strict=True):
            if not _WHOLE.fullmatch(text) or int(text) >= len(meaning):
                raise DataError(
                    f"{what} is {text[:20]!r}, it should be a number from 0 to {len(meaning) - 1}",
                    file=source.label(name),
                    line=number,
                )
            values[what] = meaning[int(text)]
        found["_".join(name.rsplit("/", 1)[-1].split("_")[:2]).lower()] = values
    return found
