"""What every side of a comparison speaks: requests as JSON lines on standard input, answers on standard output.

Runs in the peer's own environment, whatever that holds: the standard library, and NumPy once faces are read. Both
sides are timed by the same lines below, in a process that lives through all rounds.

    python SIDE.py --once PHOTO        # one answer, then exit: the start of a process
    python SIDE.py --cores 0,1         # serve requests: {"do": "face" | "batch" | "photo", "path": …, "seconds": …}
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sized
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Side:
    """One recogniser. A subclass loads everything in `__init__`."""

    def __init__(self, model: str) -> None:
        raise NotImplementedError

    def classify(self, faces: np.ndarray) -> Sized:
        """uint8 (N, 48, 48) grey faces → one row of scores per face."""
        raise NotImplementedError

    def photo(self, path: str) -> int:
        """Recognise the faces of a photograph, from the file to the expressions; returns how many there are."""
        raise NotImplementedError

    def steps(self, path: str, seconds: float) -> Mapping[str, float]:
        """Milliseconds per step of `photo`, where the side can tell."""
        return {}


def main(make: Callable[[str], Side]) -> None:
    """Serve requests with the `Side` that ``make`` builds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--once")
    parser.add_argument("--cores", default="")
    parser.add_argument("--model", default="")
    arguments = parser.parse_args()
    # Libraries that greet on standard output must not be taken for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    if arguments.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(core) for core in arguments.cores.split(",")])
    if arguments.once:
        faces = make(arguments.model).photo(arguments.once)
        print(json.dumps({"faces": faces, "cpu": time.process_time()}), file=answers, flush=True)
        return
    side = make(arguments.model)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(side, json.loads(line))), file=answers, flush=True)


def answer(side: Side, request: Mapping[str, Any]) -> dict[str, Any]:
    """Do what one request asks for."""
    import numpy as np

    what, path, seconds = request["do"], request["path"], request["seconds"]
    if what == "photo":
        faces = side.photo(path)
        taken = typical(lambda: side.photo(path), seconds)
        return {"value": 1e3 * taken, "faces": faces, "steps": side.steps(path, seconds)}
    faces = np.load(path)
    if what == "face":
        turn = [0]

        def one() -> Sized:
            turn[0] = (turn[0] + 1) % len(faces)
            return side.classify(faces[turn[0] : turn[0] + 1])

        return {"value": 1e3 * typical(one, seconds)}
    if what == "batch":
        rows = len(side.classify(faces))
        if rows != len(faces):
            raise RuntimeError(f"{rows} answers for {len(faces)} faces")
        first = peak_mb()
        rate = len(faces) / typical(lambda: side.classify(faces), seconds)
        return {"value": rate, "peak_mb": peak_mb(), "first_peak_mb": first}
    raise RuntimeError(f"unknown request {what!r}")


def typical(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of one call, over as many calls as fit into ``seconds`` and at least three."""
    work()
    end = time.perf_counter() + seconds
    taken: list[float] = []
    while len(taken) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    taken.sort()
    return taken[len(taken) // 2]


def peak_mb() -> float:
    """The most memory this process has held so far, in MB."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6
