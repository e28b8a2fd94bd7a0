"""Feature matrices that somebody brings along, and what every matrix has to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import InputError


def read_matrix(path: str | Path, faces: int | None = None) -> NDArray[np.float32]:
    """A feature matrix from an ``.npy`` file: one row per face, in the order of the split.

    Args:
        path: of the file; float or integer (n, D).
        faces: rows that it must have.

    Raises:
        InputError: no such file, pickled or damaged, another shape, NaN.
    """
    path = Path(path)
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or 'unreadable'}; give features as .npy, (faces, D)") from None
    except (ValueError, EOFError):
        raise InputError(f"{path} is no array of numbers; save features with numpy.save, float32 (faces, D)") from None
    if not isinstance(matrix, np.ndarray) or matrix.dtype.kind not in "fiu":
        raise InputError(f"{path} holds no matrix of numbers; save features with numpy.save, float32 (faces, D)")
    return checked_matrix(matrix, str(path), faces)


def checked_matrix(matrix: NDArray[np.generic], name: str, faces: int | None = None) -> NDArray[np.float32]:
    """The matrix as float32 (n, D), or an `InputError` that says what is wrong with it.

    Example:
        >>> checked_matrix(np.array([[1.0], [np.nan]]), "mine")
        Traceback (most recent call last):
        ...
        mien.errors.InputError: mine: row 1 holds NaN or infinity; repair or leave out these features
    """
    if matrix.ndim != 2 or not matrix.shape[1]:
        raise InputError(f"{name}: features are (faces, D), not {matrix.shape}")
    if faces is not None and len(matrix) != faces:
        raise InputError(f"{name}: {len(matrix)} rows for {faces} faces; give one row per face, in the split's order")
    found = np.asarray(matrix, np.float32)
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        raise InputError(f"{name}: row {int(bad.argmax())} holds NaN or infinity; repair or leave out these features")
    return found
