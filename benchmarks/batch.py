"""What a photograph costs in processor time, alone, in shards and with Ray; and what a million and a billion would.

    python benchmarks/batch.py                 # measure and print
    python benchmarks/batch.py --record        # keep the figures, which `make docs` brings to docs/guides/many.md

Each way runs `mien predict` as a user would, on drawn photographs of 640 × 480 pixels with one face each. Processor
time of all processes of the run is added up, so that what else the machine does hardly matters; the ways take turns.
A small and a large folder tell what a photograph costs and what starting and ending does.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from lines import in_lines
from PIL import Image

import mien
from mien.bench import bench
from mien.datasets.drawn import draw_face
from mien.labels import FER2013
from mien.recognition.bundles import default_bundle
from mien.results.provenance import source_stamp, source_words
from mien.store import write_text
from mien.store.cpu import cpu_count

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "recorded" / "batch.json"
SIZE = (640, 480)
FACE = 220
BUDGET = 1.10

WAYS: dict[str, Callable[[Path, Path], list[str | Path]]] = {
    "one process": lambda folder, out: [folder, "-r", "--out", out / "t.parquet"],
    "one shard of one": lambda folder, out: [folder, "-r", "--out", out / "t.parquet", "--shard", "1/1"],
    "Ray Data": lambda folder, out: [folder, "--engine", "ray", "--out", out / "t.parquet"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--photographs", type=int, default=600, help="that the large folder has more than the small one"
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="keep the figures; `make docs` brings them to the guide")
    arguments = parser.parse_args()
    record = measure(arguments.photographs, arguments.rounds)
    record["shown"] = shown(record)
    print(json.dumps(record["shown"], indent=1, ensure_ascii=False))
    if arguments.record:
        write_text(RECORD, in_lines(record))


def measure(photographs: int, rounds: int) -> dict[str, Any]:
    """Every way on both folders in every round, one after the other."""
    small, large = photographs // 4, photographs // 4 + photographs
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    table_bytes = 0
    with tempfile.TemporaryDirectory() as base:
        folders = {count: Path(base, str(count)) for count in (small, large)}
        draw(folders[small], small)
        draw(folders[large], large)
        photo_bytes = sum(path.stat().st_size for path in folders[large].iterdir()) / large
        for number in range(rounds):
            for way, arguments in WAYS.items():
                found = {}
                for count, folder in folders.items():
                    print(f"round {number + 1} of {rounds}: {way}, {count} photographs", file=sys.stderr, flush=True)
                    out = Path(base, f"out-{uuid.uuid4().hex}")
                    found[count] = processor_seconds(arguments(folder, out))
                    if way == "one process" and count == large:
                        table_bytes = (out / "t.parquet").stat().st_size
                each = (found[large] - found[small]) / (large - small)
                taken[way].append({"photograph": each, "start": found[small] - small * each})
    bundle = default_bundle()
    return {
        "schema": 1,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "mien": mien.__version__,
        **source_stamp(),
        "ray": importlib.metadata.version("ray"),
        "bundle": {"name": bundle.card.name, "sha256": bundle.card.sha256, "precision": bundle.card.precision},
        "machine": bench.machine(),
        "cores": cpu_count(),
        "photographs": [small, large],
        "size": list(SIZE),
        "photo_bytes": round(photo_bytes),
        "table_bytes": round(table_bytes / large),
        "rounds": rounds,
        "ways": {
            way: {
                "milliseconds": [round(1e3 * one["photograph"], 3) for one in runs],
                "start_seconds": [round(one["start"], 2) for one in runs],
                "ratio": [
                    round(one["photograph"] / alone["photograph"], 3)
                    for one, alone in zip(runs, taken["one process"], strict=True)
                ],
            }
            for way, runs in taken.items()
        },
    }


def draw(folder: Path, count: int) -> None:
    """Photographs of drawn people before a soft backdrop, each with its own noise."""
    random = np.random.default_rng(count)
    faces = [draw_face(label, size=FACE, person=person) for person in range(6) for label in FER2013.labels]
    slope = np.linspace(90, 170, SIZE[0])[None, :, None] * np.linspace(0.8, 1.1, SIZE[1])[:, None, None]
    folder.mkdir()
    for number in range(count):
        picture = np.broadcast_to(slope, (SIZE[1], SIZE[0], 3)) * random.uniform(0.7, 1.2, 3)
        x, y = random.integers(0, SIZE[0] - FACE), random.integers(0, SIZE[1] - FACE)
        picture[y : y + FACE, x : x + FACE] = faces[random.integers(len(faces))]
        picture += random.integers(-6, 7, (SIZE[1], SIZE[0], 1))
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / f"{number:05}.jpg", quality=90)


def processor_seconds(arguments: list[str | Path]) -> float:
    """Of one `mien predict` and of all processes that it starts."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, "MIEN_BENCH_MARK": mark}
    command = [sys.executable, "-m", "mien", "predict", *map(str, arguments)]
    with Meter(mark) as meter, subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        _, said = process.communicate()
    if process.returncode != 0:
        sys.exit(said.decode())
    return meter.seconds()


class Meter:
    """Adds up the processor time of all processes that inherit a mark; each is asked every tenth of a second."""

    def __init__(self, mark: str) -> None:
        self._mark = f"MIEN_BENCH_MARK={mark}".encode()
        self._ticks: dict[tuple[str, str], int] = {}
        self._other: set[tuple[str, str]] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Meter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def seconds(self) -> float:
        return sum(self._ticks.values()) / os.sysconf("SC_CLK_TCK")

    def _watch(self) -> None:
        while not self._stop.wait(0.1):
            for folder in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError, IndexError, ValueError):
                    fields = (folder / "stat").read_text().rpartition(")")[2].split()
                    key = (folder.name, fields[19])  # the number of a process may come again, with another start
                    if key in self._other:
                        continue
                    if key not in self._ticks and self._mark not in (folder / "environ").read_bytes():
                        # A process that has just been forked still shows the environment of its parent: ours is seen.
                        self._other.add(key)
                        continue
                    self._ticks[key] = int(fields[11]) + int(fields[12])


def _rounds(record: dict[str, Any]) -> str:
    if record["rounds"] == 1:
        return "one round, so that nothing is known of the spread"
    return f"{record['rounds']} rounds in turn; medians, with the smallest and the largest"


def _spread(values: list[float], form: str, unit: str) -> str:
    """The median with the range in brackets; of one round its figure alone."""
    middle = f"{median(values):{form}}{unit}"
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}}–{max(values):{form}})"


def shown(record: dict[str, Any]) -> dict[str, Any]:
    """What the guide quotes: what was measured, and what follows from it for many photographs."""
    machine, ways = record["machine"], record["ways"]
    small, large = record["photographs"]
    width, height = record["size"]
    kept = median(ways["Ray Data"]["ratio"]) <= BUDGET
    rows = []
    for count in (10**6, 10**9):
        for way in ("one process", "Ray Data"):
            seconds = count * median(ways[way]["milliseconds"]) / 1e3
            read, written = volume(count * record["photo_bytes"]), volume(count * record["table_bytes"])
            hours = f"{seconds / 3600:,.1f}"
            rows.append([f"{count:,}, {way}", hours, span(seconds / 16), span(seconds / 1000), read, written])
    return {
        "measured": f"Measured on {record['date']} with mien {record['mien']}, bundle `{record['bundle']['name']}` "
        f"({record['bundle']['precision']}), Ray {record['ray']}, {machine['processor']}, {record['cores']} cores: "
        f"{small:,} and {large:,} drawn photographs of {width} × {height} pixels with one face, "
        f"{_rounds(record)} ({source_words(record)}).",
        "cost": {
            "columns": ["way", "processor time per photograph", "against one process", "start and end"],
            "rows": [
                [
                    way,
                    _spread(found["milliseconds"], ".1f", " ms"),
                    _spread(found["ratio"], ".2f", " ×"),
                    _spread(found["start_seconds"], ".1f", " s"),
                ]
                for way, found in ways.items()
            ],
        },
        "budget": f"The budget for Ray Data is {BUDGET:.2f} ×: {'kept' if kept else '**missed**'}.",
        "extrapolated": {
            "columns": ["photographs", "core hours", "on 16 cores", "on 1,000 cores", "to read", "Parquet"],
            "rows": rows,
        },
    }


def span(seconds: float) -> str:
    """Two digits that a person can plan with."""
    for unit, length in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.0f} seconds"


def volume(count: float) -> str:
    """Bytes with their unit."""
    for unit, size in (("TB", 1e12), ("GB", 1e9)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
