"""FER2013 as NumPy arrays: an npz with ``images``, ``labels`` and ``usage``."""

from __future__ import annotations

import zipfile
import zlib
from typing import IO

import numpy as np

from mien.datasets.readers.pixel_csv import CLASSES, SIDE, USAGES
from mien.datasets.readers.table import FaceTable
from mien.errors import DataError
from mien.store.archives import check_zip

_WANTED = "an npz of FER2013 holds images uint8 (N, 48, 48), labels (N,) 0-6 and usage (N,) 0-2"


def read_npz(stream: IO[bytes], file: str) -> FaceTable:
    """Read the arrays; other arrays in the file (such as FER+ votes) are left alone.

    Args:
        stream: seekable.
        file: how errors call it.

    Raises:
        DataError: not an npz, an archive bomb, an array is missing, or it has another shape, type or range.
    """
    if stream.read(4) != b"PK\x03\x04":
        raise DataError(f"it is no npz; {_WANTED}", file=file)
    stream.seek(0)
    check_zip(stream, file)
    try:
        with np.load(stream, allow_pickle=False) as arrays:
            missing = [name for name in ("images", "labels", "usage") if name not in arrays]
            if missing:
                raise DataError(f"it has no array {missing[0]!r}; {_WANTED}", file=file)
            images, labels, usage = arrays["images"], arrays["labels"], arrays["usage"]
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"it cannot be read as an npz ({error}); {_WANTED}", file=file) from error
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (SIDE, SIDE) or not len(images):
        raise DataError(f"images are {images.dtype} {images.shape}; {_WANTED}", file=file)
    for name, array, bound in (("labels", labels, CLASSES), ("usage", usage, len(USAGES))):
        if array.shape != (len(images),) or array.dtype.kind not in "iu":
            raise DataError(f"{name} are {array.dtype} {array.shape}; {_WANTED}", file=file)
        bad = np.flatnonzero((array < 0) | (array >= bound))
        if len(bad):
            raise DataError(f"{name}[{bad[0]}] is {array[bad[0]]}; {_WANTED}", file=file)
    return FaceTable(
        images=np.ascontiguousarray(images),
        labels=labels.astype(np.uint8),
        splits=usage.astype(np.uint8),
        split_names=USAGES,
        roles=("train", "selection", "test"),
        format="npz",
    )
