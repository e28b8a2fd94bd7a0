"""What every reader hands over, before it becomes a face set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mien.datasets.faceset import Role

Progress = Callable[[int, int], None]
"""Told after each piece of work how much is done and how much there is, in any unit; `Bytes` where it is bytes."""


class Bytes(int):
    """An amount of bytes, for who shows it to people."""


@dataclass(frozen=True)
class FaceTable:
    """The rows of one source, in the order of the source.

    Attributes:
        images: uint8 (N, 48, 48), grey, 0–255.
        labels: uint8 (N,), FER2013 ids, or `UNLABELLED`.
        splits: uint8 (N,), positions in ``split_names``.
        split_names: the splits that the source tells apart.
        roles: what each may be used for.
        format: the layout, in words.
        md5: of the csv that was read, hex; None for the other layouts.
        rows: int64 (N,), the official row numbers where the source carries them; None otherwise.
        lossy: True when the images come from JPEG files, so that no pixel can be trusted to the last bit.
        notes: sentences a person should read.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    splits: npt.NDArray[np.uint8]
    split_names: tuple[str, ...]
    roles: tuple[Role, ...]
    format: str
    md5: str | None = None
    rows: npt.NDArray[np.int64] | None = None
    lossy: bool = False
    notes: tuple[str, ...] = ()
