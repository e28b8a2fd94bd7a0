"""Small files in every layout in which FER2013 travels, from invented faces."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from mien.labels import FER2013

USAGES = ("Training", "PublicTest", "PrivateTest")


class Faces:
    """Invented faces: blocks of 4 x 4 pixels, so that they compress; every class is in every split."""

    def __init__(self, count: int = 42, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        small = random.integers(0, 256, (count, 12, 12), np.uint8)
        self.images = small.repeat(4, 1).repeat(4, 2)
        self.images[0, 0, :6] = (0, 9, 10, 99, 100, 255)
        self.labels = (np.arange(count) % 7).astype(np.uint8)
        self.usage = np.sort(np.arange(count) % 3).astype(np.uint8)

    def lines(self, columns: str = "emotion,pixels,Usage", separator: str = ",") -> list[str]:
        fields = []
        for image, label, usage in zip(self.images, self.labels, self.usage, strict=True):
            values = {"emotion": str(label), "pixels": " ".join(map(str, image.ravel())), "Usage": USAGES[usage]}
            fields.append(separator.join(values[name.strip()] for name in columns.split(",")))
        return fields

    def csv(self, columns: str = "emotion,pixels,Usage", end: str = "\n") -> bytes:
        return "".join(line + end for line in (columns, *self.lines(columns))).encode()

    def npz(self, path: Path) -> Path:
        np.savez(path, images=self.images, labels=self.labels, usage=self.usage)
        return path

    def pictures(self, *, suffix: str = "png", names: str = "row") -> dict[str, bytes]:
        """Path → bytes; ``names``: ``row`` (Training_3), ``split`` (Training_90210) or ``plain`` (im3)."""
        files = {}
        for row, (image, label, usage) in enumerate(zip(self.images, self.labels, self.usage, strict=True)):
            out = io.BytesIO()
            Image.fromarray(image).save(out, "JPEG" if suffix == "jpg" else "PNG")
            name = {"row": f"{USAGES[usage]}_{row}", "split": f"{USAGES[usage]}_{90000000 - row}", "plain": f"im{row}"}
            folder = "train" if usage == 0 else "test"
            files[f"{folder}/{FER2013[label]}/{name[names]}.{suffix}"] = out.getvalue()
        return files


def write_folder(files: dict[str, bytes], folder: Path) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def write_zip(files: dict[str, bytes], path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(files: dict[str, bytes], path: Path, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in reversed(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return path
