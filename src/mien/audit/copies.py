"""Copies within a data set: exact ones, near ones, and the same photograph cut out differently."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from mien.audit.alignment import aligned_correlation
from mien.audit.content import members
from mien.audit.finding import Entry, Finding, Table, face
from mien.audit.geometry import Float, placement
from mien.audit.neighbours import Candidates, Pairs, Progress, correlated_pairs, nearest
from mien.audit.pictures import Pictures

BANDS = (0.995, 0.98, 0.95, 0.90)
"""Correlations of whole images by which near copies are counted."""
NEAR = 0.95
"""Correlation from which a pair is listed as a near copy."""
SAME_PHOTOGRAPH = 0.98
"""Correlation after alignment from which two faces are one photograph; see docs/guides/audit.md for how it was set."""
_WORTH_ALIGNING = 0.8
_NEIGHBOURS = 3

_CUTS = tuple(
    placement(0, zoom, right, down, mirrored=mirrored)
    for mirrored in (False, True)
    for zoom, right, down in (
        (1.0, 0.0, 0.0),
        *((1.12, x, y) for x in (-0.06, 0.06) for y in (-0.06, 0.06)),
    )
)


def exact(pictures: Pictures) -> tuple[list[Finding], Table]:
    """Groups of identical pictures, within and across splits."""
    sizes = np.bincount(pictures.groups)
    several = np.flatnonzero(sizes > 1)
    rows_of = members(pictures.groups, several)
    across = [rows for rows in rows_of if len(np.unique(pictures.splits[rows])) > 1]
    entries = [_entry(pictures, rows) for rows in rows_of]
    findings = [
        Finding(
            name="copies-across-splits",
            title="Exact copies across splits",
            sentence="The same picture, pixel for pixel, lies in more than one split: "
            "whoever learns it in one knows the answer in the other.",
            weight="leak",
            entries=tuple(_entry(pictures, rows) for rows in across),
            counts={"groups": len(across)},
        ),
        Finding(
            name="exact-copies",
            title="Exact copies",
            sentence="Groups of identical pictures anywhere. Each copy counts its face once more, in training and "
            "in every average.",
            weight="problem",
            entries=tuple(entries),
            counts={
                "groups": len(several),
                "faces": int(sizes[several].sum()),
                "distinct_images": int((sizes > 0).sum()),
                **{f"surplus_in_{name}": count for name, count in _surplus(pictures).items()},
            },
        ),
    ]
    names = pictures.split_names
    inside = [np.isin(pictures.groups, pictures.groups[pictures.splits == index]) for index in range(len(names))]
    rows: list[tuple[str | int | float | None, ...]] = []
    for index, name in enumerate(names):
        mine = pictures.splits == index
        elsewhere = np.any([inside[other] for other in range(len(names)) if other != index], axis=0)
        cells = [None if other == index else int((mine & inside[other]).sum()) for other in range(len(names))]
        rows.append((name, int(mine.sum()), *cells, int((mine & elsewhere).sum())))
    table = Table(
        name="exact-copies-by-split",
        title="Faces with an exact copy in another split",
        columns=("faces of", "faces", *(f"copy in {name}" for name in names), "copy in any other"),
        rows=tuple(rows),
    )
    return findings, table


def _surplus(pictures: Pictures) -> dict[str, int]:
    counts = {}
    for index, name in enumerate(pictures.split_names):
        groups = pictures.groups[pictures.splits == index]
        counts[name] = len(groups) - len(np.unique(groups))
    return counts


def near(pictures: Pictures, *, progress: Progress | None = None) -> tuple[Finding, Table, Pairs]:
    """Pairs whose whole images correlate, in either orientation; exact copies are counted, not listed again.

    Returns:
        The finding, the table of bands for each two splits, and the pairs (rows that are first of their group).
    """
    first = _first_rows(pictures)
    pairs = correlated_pairs(pictures.images[first], BANDS[-1], progress=progress)
    pairs = Pairs(first[pairs.first], first[pairs.second], pairs.scores, pairs.mirrored)
    listed = np.flatnonzero(pairs.scores >= NEAR)
    listed = listed[np.argsort(-pairs.scores[listed], kind="stable")]
    finding = Finding(
        name="near-copies",
        title="Near copies",
        sentence=f"Different pixels, yet the images correlate at least {NEAR:g}, as they are or mirrored: "
        "another compression, brightness or watermark of one photograph. Exact copies are not listed again.",
        weight="leak" if _crosses(pictures, pairs.first[listed], pairs.second[listed]) else "problem",
        entries=tuple(
            Entry(
                (face(pictures, int(pairs.first[p])), face(pictures, int(pairs.second[p]))),
                round(float(pairs.scores[p]), 4),
                "mirrored" if pairs.mirrored[p] else "",
            )
            for p in listed
        ),
        counts={
            "pairs": len(listed),
            "mirrored_pairs": int(pairs.mirrored[listed].sum()),
            "pairs_across_splits": _crosses(pictures, pairs.first[listed], pairs.second[listed]),
        },
    )
    names = pictures.split_names
    rows: list[tuple[str | int | float | None, ...]] = []
    for mine, other in [(a, b) for a in range(len(names)) for b in range(len(names)) if a > b]:
        best = best_in_split(pictures, pairs, other)[pictures.splits == mine]
        rows.append((f"{names[mine]} in {names[other]}", *(int((best >= band).sum()) for band in BANDS)))
    table = Table(
        name="near-copies-by-split",
        title="Faces with a near copy in another split",
        columns=("faces of … with a copy in …", *(f"≥ {band:g}" for band in BANDS)),
        rows=tuple(rows),
        note="Correlation of whole images, in either orientation; exact copies included. "
        "The lowest bands mix copies with faces that are merely alike.",
    )
    return finding, table, pairs


def best_in_split(pictures: Pictures, pairs: Pairs, split: int) -> Float:
    """For each face its largest correlation with a face of a split, 1 for an exact copy: float32 (N,)."""
    there = np.zeros(int(pictures.groups.max()) + 1, bool)
    there[pictures.groups[pictures.splits == split]] = True
    best = there.astype(np.float32)
    for one, two in ((pairs.first, pairs.second), (pairs.second, pairs.first)):
        one_group, two_group = pictures.groups[one], pictures.groups[two]
        np.maximum.at(best, one_group[there[two_group]], pairs.scores[there[two_group]])
    result: Float = best[pictures.groups]
    return result


def recut(pictures: Pictures, known: Pairs, *, progress: Progress | None = None) -> tuple[Finding, Table]:
    """The same photograph cut out or marked differently: no near copy until one face is laid on the other."""
    first = _first_rows(pictures)
    images = pictures.images[first]
    candidates = nearest(images, images, _CUTS, _NEIGHBOURS, themselves=True, progress=progress)
    pairs = _verified(images, candidates)
    pairs = Pairs(first[pairs.first], first[pairs.second], pairs.scores, pairs.mirrored)
    plain = known.scores >= NEAR
    listed_before = set(zip(known.first[plain].tolist(), known.second[plain].tolist(), strict=True))
    new = np.array(
        [pair not in listed_before for pair in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)], bool
    )
    chosen = np.flatnonzero(new)
    chosen = chosen[np.argsort(-pairs.scores[chosen], kind="stable")]
    finding = Finding(
        name="recut-copies",
        title="The same photograph, cut out differently",
        sentence=f"After one face is shifted, scaled or turned onto the other, they correlate at least "
        f"{SAME_PHOTOGRAPH:g}. No comparison of whole images sees these copies.",
        weight="leak" if _crosses(pictures, pairs.first[chosen], pairs.second[chosen]) else "problem",
        entries=tuple(
            Entry(
                (face(pictures, int(pairs.first[p])), face(pictures, int(pairs.second[p]))),
                round(float(pairs.scores[p]), 4),
                "mirrored" if pairs.mirrored[p] else "",
            )
            for p in chosen
        ),
        counts={
            "pairs": len(chosen),
            "pairs_across_splits": _crosses(pictures, pairs.first[chosen], pairs.second[chosen]),
        },
    )
    names = pictures.split_names
    rows: list[tuple[str | int | float | None, ...]] = []
    for mine, other in [(a, b) for a in range(len(names)) for b in range(len(names)) if a > b]:
        of_mine = pictures.splits == mine
        exact_copies = best_in_split(pictures, _no_pairs(), other)[of_mine] >= 1
        similar = best_in_split(pictures, known, other)[of_mine] >= NEAR
        same = best_in_split(pictures, pairs, other)[of_mine] >= SAME_PHOTOGRAPH
        rows.append(
            (
                f"{names[mine]} in {names[other]}",
                int(of_mine.sum()),
                int(exact_copies.sum()),
                int((exact_copies | similar).sum()),
                int((exact_copies | similar | same).sum()),
            )
        )
    table = Table(
        name="copies-of-any-kind-by-split",
        title="Faces with a copy of any kind in another split",
        columns=("faces of … with a copy in …", "faces", "exact", "… or near", "… or cut differently"),
        rows=tuple(rows),
    )
    return finding, table


def verify(
    images: NDArray[np.uint8],
    references: NDArray[np.uint8],
    candidates: Candidates,
    places: tuple[Float, ...],
    *,
    progress: Progress | None = None,
) -> Float:
    """Correlation after alignment of every candidate, float32 (N, K); −1 for those not worth a try."""
    scores = np.full(candidates.scores.shape, -1, np.float32)
    face_row, rank = np.nonzero(candidates.scores >= _WORTH_ALIGNING)
    found = align(
        images,
        references,
        face_row,
        candidates.references[face_row, rank],
        np.stack(places)[candidates.places[face_row, rank]],
        progress=progress,
    )
    scores[face_row, rank] = found
    return scores


def align(
    images: NDArray[np.uint8],
    references: NDArray[np.uint8],
    face_rows: NDArray[np.int64],
    reference_rows: NDArray[np.int64],
    places: Float,
    *,
    progress: Progress | None = None,
    piece: int = 2048,
) -> Float:
    """`aligned_correlation` of many pairs given by position, on two threads: float32 (P,)."""
    scores = np.full(len(face_rows), -1, np.float32)

    def work(start: int) -> int:
        rows = slice(start, start + piece)
        scores[rows] = aligned_correlation(images[face_rows[rows]], references[reference_rows[rows]], places[rows])
        return min(start + piece, len(scores))

    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(work, range(0, len(scores), piece)):
            if progress is not None:
                progress(done, len(scores))
    return scores


def _verified(images: NDArray[np.uint8], candidates: Candidates) -> Pairs:
    face_row, rank = np.nonzero(candidates.scores >= _WORTH_ALIGNING)
    other = candidates.references[face_row, rank]
    place = candidates.places[face_row, rank]
    # A pair found from both sides is aligned once.
    low, high = np.minimum(face_row, other), np.maximum(face_row, other)
    _, once = np.unique(low * len(images) + high, return_index=True)
    scores = align(images, images, face_row[once], other[once], np.stack(_CUTS)[place[once]])
    good = scores >= SAME_PHOTOGRAPH
    once = once[good]
    return Pairs(low[once], high[once], scores[good], place[once] >= len(_CUTS) // 2)


def _first_rows(pictures: Pictures) -> NDArray[np.int64]:
    return np.asarray(np.unique(pictures.groups, return_index=True)[1], np.int64)


def _crosses(pictures: Pictures, first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    return int((pictures.splits[first] != pictures.splits[second]).sum())


def _entry(pictures: Pictures, rows: NDArray[np.int64]) -> Entry:
    return Entry(tuple(face(pictures, int(row)) for row in rows))


def _no_pairs() -> Pairs:
    empty = np.zeros(0, np.int64)
    return Pairs(empty, empty, np.zeros(0, np.float32), np.zeros(0, bool))
