"""Nearest neighbours among many faces, by plain matrix products in pieces that fit into memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.audit.embedding import SIDE, embed, unit_faces
from mien.audit.geometry import Float

Progress = Callable[[int, int], None]
"""Told how much is done and how much there is."""

_PIECE = 1024
_FREQUENCIES = 22


@dataclass(frozen=True, eq=False)
class Candidates:
    """For each face the references that it resembles most.

    Args:
        references: int64 (N, K), positions; best first.
        scores: float32 (N, K), correlation of the coarse vectors; −1 where there are fewer than K references.
        places: uint8 (N, K), which of the places fitted.
    """

    references: NDArray[np.int64]
    scores: Float
    places: NDArray[np.uint8]


def nearest(
    images: NDArray[np.uint8],
    references: NDArray[np.uint8],
    places: Sequence[Float],
    count: int,
    *,
    themselves: bool = False,
    progress: Progress | None = None,
) -> Candidates:
    """The ``count`` references nearest to each face, over all ``places``.

    Args:
        images: uint8 (N, 48, 48).
        references: uint8 (M, 48, 48).
        places: how a reference may be changed to become the face.
        count: neighbours wanted.
        themselves: images and references are the same array; a face is not its own neighbour.
        progress: told the faces done.
    """
    count = min(count, len(references))
    shape = (len(images), count)
    found = Candidates(np.zeros(shape, np.int64), np.full(shape, -1, np.float32), np.zeros(shape, np.uint8))
    if count == 0:
        return found
    changed = [np.ascontiguousarray(embed(references, place).T) for place in places]
    buffer = np.empty((min(_PIECE, len(images)), len(references)), np.float32)
    for start in range(0, len(images), _PIECE):
        rows = slice(start, min(start + _PIECE, len(images)))
        vectors = embed(images[rows])
        best, score = vectors @ changed[0], buffer[: len(vectors)]
        for columns in changed[1:]:
            np.matmul(vectors, columns, out=score)
            np.maximum(best, score, out=best)
        if themselves:
            best[np.arange(len(best)), np.arange(rows.start, rows.stop)] = -1
        top = np.argpartition(best, -count, axis=1)[:, -count:] if count < best.shape[1] else np.argsort(best, axis=1)
        order = np.argsort(-np.take_along_axis(best, top, 1), axis=1, kind="stable")
        top = np.take_along_axis(top, order, 1)
        found.references[rows] = top
        found.scores[rows] = np.take_along_axis(best, top, 1)
        for position, column in enumerate(top.T):
            each = np.stack([np.einsum("nd,dn->n", vectors, columns[:, column]) for columns in changed])
            found.places[rows, position] = each.argmax(axis=0)
        if progress is not None:
            progress(rows.stop, len(images))
    return found


@dataclass(frozen=True, eq=False)
class Pairs:
    """Pairs of images that resemble each other.

    Args:
        first: int64 (P,), positions; smaller than ``second``.
        second: int64 (P,).
        scores: float32 (P,), correlation.
        mirrored: bool (P,), one of the two has left and right exchanged.
    """

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    scores: Float
    mirrored: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.first)


def correlated_pairs(images: NDArray[np.uint8], threshold: float, *, progress: Progress | None = None) -> Pairs:
    """Every pair of images whose pixels correlate at least ``threshold``, as they are or one of them mirrored.

    No pair is missed: the search compares the low frequencies of the cosine transform, together with the length of
    what they leave out, whose product bounds the rest (Cauchy–Schwarz); what passes is compared pixel by pixel.
    Mirroring changes the sign of the odd horizontal frequencies, so it costs one product more.

    Args:
        images: uint8 (N, 48, 48), grey.
        threshold: 0–1.
        progress: told the images done.

    Example:
        >>> faces = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)
        >>> faces[2] = faces[0, :, ::-1] // 2
        >>> pairs = correlated_pairs(faces, 0.9)
        >>> pairs.first.tolist(), pairs.second.tolist(), pairs.mirrored.tolist()
        ([0], [2], [True])
    """
    vectors = unit_faces(images)
    basis, odd = _cosines()
    short = vectors @ basis
    rest = np.sqrt(np.clip((vectors**2).sum(axis=1) - (short**2).sum(axis=1), 0, None))
    short = np.concatenate([short, rest[:, None]], axis=1)
    columns = (np.ascontiguousarray(short.T), np.ascontiguousarray((short * np.append(odd, 1)).T.astype(np.float32)))
    kept: list[tuple[NDArray[np.int64], NDArray[np.int64], Float, NDArray[np.bool_]]] = []
    for start in range(0, len(images), _PIECE):
        stop = min(start + _PIECE, len(images))
        for mirrored, all_columns in enumerate(columns):
            bound = short[start:stop] @ all_columns[:, start:]
            first, second = np.nonzero(bound >= threshold - 1e-5)
            first, second = first + start, second + start
            ordered = first < second
            first, second = first[ordered], second[ordered]
            scores = _correlation(vectors, first, second, mirrored=bool(mirrored))
            good = scores >= threshold
            kept.append((first[good], second[good], scores[good], np.full(int(good.sum()), bool(mirrored))))
        if progress is not None:
            progress(stop, len(images))
    first, second, scores, flags = (np.concatenate(parts) for parts in zip(*kept, strict=True)) if kept else _none()
    # A symmetric face may correlate both ways; the better way counts.
    order = np.lexsort((-scores, second, first))
    first, second, scores, flags = first[order], second[order], scores[order], flags[order]
    new = np.ones(len(first), bool)
    new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
    return Pairs(first[new], second[new], scores[new], flags[new])


def _correlation(vectors: Float, first: NDArray[np.int64], second: NDArray[np.int64], *, mirrored: bool) -> Float:
    scores = np.empty(len(first), np.float32)
    for start in range(0, len(first), 4096):
        rows = slice(start, start + 4096)
        other = vectors[second[rows]]
        if mirrored:
            other = other.reshape(-1, SIDE, SIDE)[:, :, ::-1].reshape(len(other), -1)
        scores[rows] = np.einsum("np,np->n", vectors[first[rows]], other)
    return scores


def _cosines() -> tuple[Float, Float]:
    """Orthonormal low frequencies, float32 (2304, D), and −1 for each that mirroring negates, float32 (D,)."""
    place = np.arange(SIDE) + 0.5
    waves = np.cos(np.pi / SIDE * np.outer(place, np.arange(_FREQUENCIES)))
    waves /= np.linalg.norm(waves, axis=0)
    down, right = np.meshgrid(np.arange(_FREQUENCIES), np.arange(_FREQUENCIES), indexing="ij")
    chosen = (down + right > 0) & (down + right < _FREQUENCIES)
    basis = np.einsum("ia,jb->ijab", waves, waves)[:, :, chosen].reshape(SIDE * SIDE, -1)
    return basis.astype(np.float32), np.where(right[chosen] % 2, -1, 1).astype(np.float32)


def _none() -> tuple[NDArray[np.int64], NDArray[np.int64], Float, NDArray[np.bool_]]:
    empty = np.zeros(0, np.int64)
    return empty, empty, np.zeros(0, np.float32), np.zeros(0, bool)
