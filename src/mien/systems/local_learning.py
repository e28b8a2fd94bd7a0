"""Local learning: one small support vector machine per face, trained on the training faces most like it.

Bottou and Vapnik, "Local learning algorithms", Neural Computation 1992, with kernels: the kernel that says how alike
two faces are picks the neighbours and is what the machine is trained with. What all neighbours need of each other is
one symmetric matrix over the training faces, computed once and kept on disk in half precision.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.features.cache import Advance, cached_rows
from mien.features.threads import thread_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 256
_QUERIES = 64


def presence(
    words: NDArray[np.uint16],
    centres: NDArray[np.float32],
    vocabulary: int,
    levels: Sequence[int],
    weights: Sequence[float],
) -> Any:
    """Which words occur in which cell of a spatial pyramid.

    Lazebnik, Schmid and Ponce, "Beyond bags of features", CVPR 2006, with presence instead of counts. Each level is
    brought to length 1 and scaled by the root of its weight, so that one scalar product of two rows is the weighted
    sum of the levels' linear kernels, 1 for equal faces.

    Args:
        words: uint16 (n, P).
        centres: float32 (P, 2), x and y as fractions of the face.
        vocabulary: number of words.
        levels: cells per side of each level, for example (1, 2, 3, 4).
        weights: of the levels; they are divided by their sum.

    Returns:
        scipy CSR matrix, float32 (n, vocabulary · Σ level²).

    Example:
        >>> rows = presence(np.array([[3, 3]], np.uint16), np.array([[0.2, 0.2], [0.8, 0.8]], "f"), 5, [1, 2], [1, 1])
        >>> rows.indices.tolist(), [f"{value:.2f}" for value in rows.data]
        ([3, 8, 23], ['0.71', '0.50', '0.50'])
    """
    from scipy import sparse

    if len(levels) != len(weights) or not levels or min(weights) < 0 or not sum(weights) > 0:
        raise InputError(f"a pyramid of levels {list(levels)} needs as many weights from 0, not {list(weights)}")
    kept = [(level, weight / sum(weights)) for level, weight in zip(levels, weights, strict=True) if weight]
    width = vocabulary * sum(level * level for level, _ in kept)
    indices, data, counts = [], [], np.zeros(len(words), np.int64)
    for start in range(0, len(words), 1024):
        block = words[start : start + 1024].astype(np.int32)
        columns, values = [], []
        offset = 0
        for level, weight in kept:
            cell = (centres * level).astype(np.int32).clip(0, level - 1)
            found = np.sort(block + ((cell[:, 1] * level + cell[:, 0]) * vocabulary + offset)[None], axis=1)
            first = np.ones(found.shape, bool)
            first[:, 1:] = found[:, 1:] != found[:, :-1]
            columns.append(np.where(first, found, -1))
            length = np.sqrt(weight / first.sum(axis=1, dtype=np.float64)).astype(np.float32)
            values.append(np.broadcast_to(length[:, None], found.shape))
            offset += level * level * vocabulary
        column, value = np.concatenate(columns, axis=1), np.concatenate(values, axis=1)
        is_word = column >= 0
        indices.append(column[is_word])
        data.append(value[is_word])
        counts[start : start + 1024] = is_word.sum(axis=1)
    pointers = np.concatenate([[0], np.cumsum(counts)])
    flat = np.concatenate(indices) if indices else np.zeros(0, np.int32)
    scaled = np.concatenate(data) if data else np.zeros(0, np.float32)
    return sparse.csr_matrix((scaled, flat, pointers), shape=(len(words), width), dtype=np.float32)


def kernel(
    rows: Callable[[int, int], Any],
    turned: Callable[[], Any],
    shape: tuple[int, int],
    key: Mapping[str, Any],
    *,
    advance: Advance | None = None,
) -> NDArray[np.float16]:
    """Scalar products of the feature vectors of n faces with those of m training faces, cached and resumable.

    Args:
        rows: (start, stop) → feature vectors of those of the n faces, CSR or dense (stop - start, D).
        turned: gives the m feature vectors as columns, CSR or dense (D, m); called once, and not if all is cached.
        shape: (n, m).
        key: what both depend on, for the cache.
        advance: told how many rows are done.

    Returns:
        float16 (n, m), memory-mapped.
    """
    columns = functools.cache(turned)

    def make(start: int, stop: int) -> NDArray[np.float16]:
        block, against = rows(start, stop), columns()
        edges = np.linspace(0, stop - start, thread_count() + 1).astype(int)

        def product(part: tuple[int, int]) -> NDArray[np.float16]:
            found = block[part[0] : part[1]] @ against
            dense: NDArray[np.float16] = (found if isinstance(found, np.ndarray) else found.toarray()).astype(
                np.float16
            )
            return dense

        with ThreadPoolExecutor(thread_count()) as pool:
            return np.concatenate(list(pool.map(product, itertools.pairwise(edges))))

    return cached_rows("kernel", key, shape, np.float16, make, block=_BLOCK, advance=advance)


def scale_rows(matrix: Any, squares: NDArray[np.floating[Any]]) -> Any:
    """A CSR matrix whose rows are divided by the roots of ``squares`` (n,)."""
    from scipy import sparse

    return sparse.diags((1 / np.sqrt(np.maximum(squares, 1e-12))).astype(np.float32)) @ matrix


def check_neighbours(neighbours: int, faces: int) -> None:
    """Refuse a number of neighbours that the training faces do not have."""
    if neighbours < 2:
        raise InputError(f"a local machine is trained on at least 2 neighbours, not {neighbours}")
    if neighbours > faces:
        raise InputError(
            f"{neighbours:,} neighbours of {faces:,} training faces: too few faces; choose fewer neighbours"
        )


def local_margins(
    similar: NDArray[np.float16],
    among: NDArray[np.float16],
    labels: NDArray[np.uint8],
    classes: int,
    *,
    neighbours: int,
    penalty: float,
    key: Mapping[str, Any],
    advance: Advance | None = None,
) -> NDArray[np.float32]:
    """Margins of one-against-all machines, trained anew for each face on its neighbours; cached and resumable.

    Args:
        similar: float16 (n, m), kernel of the faces with the training faces.
        among: float16 (m, m), kernel of the training faces with each other.
        labels: uint8 (m,).
        classes: number of expressions.
        neighbours: training faces per machine.
        penalty: C of the machines.
        key: what the kernels depend on, for the cache.
        advance: told how many faces are done.

    Returns:
        float32 (n, classes); an expression that no neighbour shows has the margin -1, and one that all of them show 1.

    Raises:
        InputError: fewer training faces than neighbours.
    """
    check_neighbours(neighbours, len(labels))

    def one(query: int) -> NDArray[np.float32]:
        line = np.asarray(similar[query])
        # Ties at the edge go to the lower row number, so that the choice does not depend on the sorting algorithm.
        near = np.sort(np.argsort(-line.astype(np.float32), kind="stable")[:neighbours])
        return _margins(
            np.asarray(among[near][:, near], np.float64), line[near].astype(np.float64), labels[near], classes, penalty
        )

    def make(start: int, stop: int) -> NDArray[np.float32]:
        with ThreadPoolExecutor(thread_count()) as pool:
            return np.stack(list(pool.map(one, range(start, stop))))

    key = {**key, "neighbours": neighbours, "penalty": penalty}
    return cached_rows("margins", key, (len(similar), classes), np.float32, make, block=_QUERIES, advance=advance)


def _margins(
    gram: NDArray[np.float64], line: NDArray[np.float64], labels: NDArray[np.uint8], classes: int, penalty: float
) -> NDArray[np.float32]:
    svm = _svm()
    out = np.full(classes, -1.0, np.float32)
    shown = np.unique(labels)
    if len(shown) == 1:
        out[shown[0]] = 1.0
        return out
    for label in shown:
        machine = svm.SVC(C=penalty, kernel="precomputed", cache_size=64)
        machine.fit(gram, np.where(labels == label, 1, -1))
        out[label] = float(machine.decision_function(line[None])[0])
    return out


def global_margins(
    train: Any, labels: NDArray[np.uint8], test: Any, classes: int, *, penalty: float, seed: int = 0
) -> NDArray[np.float32]:
    """Margins of one linear one-against-all machine for all faces (liblinear), for comparison.

    Args:
        train: CSR or dense (m, D).
        labels: uint8 (m,).
        test: likewise (n, D).
        classes: number of expressions.
        penalty: C.
        seed: of the order in which liblinear visits faces.

    Returns:
        float32 (n, classes).
    """
    svm = _svm()
    out = np.full((test.shape[0], classes), -1.0, np.float32)
    shown = np.unique(labels)

    def one(label: int) -> None:
        machine = svm.LinearSVC(C=penalty, loss="hinge", dual=True, random_state=seed, max_iter=5000, tol=1e-3)
        machine.fit(train, np.where(labels == label, 1, -1))
        out[:, label] = machine.decision_function(test)

    with ThreadPoolExecutor(thread_count()) as pool:
        list(pool.map(one, shown.tolist()))
    return out


def _svm() -> Any:
    try:
        from sklearn import svm
    except ModuleNotFoundError:
        raise MissingExtraError("local learning", "classical") from None
    return svm
