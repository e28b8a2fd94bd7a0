"""Drawn faces that were drawn before: kept in the cache, so that a thousand of them cost a second only once."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from pathlib import Path

import numpy as np

from mien.datasets import drawn, drawn_scene
from mien.datasets.disk import open_face_set, write_face_set
from mien.datasets.drawn import SIDE, drawn_faces
from mien.datasets.faceset import FaceSet
from mien.errors import DataError
from mien.store import cache_dir

FEWEST = 500
"""Faces from which on they are kept; fewer are drawn as fast as they are read."""
LARGEST = 64 << 20
"""Bytes of images up to which they are kept."""
SETS = 4
"""Face sets that are kept; the one opened longest ago goes first."""


def kept_faces(count: int = 3500, seed: int = 0) -> FaceSet:
    """The same as `drawn_faces`, from the cache where these were drawn before by the same code.

    A cache that cannot be written to is no error: the faces are drawn each time then.
    """
    faces = functools.partial(drawn_faces, count=count, seed=seed)
    # What is no whole number of a usual size becomes no part of a path; drawing says what is wrong with it.
    usual = isinstance(seed, int) and 0 <= seed < 1 << 63
    if not usual or not isinstance(count, int) or not FEWEST <= count <= LARGEST // SIDE**2:
        return faces()
    root = cache_dir("datasets", "drawn")
    folder = root / f"{count}-{seed}-{_code()}"
    try:
        found = open_face_set(folder)
    except DataError:
        made = faces()
        try:
            found = write_face_set(made, folder)
        except OSError:
            return made
    with contextlib.suppress(OSError):
        os.utime(folder)
        _forget(root)
    return found


def _forget(root: Path) -> None:
    """Remove all but those that were opened last."""
    from mien.store.atomic import remove_directory

    kept = sorted(root.glob("[0-9]*-*-*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    for folder in kept[SETS:]:
        remove_directory(folder)


@functools.cache
def _code() -> str:
    """What draws them: the same parameters give other faces when it changes."""
    digest = hashlib.sha256(np.__version__.encode())
    for module in (drawn, drawn_scene):
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:12]
