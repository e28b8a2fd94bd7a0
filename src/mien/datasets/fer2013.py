"""FER2013: 35,887 grey faces of 48 x 48 pixels, seven expressions, three splits.

Source: Goodfellow et al. 2013, "Challenges in Representation Learning", section 3.2 (the Kaggle challenge).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mien.datasets.faceset import FaceSet
from mien.datasets.readers import FaceTable, Progress
from mien.datasets.readers.npz import read_npz
from mien.datasets.readers.pixel_csv import USAGES, read_pixel_csv
from mien.errors import DataError
from mien.labels import FER2013


def read_fer2013(path: Path, progress: Progress | None = None) -> FaceSet:
    """Read FER2013 from a file, folder or archive.

    Raises:
        DataError: the source is broken, or no layout that is known; the message names the place.
    """
    table = _read_table(path, progress)
    info: dict[str, Any] = {"format": table.format, "md5": table.md5, "notes": list(table.notes)}
    return FaceSet.from_arrays(
        "fer2013", FER2013, table.images, table.labels, table.splits, table.split_names, table.roles, info
    )


def _read_table(path: Path, progress: Progress | None) -> FaceTable:
    if path.suffix.lower() == ".npz":
        with path.open("rb") as stream:
            return read_npz(stream, str(path))
    with path.open("rb", buffering=0) as raw:
        faces = read_pixel_csv(raw, str(path), size=path.stat().st_size, progress=progress)  # type: ignore[arg-type]
    if faces.usage is None:
        raise DataError("has no column Usage", file=path)
    return FaceTable(
        images=faces.images,
        labels=faces.labels,
        splits=faces.usage.astype(np.uint8),
        split_names=USAGES,
        roles=("train", "selection", "test"),
        format="csv",
        md5=faces.md5,
    )
