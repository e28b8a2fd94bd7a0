"""Small copies of the other data sets in the forms in which they travel, from drawn faces: path → bytes."""

from __future__ import annotations

import functools
import io

import numpy as np
from PIL import Image

from mien.datasets import draw_face
from mien.datasets.expw import _SPLITS
from mien.datasets.readers.records import bucket
from mien.labels import AFFECTNET, CKPLUS, FERG, JAFFE, RAFDB, LabelSet

Files = dict[str, bytes]


@functools.cache
def picture(expression: str, person: int = 0, kind: str = "PNG", side: int = 64, grey: bool = False) -> bytes:
    # Contempt is not drawn; what matters here is that no two pictures are equal.
    face = draw_face("neutral" if expression == "contempt" else expression, size=side, person=person)
    if expression == "contempt":
        face = face[:, ::-1]
    out = io.BytesIO()
    image = Image.fromarray(np.ascontiguousarray(face))
    (image.convert("L") if grey else image).save(out, kind)
    return out.getvalue()


def jaffe(subjects: tuple[str, ...] = ("KA", "KL", "KM"), by_class: bool = False) -> Files:
    codes = ("AN", "DI", "FE", "HA", "NE", "SA", "SU")
    files, number = {}, 1
    for person, subject in enumerate(subjects):
        for label, code in enumerate(codes):
            folder = f"{JAFFE[label]}/" if by_class else ""
            files[f"{folder}{subject}.{code}1.{number}.tiff"] = picture(JAFFE[label], person, "TIFF", 96, True)
            number += 1
    return files


def ckplus(subjects: int = 3, landmarks: bool = True) -> Files:
    """Each subject shows every expression once, in five frames; one sequence more has no label."""
    files = {}
    for person in range(subjects):
        for label in range(len(CKPLUS)):
            name = f"S{5 + person:03d}/{label + 1:03d}"
            stem = name.replace("/", "_")
            for frame in range(1, 6):
                expression = CKPLUS[label] if frame > 2 else "neutral"
                files[f"cohn-kanade-images/{name}/{stem}_{frame:08d}.png"] = picture(
                    expression, 100 * person + 10 * label + frame, "PNG", 64, True
                )
                if landmarks:
                    points = "".join(f"   {x:.7e}   {y:.7e}\r\n" for x, y in ((16, 22), (48, 20), (30, 56)))
                    files[f"Landmarks/{name}/{stem}_{frame:08d}_landmarks.txt"] = points.encode()
            if label:
                files[f"Emotion/{name}/{stem}_00000005_emotion.txt"] = f"   {label:.7e}\n".encode()
    return files


def ck48(subjects: int = 3) -> Files:
    folders = {"anger": "angry", "contempt": "contempt", "disgust": "disgust", "fear": "fear", "happy": "happy"}
    folders |= {"sadness": "sad", "surprise": "surprise"}
    return {
        f"CK+48/{folder}/S{10 + person:03d}_004_{17 + frame:08d}.png": picture(
            expression, 10 * person + frame, "PNG", 48, True
        )
        for folder, expression in folders.items()
        for person in range(subjects)
        for frame in range(2)
    }


def ferg() -> Files:
    words = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
    return {
        f"FERG_DB_256/{name}/{name}_{word}/{name}_{word}_{index}.png": picture(FERG[label], 7 * person + index)
        for person, name in enumerate(("aia", "bonnie", "ray"))
        for label, word in enumerate(words)
        for index in (1, 2)
    }


def rafdb(layout: str = "list", end: str = "\n") -> Files:
    """14 train faces (some fall to selection by their names) and 7 test faces, with attributes."""
    files, lines = {}, {"train": [], "test": []}
    numbers = {"train": range(1, 29), "test": range(1, 8)}
    for split, wanted in numbers.items():
        for number in wanted:
            key = f"{split}_{number:05d}" if split == "train" else f"{split}_{number:04d}"
            label = (number - 1) % 7
            place = f"DATASET/{split}/{label + 1}" if layout != "list" else "basic/Image/aligned"
            files[f"{place}/{key}_aligned.jpg"] = picture(RAFDB[label], number + (split == "test") * 50, "JPEG", 100)
            name = f"{key}.jpg" if layout == "list" else f"{key}_aligned.jpg"
            lines[split].append((name, label + 1))
            if layout == "list":
                text = end.join([*["30.5\t40.25"] * 5, str(number % 2), str(number % 3), "2", ""])
                files[f"basic/Annotation/manual/{key}_manu_attri.txt"] = text.encode()
    if layout == "list":
        text = "".join(f"{name} {label}{end}" for split in lines for name, label in lines[split])
        files["basic/EmoLabel/list_patition_label.txt"] = text.encode()
    if layout == "csv":
        for split in lines:
            rows = "".join(f"{name},{label}{end}" for name, label in lines[split])
            files[f"{split}_labels.csv"] = f"image,label{end}{rows}".encode()
    return files


def affectnet(layout: str = "csv", end: str = "\n") -> Files:
    files: Files = {}
    header = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
    for split, table, count in (("train", "training", 80), ("val", "validation", 16)):
        rows = [header] if split == "train" else []  # copies of validation.csv come without
        for index in range(count):
            label = index % 8
            face = picture(AFFECTNET[label], index + 200 * (split == "val"), "JPEG", 72)
            if layout == "csv":
                files[f"Manually_Annotated_Images/{index % 3}/{split}{index}.jpg"] = face
                rows.append(f"{index % 3}/{split}{index}.jpg,4,4,60,60,1.5;2.5;3;4,{label},0.1,-0.2")
            elif layout == "npy":
                files[f"{split}_set/images/{index}.jpg"] = face
                out = io.BytesIO()
                np.save(out, np.array(str(label)))
                files[f"{split}_set/annotations/{index}_exp.npy"] = out.getvalue()
            else:
                files[f"{split}/{label}/{split}{index}.jpg"] = face
        if layout == "csv":
            rows.append("0/uncertain.jpg,NULL,NULL,NULL,NULL,,9,-2,-2")
            files[f"{table}.csv"] = (end.join(rows) + end).encode()
    return files


def expw(end: str = "\n") -> Files:
    files, lines = {}, []
    names = [f"angry_african_{number}.jpg" for number in range(40)]
    names.sort(key=lambda name: _SPLITS[bucket(name, 10)])
    for index, name in enumerate(names):
        files[f"origin/{name}"] = picture("happy", index, "JPEG", 80)
        for face in range(2):
            label = (2 * index + face) % 7
            lines.append(f"{name} {face} {10 + face} {8} {60} {58} {20 * face + 55.5} {label}{end}")
    files["label.lst"] = "".join(lines).encode()
    return files


def folder(
    label_set: LabelSet, splits: tuple[str, ...] = ("train", "selection", "test"), subjects: bool = True
) -> Files:
    files, lines = {}, ["file,subject,age"]
    for part, split in enumerate(splits):
        for label, expression in enumerate(label_set.labels):
            name = f"{split}/{expression}/{part}{label}.png".lstrip("/")
            files[name] = picture(expression, 10 * part + label)
            lines.append(f"{name},p{part},{20 + 30 * (label % 2)}")
    if subjects:
        files["attributes.csv"] = "\r\n".join(lines).encode()
    return files
