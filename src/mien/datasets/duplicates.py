"""Exact duplicates: which rows hold the very same pixels."""

from __future__ import annotations

import hashlib
import zlib

import numpy as np
import numpy.typing as npt


def duplicate_groups(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Number the distinct images in the order of their first row; equal images get equal numbers.

    Args:
        images: uint8 (N, …), anything with one image per row.

    Returns:
        int32 (N,), from 0 to the count of distinct images − 1.

    Example:
        >>> faces = np.array([[[1]], [[2]], [[1]]], np.uint8)
        >>> duplicate_groups(faces).tolist()
        [0, 1, 0]
    """
    images = np.ascontiguousarray(images)
    checksums = np.fromiter((zlib.crc32(image.data) for image in images), np.uint32, len(images))
    original = _first_of_equal(checksums)
    copies = np.flatnonzero(original != np.arange(len(images)))
    if any(images[row].tobytes() != images[original[row]].tobytes() for row in copies):
        # Two different images share a checksum, so hashes that cannot collide decide.
        original = _first_of_equal(np.array([hashlib.sha256(image.data).digest() for image in images]))
    return np.unique(original, return_inverse=True)[1].astype(np.int32)


def _first_of_equal(keys: npt.NDArray[np.generic]) -> npt.NDArray[np.int64]:
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[group.ravel()], np.int64)


def copies_of(groups: npt.NDArray[np.int32], others: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
    """Which rows of one split have an exact copy in another.

    Args:
        groups: int32 (n,) of the rows asked about.
        others: int32 (m,) of the rows searched.

    Returns:
        bool (n,).

    Example:
        >>> copies_of(np.array([0, 1, 2], np.int32), np.array([2, 2, 5], np.int32)).tolist()
        [False, False, True]
    """
    return np.isin(groups, others)
