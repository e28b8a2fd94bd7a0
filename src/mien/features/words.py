"""Visual words: a vocabulary of typical SIFT descriptors, and for each place of a face the nearest of them.

Sivic and Zisserman, "Video Google", ICCV 2003. faiss learns the vocabulary. The search is exact: products of
matrices in blocks, the same words as faiss's own search in a quarter of the time (`docs/LOG.md`, 2026-12-01).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.features.cache import Advance, cached_rows, faces_digest
from mien.features.sift import SiftGrid, dense_sift, mirror_descriptors
from mien.features.threads import thread_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 128  # faces described at once: 1,800 descriptors each are 118 MB
_ROWS = 256  # descriptors compared at once: with 10,000 words 10 MB of products


def learn_vocabulary(
    images: NDArray[np.uint8],
    grid: SiftGrid,
    words: int,
    *,
    per_word: int = 64,
    rounds: int = 20,
    seed: int = 0,
    mirror: bool = False,
    advance: Advance | None = None,
) -> NDArray[np.float32]:
    """Cluster descriptors of training faces by k-means (faiss), cached.

    Args:
        images: uint8 (n, H, W), training faces only.
        grid: where they are described.
        words: size of the vocabulary.
        per_word: descriptors drawn per word; more change little and cost time.
        rounds: of k-means.
        seed: of the draw and of the first centres.
        mirror: cluster half as many words and add their mirror images: word w and word (w + words / 2) mod words are
            mirror images then, and the words of a mirrored face follow from those of the face.
        advance: told how many faces are described.

    Returns:
        float32 (words, 128).

    Raises:
        InputError: fewer descriptors than words, or a vocabulary of fewer than two words.
    """
    check_vocabulary(words, mirror, len(images), grid)
    available = len(images) * len(grid)
    key = {
        "faces": faces_digest(images),
        "grid": grid.to_dict(),
        "words": words,
        "per_word": per_word,
        "rounds": rounds,
        "seed": seed,
        "mirror": mirror,
    }
    centres = words // 2 if mirror else words

    def make(start: int, stop: int) -> NDArray[np.float32]:
        sample = _sample(images, grid, min(available, centres * per_word), seed, advance)
        found = _kmeans(sample, centres, rounds, seed)
        return np.concatenate([found, mirror_descriptors(found)]) if mirror else found

    vocabulary = cached_rows("vocabulary", key, (words, 128), np.float32, make, block=words)
    return np.array(vocabulary)


def check_vocabulary(words: int, mirror: bool, faces: int, grid: SiftGrid) -> None:
    """Refuse a vocabulary that cannot be learnt from so many faces; see `learn_vocabulary`."""
    if words < 2 or (mirror and words % 2):
        raise InputError(f"a vocabulary has at least 2 words, an even number with mirror images, not {words}")
    available = faces * len(grid)
    if words > available:
        raise InputError(
            f"a vocabulary of {words:,} words is larger than the {available:,} descriptors of {faces:,} faces; "
            "choose fewer words, a finer grid or more faces"
        )


def assign_words(
    descriptors: NDArray[np.float32], vocabulary: NDArray[np.float32], threads: int | None = None
) -> NDArray[np.uint16]:
    """The nearest word of each descriptor.

    Args:
        descriptors: float32 (…, 128).
        vocabulary: float32 (words, 128), at most 65,536 words.
        threads: of the products; all cores by default.

    Returns:
        uint16, the shape of ``descriptors`` without its last axis.
    """
    return _searcher(vocabulary, threads)(descriptors)


def visual_words(
    images: NDArray[np.uint8],
    grid: SiftGrid,
    vocabulary: NDArray[np.float32],
    *,
    advance: Advance | None = None,
) -> NDArray[np.uint16]:
    """The words of faces at the places of ``grid``, uint16 (n, P), cached and resumable."""
    key = {
        "faces": faces_digest(images),
        "grid": grid.to_dict(),
        "vocabulary": faces_digest(vocabulary.view(np.uint8)),
    }
    search = _searcher(vocabulary)

    def make(start: int, stop: int) -> NDArray[np.uint16]:
        return search(dense_sift(np.asarray(images[start:stop]), grid))

    return cached_rows("words", key, (len(images), len(grid)), np.uint16, make, block=_BLOCK, advance=advance)


def mirrored_words(words: NDArray[np.uint16], grid: SiftGrid, vocabulary: int) -> NDArray[np.uint16]:
    """The words of the mirrored faces, uint16 (n, P), for a vocabulary learnt with ``mirror``."""
    half = vocabulary // 2
    there = words[:, grid.mirrored]
    found: NDArray[np.uint16] = np.where(there < half, there + half, there - half).astype(np.uint16)
    return found


def _sample(
    images: NDArray[np.uint8], grid: SiftGrid, count: int, seed: int, advance: Advance | None
) -> NDArray[np.float32]:
    """``count`` descriptors, evenly from as many faces as are needed to have some 200 of each."""
    random = np.random.default_rng(seed)
    faces = min(len(images), max(-(-count // len(grid)), count // 200))
    chosen = np.sort(random.permutation(len(images))[:faces])
    shares = np.diff(np.linspace(0, count, faces + 1).round().astype(int))
    parts: list[NDArray[np.float32]] = []
    for start in range(0, faces, _BLOCK):
        block = dense_sift(np.asarray(images[chosen[start : start + _BLOCK]]), grid)
        for described, share in zip(block, shares[start : start + _BLOCK], strict=True):
            parts.append(described[random.permutation(len(grid))[:share]])
        if advance:
            advance(min(start + _BLOCK, faces), faces)
    return np.concatenate(parts)


def _kmeans(sample: NDArray[np.float32], words: int, rounds: int, seed: int) -> NDArray[np.float32]:
    faiss = _faiss()
    faiss.omp_set_num_threads(thread_count())
    clustering = faiss.Kmeans(
        sample.shape[1],
        words,
        niter=rounds,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=len(sample),
    )
    clustering.train(np.ascontiguousarray(sample))
    centroids: NDArray[np.float32] = np.asarray(clustering.centroids, np.float32)
    return centroids


def _searcher(
    vocabulary: NDArray[np.float32], threads: int | None = None
) -> Callable[[NDArray[np.float32]], NDArray[np.uint16]]:
    if len(vocabulary) > 1 << 16:
        raise InputError(f"a vocabulary has at most 65,536 words, not {len(vocabulary):,}")
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        raise MissingExtraError("visual words", "classical") from None
    # |d - v|² is smallest where d · v - |v|² / 2 is largest: half the squares are one more row, for a -1 below each d.
    squares = np.einsum("ij,ij->i", vocabulary, vocabulary)
    words = np.ascontiguousarray(np.concatenate([vocabulary, squares[:, None] / 2], 1, dtype=np.float32).T)

    def search(descriptors: NDArray[np.float32]) -> NDArray[np.uint16]:
        flat = descriptors.reshape(-1, descriptors.shape[-1])
        found = np.empty(len(flat), np.uint16)
        with threadpool_limits(threads or thread_count(), "blas"):
            for start in range(0, len(flat), _ROWS):
                rows = flat[start : start + _ROWS]
                asked = np.concatenate([rows, np.full((len(rows), 1), -1, np.float32)], 1, dtype=np.float32)
                found[start : start + _ROWS] = (asked @ words).argmax(1)
        return found.reshape(descriptors.shape[:-1])

    return search


def _faiss() -> Any:
    try:
        import faiss
    except ModuleNotFoundError:
        raise MissingExtraError("visual words", "classical") from None
    return faiss
