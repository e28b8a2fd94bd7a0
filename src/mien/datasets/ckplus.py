"""CK+: posed expressions of 118 people as sequences from neutral to the peak, 327 of them labelled.

Source: Lucey et al. 2010, "The Extended Cohn-Kanade Dataset (CK+)", section 3. As the field does, the first frame of a
labelled sequence counts as neutral and the last three show its expression.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from mien.datasets.card import POOL, Card
from mien.datasets.expression_words import label_of
from mien.datasets.faceset import SUBJECT, FaceSet
from mien.datasets.readers import Progress
from mien.datasets.readers.records import Framed, Record, assemble, pictures, read_lines, require, visible
from mien.datasets.readers.sources import Source, open_source
from mien.errors import DataError
from mien.labels import CKPLUS, CKPLUS_PEAK
from mien.registry import suggestion
from mien.store.archives import Member

_PEAK = {"angry": 135, "contempt": 54, "disgust": 177, "fear": 75, "happy": 207, "sad": 84, "surprise": 249}

CARD = Card(
    title="CK+, 327 labelled sequences of 118 people, seven expressions and neutral (2010)",
    paper='Lucey, Cohn, Kanade, Saragih, Ambadar and Matthews 2010, "The Extended Cohn-Kanade Dataset (CK+)", CVPRW',
    licence="non-commercial research after a signed agreement; the images may not be passed on",
    obtain="send the agreement of the Affect Analysis Group, University of Pittsburgh",
    layouts=(
        "the authors' folders, with frames S005/001/S005_001_00000001.png and labels "
        "Emotion/S005/001/S005_001_00000011_emotion.txt",
        'the re-packaging "CK+48" with folders anger, contempt, … of S010_004_00000017.png',
    ),
    label_set=CKPLUS,
    counts=({POOL: {"neutral": 327, **_PEAK}}, {POOL: _PEAK}),
    subjects=118,
    splits=(
        "No split is published. ckplus/subjects@1 takes the frames at the peak in ten folds over people, ordered by "
        "number as the field does; ckplus/neutral@1 adds the neutral frames. DeepEmotion reports on a random split "
        "of 70, 10 and 20 %, which is not published; the same people, and frames of one sequence, are in all parts."
    ),
    attributes=(SUBJECT,),
)

PEAK_FRAMES = 3
CK48 = ("anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
_FRAME = re.compile(r"(S\d{3})_(\d{3})_(\d{8})(?=\.|_)")
_LABEL = re.compile(r"[+-]?\d+(?:\.0*)?(?:e[+-]?0+)?", re.IGNORECASE)


def read_ckplus(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read CK+ from the authors' folders or from CK+48.

    From the authors' folders faces are cut where their landmark files lie, or where a detector finds them.

    Raises:
        DataError: a label file without frames, frames without any label file, an unreadable label.
    """
    source = open_source(path)
    members = visible(source)
    frames = [name for name in pictures(members) if _FRAME.match(name.rsplit("/", 1)[-1])]
    require(frames, "no picture in it is named as a frame of CK+", CARD, path)
    emotions = [member.name for member in members if member.name.lower().endswith("_emotion.txt")]
    if not emotions and all(
        label_of(name.split("/")[-2] if "/" in name else "", CKPLUS_PEAK) is None for name in frames
    ):
        raise DataError(
            "there are frames but no file ends in _emotion.txt; put the authors' folder Emotion beside the images",
            file=path,
        )
    if emotions:
        return _sequences(source, members, frames, emotions, path, progress)
    return _folders(source, members, frames, path, progress)


def _sequences(
    source: Source, members: list[Member], frames: list[str], emotions: list[str], path: Path, progress: Progress | None
) -> FaceSet:
    by_sequence: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in frames:
        match = _FRAME.match(name.rsplit("/", 1)[-1])
        assert match is not None
        other = by_sequence[match[1], match[2]].setdefault(int(match[3]), name)
        if other != name:
            raise DataError(f"it is there twice, also as {other}; take one out", file=source.label(name))
    boxes = _landmark_boxes(source, members)
    records = []
    for name, lines in read_lines(source, emotions).items():
        file = source.label(name)
        match = _FRAME.match(name.rsplit("/", 1)[-1])
        if match is None:
            raise DataError("its name names no frame, as S005_001_00000011_emotion.txt does", file=file)
        if not lines:
            raise DataError("it is empty; it should hold one number from 0 to 7", file=file, line=1)
        number, text = lines[0]
        if not _LABEL.fullmatch(text) or not 0 <= float(text) < len(CKPLUS):
            raise DataError(f"{text[:40]!r} is no label; it should be one number from 0 to 7", file=file, line=number)
        found = by_sequence.get((match[1], match[2]), {})
        if len(found) <= PEAK_FRAMES or int(match[3]) not in found:
            raise DataError(
                f"the sequence {match[1]}/{match[2]} that it labels has {len(found)} frames"
                + ("" if int(match[3]) in found else f", and frame {int(match[3])} is not among them")
                + "; get the whole data set",
                file=file,
                line=number,
            )
        order = sorted(found)
        last = order.index(int(match[3])) + 1
        chosen = [(order[0], 0)] + [(frame, int(float(text))) for frame in order[:last][-PEAK_FRAMES:]]
        for frame, label in chosen:
            records.append(
                Record(
                    found[frame], label, POOL, boxes.get(f"{match[1]}_{match[2]}_{frame:08d}"), {SUBJECT: match[1]},
                    file, number,
                )
            )  # fmt: skip
    unlabelled = len(by_sequence) - len(emotions)
    notes = [f"{unlabelled} sequences have no label and were left out."] if unlabelled else []
    return assemble(
        "ckplus", CKPLUS, records, source, path, card=CARD, layout="sequences", notes=notes, members=members,
        framed=Framed(112, "grey", detect=any(record.box is None for record in records)), splits={POOL: "train"},
        progress=progress,
    )  # fmt: skip


def _folders(
    source: Source, members: list[Member], frames: list[str], path: Path, progress: Progress | None
) -> FaceSet:
    records = []
    for name in frames:
        folder = name.split("/")[-2] if "/" in name else ""
        label = label_of(folder, CKPLUS_PEAK)
        if label is None:
            raise DataError(
                f"its folder {folder!r} is no expression of CK+48; {suggestion(folder, CK48)}",
                file=source.label(name),
            )
        records.append(Record(name, label, POOL, attributes={SUBJECT: name.rsplit("/", 1)[-1][:4].upper()}))
    return assemble(
        "ckplus", CKPLUS_PEAK, records, source, path, card=CARD, layout="CK+48 folders", framed=Framed(48, "grey"),
        splits={POOL: "train"}, members=members, progress=progress,
    )  # fmt: skip


def _landmark_boxes(source: Source, members: list[Member]) -> dict[str, tuple[float, float, float, float]]:
    """Boxes around the authors' 68 landmarks, a little higher for the forehead, which has none."""
    names = [member.name for member in members if member.name.lower().endswith("_landmarks.txt")]
    boxes = {}
    for name, lines in read_lines(source, names).items():
        points = []
        for number, text in lines:
            try:
                x, y = map(float, text.split())
            except ValueError:
                raise DataError(
                    "the line should hold two numbers, x and y", file=source.label(name), line=number
                ) from None
            points.append((x, y))
        if points:
            xs, ys = [x for x, _ in points], [y for _, y in points]
            top = min(ys) - 0.25 * (max(ys) - min(ys))
            boxes[name.rsplit("/", 1)[-1][: len("S005_001_00000001")]] = (min(xs), max(0.0, top), max(xs), max(ys))
    return boxes
