"""Nearest neighbours for the audit: matrix products in NumPy against faiss, on the real faces, exact both.

    python benchmarks/neighbours.py      # FER2013 has to be imported; writes benchmarks/recorded/neighbours.json

Each way runs in a process of its own, with two threads. What is compared is the processor time of the search alone
(the machine may be busy), and whether the very same neighbours come out. Candidates are verified by alignment
afterwards, which is the same for both and is not timed here.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lines import in_lines

if TYPE_CHECKING:
    import numpy as np

    from mien.audit.geometry import Float
    from mien.audit.neighbours import Candidates

    Pairs = tuple[np.ndarray, np.ndarray]
    Searches = tuple[Callable[[], Candidates], Callable[[], Pairs]]

RECORDED = Path(__file__).parent / "recorded" / "neighbours.json"
COUNT, THRESHOLD, THREADS = 3, 0.90, 2
Found = TypeVar("Found")


def numpy_way(images: np.ndarray, places: Sequence[Float]) -> Searches:
    """As the package does it."""
    from mien.audit.neighbours import correlated_pairs, nearest

    def pairs() -> Pairs:
        found = correlated_pairs(images, THRESHOLD)
        return found.first, found.second

    return lambda: nearest(images, images, places, COUNT, themselves=True), pairs


def faiss_way(images: np.ndarray, places: Sequence[Float]) -> Searches:
    """The same with faiss: one flat index per place, and a range search; as little code around it as it takes."""
    import faiss
    import numpy as np

    from mien.audit import neighbours as ours
    from mien.audit.embedding import embed, unit_faces

    def nearest() -> Candidates:
        vectors, found = embed(images), []
        for number, place in enumerate(places):
            scores, rows = faiss.knn(vectors, embed(images, place), COUNT + 1, metric=faiss.METRIC_INNER_PRODUCT)
            found.append((scores, rows, np.full(rows.shape, number, np.uint8)))
        scores, rows, which = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
        scores[rows == np.arange(len(images))[:, None]] = -1
        # A reference may be near in several places; each counts once, where it is nearest.
        order = np.lexsort((-scores, rows), axis=1)
        rows, scores, which = (np.take_along_axis(array, order, 1) for array in (rows, scores, which))
        scores[:, 1:][rows[:, 1:] == rows[:, :-1]] = -1
        order = np.argsort(-scores, axis=1, kind="stable")[:, :COUNT]
        return ours.Candidates(*(np.take_along_axis(array, order, 1) for array in (rows, scores, which)))

    def pairs() -> Pairs:
        vectors = unit_faces(images)
        basis, odd = ours._cosines()
        short = vectors @ basis
        rest = np.sqrt(np.clip((vectors**2).sum(axis=1) - (short**2).sum(axis=1), 0, None))
        short = np.concatenate([short, rest[:, None]], axis=1)
        index, kept = faiss.IndexFlatIP(short.shape[1]), []
        index.add(short)
        for mirrored, queries in enumerate((short, (short * np.append(odd, 1)).astype(np.float32))):
            limits, _, second = index.range_search(queries, THRESHOLD - 1e-5)
            first = np.repeat(np.arange(len(images)), np.diff(limits).astype(int))
            ordered = first < second
            first, second = first[ordered], second[ordered]
            scores = ours._correlation(vectors, first, second, mirrored=bool(mirrored))
            kept.append(np.column_stack([first, second])[scores >= THRESHOLD])
        once = np.unique(np.concatenate(kept), axis=0)
        return once[:, 0], once[:, 1]

    return nearest, pairs


def one(way: str) -> dict[str, Any]:
    """Time one way, in this process."""
    import numpy as np

    import mien
    from mien.audit import copies, from_face_set
    from mien.results.arrays import hash_arrays

    pictures = from_face_set(mien.load_dataset("fer2013"))
    images = pictures.images[np.unique(pictures.groups, return_index=True)[1]]
    nearest, correlated = {"numpy": numpy_way, "faiss": faiss_way}[way](images, copies._CUTS)
    candidates, spent = timed(nearest)
    # Equal scores may come in either order, so the scores are compared, not the rows.
    scores = [round(float(x), 3) for x in candidates.scores.astype(np.float64).sum(axis=0)]
    verified = int((candidates.scores >= copies._WORTH_ALIGNING).sum())
    found: dict[str, Any] = {"nearest": {**spent, "scores": scores, "verified": verified}}
    both, spent = timed(correlated)
    pairs = np.column_stack(both)
    found["pairs"] = {**spent, "pairs": len(pairs), "hash": hash_arrays({"pairs": np.unique(pairs, axis=0)})[:16]}
    found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def timed(search: Callable[[], Found]) -> tuple[Found, dict[str, float]]:
    """What a search finds, and its seconds."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = search()
    cpu_seconds, seconds = time.process_time() - cpu, time.perf_counter() - clock
    return found, {"cpu_seconds": round(cpu_seconds, 1), "seconds": round(seconds, 1)}


def main() -> None:
    """Run both ways, one after the other, and record them."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
    from mien.results.provenance import source_stamp

    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        **source_stamp(),
        "threads": THREADS,
        "neighbours": COUNT,
        "threshold": THRESHOLD,
    }
    for way in ("numpy", "faiss"):
        done = subprocess.run([sys.executable, __file__, way], env=environment, check=True, stdout=subprocess.PIPE)
        report[way] = json.loads(done.stdout)
    for search in ("nearest", "pairs"):
        report[f"{search}_ratio"] = round(
            report["faiss"][search]["cpu_seconds"] / report["numpy"][search]["cpu_seconds"], 2
        )
    RECORDED.write_text(in_lines(report), encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1])))
    else:
        main()
