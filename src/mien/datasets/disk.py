"""Face sets on disk: memory-mapped .npy arrays or shards and one JSON file, written whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from mien.datasets.faceset import Attribute, FaceSet, Role
from mien.datasets.shards import ShardedImages, as_images, write_shards
from mien.errors import DataError
from mien.labels import LABEL_SETS
from mien.store import atomic_directory

LAYOUT = 1
"""Raised when the files of a stored face set change their meaning; older ones are imported again."""

_SHARDS = "shards"
_ARRAYS = ("images", "labels", "splits", "groups")


def write_face_set(
    face_set: FaceSet,
    folder: Path,
    *,
    shards: bool = False,
    progress: Callable[[int, int], None] | None = None,
    scratch: Path | None = None,
) -> FaceSet:
    """Store ``face_set`` in ``folder``, replacing what is there, and open it.

    Args:
        face_set: what is stored.
        folder: where.
        shards: images as PNG in shards, decoded when they are looked at, instead of one array to be mapped.
        progress: told the images packed and how many there are.
        scratch: a folder on the same disk whose files are needed no more afterwards: images that are mapped from one
            of them are stored by moving it.
    """
    with atomic_directory(folder) as part:
        arrays: tuple[npt.NDArray[Any], ...] = (face_set._images, face_set._labels, face_set.splits, face_set.groups)
        for name, array in zip(_ARRAYS, arrays, strict=True):
            if name == "images" and shards:
                (part / _SHARDS).mkdir()
                write_shards(array, part / _SHARDS, progress)
                continue
            if scratch is not None and (made := _file_of(array, scratch)) is not None:
                made.replace(part / f"{name}.npy")
                continue
            np.save(part / f"{name}.npy", array, allow_pickle=False)
        for index, attribute in enumerate(face_set.attributes.values()):
            np.save(part / f"attribute{index}.npy", attribute.values, allow_pickle=False)
        meta = {
            "layout": LAYOUT,
            "name": face_set.name,
            "label_set": face_set.label_set.name,
            "split_names": face_set.split_names,
            "roles": face_set.roles,
            "fingerprint": face_set.fingerprint,
            "info": face_set.info,
            "attributes": {name: list(attribute.names) for name, attribute in face_set.attributes.items()},
        }
        (part / "meta.json").write_text(json.dumps(meta, indent=1, ensure_ascii=False), encoding="utf-8")
    return open_face_set(folder)


def open_face_set(folder: str | Path) -> FaceSet:
    """Map the face set that `write_face_set` stored in ``folder``.

    Raises:
        DataError: something else lies there.
    """
    folder = Path(folder)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        if meta["layout"] != LAYOUT:
            raise ValueError(f"layout {meta['layout']}")
        labels, splits, groups = (_map(folder / f"{name}.npy") for name in _ARRAYS[1:])
        sharded = (folder / _SHARDS).is_dir()
        images = as_images(ShardedImages(folder / _SHARDS)) if sharded else _map(folder / "images.npy")
        if not len(images) == len(labels) == len(splits) == len(groups):
            raise ValueError("arrays of different lengths")
        label_set = LABEL_SETS[meta["label_set"]]
        attributes = {
            name: Attribute(tuple(names), _map(folder / f"attribute{index}.npy"))
            for index, (name, names) in enumerate(meta.get("attributes", {}).items())
        }
        if any(len(attribute.values) != len(labels) for attribute in attributes.values()):
            raise ValueError("attributes of another length")
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise DataError(
            f"this is no face set that this version of mien can open ({error}); import it again", file=folder
        ) from error
    return FaceSet(
        name=meta["name"],
        label_set=label_set,
        split_names=tuple(meta["split_names"]),
        roles=cast(tuple[Role, ...], tuple(meta["roles"])),
        fingerprint=meta["fingerprint"],
        splits=splits,
        groups=groups,
        _images=images,
        _labels=labels,
        info=meta["info"],
        _folder=folder,
        attributes=attributes,
    )


def _file_of(array: npt.NDArray[Any], folder: Path) -> Path | None:
    """The .npy in ``folder`` that holds just this array, if it is mapped from one."""
    name = getattr(array, "filename", None)  # of a numpy.memmap and its views; not of its copies
    if name is None or (path := Path(name).resolve()).parent != folder.resolve():
        return None
    whole = np.load(path, mmap_mode="r", allow_pickle=False)
    same = array.flags.c_contiguous and (array.shape, array.dtype) == (whole.shape, whole.dtype)
    return path if same else None


def _map(path: Path) -> npt.NDArray[Any]:
    # An empty array cannot be mapped; np.load says so with a ValueError, and a face set is never empty.
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
