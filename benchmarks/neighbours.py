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
from pathlib import Path

RECORDED = Path(__file__).parent / "recorded" / "neighbours.json"
COUNT, THRESHOLD, THREADS = 3, 0.90, 2


def numpy_way(images, places):
    """As the package does it."""
    from mien.audit.neighbours import correlated_pairs, nearest

    return lambda: nearest(images, images, places, COUNT, themselves=True), lambda: correlated_pairs(images, THRESHOLD)


def faiss_way(images, places):
    """The same with faiss: one flat index per place, and a range search; as little code around it as it takes."""
    import faiss
    import numpy as np

    from mien.audit import neighbours as ours
    from mien.audit.embedding import embed, unit_faces

    def nearest():
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

    def correlated_pairs():
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
        pairs = np.unique(np.concatenate(kept), axis=0)
        return ours.Pairs(pairs[:, 0], pairs[:, 1], None, None)

    return nearest, correlated_pairs


def one(way: str) -> dict:
    """Time one way, in this process."""
    import numpy as np

    import mien
    from mien.audit import copies, from_face_set
    from mien.results.arrays import hash_arrays

    pictures = from_face_set(mien.load_dataset("fer2013"))
    images = pictures.images[np.unique(pictures.groups, return_index=True)[1]]
    found: dict = {}
    for name, search in zip(
        ("nearest", "pairs"), {"numpy": numpy_way, "faiss": faiss_way}[way](images, copies._CUTS), strict=True
    ):
        clock, cpu = time.perf_counter(), time.process_time()
        result = search()
        found[name] = {
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "seconds": round(time.perf_counter() - clock, 1),
        }
        if name == "nearest":
            # Equal scores may come in either order, so the scores are compared, not the rows.
            found[name]["scores"] = [round(float(x), 3) for x in result.scores.astype(np.float64).sum(axis=0)]
            found[name]["verified"] = int((result.scores >= copies._WORTH_ALIGNING).sum())
        else:
            pairs = np.column_stack([result.first, result.second])
            found[name]["pairs"] = len(pairs)
            found[name]["hash"] = hash_arrays({"pairs": np.unique(pairs, axis=0)})[:16]
    found["peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return found


def main() -> None:
    """Run both ways, one after the other, and record them."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
    from mien.results.provenance import source_stamp

    report: dict = {
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
    RECORDED.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(one(sys.argv[1])))
    else:
        main()
