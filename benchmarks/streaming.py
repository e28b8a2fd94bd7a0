"""Faces that are decoded while a network learns from them, against the same faces in memory.

    python benchmarks/streaming.py                      # speed, order of storage, peak memory
    python benchmarks/streaming.py --record

Three questions. How fast is a training whose faces lie in shards, against one whose faces are in memory: the same steps
of the same recipe, the two taking turns. Which storage is read fastest by rows in any order: WebDataset's tar with an
index beside it, Arrow IPC, or a tar that is read from its beginning. How much memory does a large set need: a process
opens generated faces in shards and shows them to a network that is next to nothing, and its peak is compared with the
bytes of the faces.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import os
import random
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from lines import in_lines

RECORDED = Path(__file__).parent / "recorded" / "streaming.json"
BUDGET = 0.9
SYSTEMS = {"compact": "mien", "resnet18-tricks": "mien"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=24, help="of each kind that are timed")
    parser.add_argument("--images", type=int, default=50_000, help="of the large set")
    parser.add_argument("--side", type=int, default=80, help="of the stored faces")
    parser.add_argument("--parts", default="speed,storage,memory")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="of the speed; others keep their figures")
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(json.dumps(peak(Path(arguments.peak))))
        return 0
    from mien.evaluation.environment import environment
    from mien.results.provenance import source_stamp
    from mien.store import write_text

    report: dict[str, Any] = {"budget": BUDGET, "environment": environment("cpu", "recipe", os.cpu_count() or 1)}
    report["measured"] = {}
    for part in arguments.parts.split(","):
        load = os.getloadavg()[0]
        if part == "speed":
            report["speed"] = [speed(name, SYSTEMS[name], arguments.steps) for name in arguments.systems.split(",")]
        elif part == "storage":
            report["storage"] = storage(arguments.side)
        else:
            report["memory"] = memory(arguments.images, arguments.side)
        about = {
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            **source_stamp(),
            "load": [round(load, 2), round(os.getloadavg()[0], 2)],  # one minute's mean, before and after
        }
        report["measured"] |= dict.fromkeys(arguments.systems.split(",") if part == "speed" else [part], about)
        print(json.dumps(report[part], indent=1))
    if arguments.record:  # a part that was not measured now keeps its figures and its own date
        before = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        rows = {row["system"]: row for row in (*before.get("speed", ()), *report.get("speed", ()))}
        report["speed"] = [rows[system] for system in SYSTEMS if system in rows]
        report = {**before, **report, "measured": {**before.get("measured", {}), **report["measured"]}}
        write_text(RECORDED, in_lines(report))
    return int(any(row["ratio"] < BUDGET for row in report.get("speed", ())))


def speed(system: str, recipe_name: str, steps: int) -> dict[str, Any]:
    """Seconds of a training step, in memory and from shards, the two taking turns step by step; on a quiet machine."""
    import torch

    from mien import systems
    from mien.datasets import FaceSet, draw_face
    from mien.datasets.disk import write_face_set
    from mien.labels import FER2013
    from mien.training.given import Given
    from mien.training.loop import Loop
    from mien.training.recipe import Recipe
    from mien.training.run import Run

    recipe = Recipe.of(systems.card(system), recipe_name).set(["compile=false"]).staged[0].with_(stages=())
    side, count = recipe.input.face_size, 4 * recipe.batch_size
    colour = recipe.input.colour == "rgb"
    some = [draw_face(FER2013[k % 7], size=side, person=k) for k in range(14)]
    grain = np.random.default_rng(0)
    images = np.stack([some[k % 14] for k in range(count + 7)])
    images = np.clip(images + grain.normal(0, 4, images.shape), 0, 255).astype(np.uint8)  # as photographs have
    images = images if colour else images.mean(axis=3).astype(np.uint8)
    splits = np.repeat(np.array([0, 1], np.uint8), [count, 7])
    data = FaceSet.from_arrays("random", FER2013, images, (np.arange(count + 7) % 7).astype(np.uint8), splits,
                               ("train", "selection"))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        sharded = write_face_set(data, Path(folder) / "shards", shards=True)
        seconds: dict[str, list[float]] = {"memory": [], "shards": []}
        loops = {}
        for name, kind in (("memory", data), ("shards", sharded)):
            loop = Loop(Run(Path(folder) / name, recipe, {"seed": 0}), Given(recipe), kind.train, kind.selection, "cpu",
                        None)  # fmt: skip
            loop.trainable.train()
            order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
            planned = [order[: recipe.batch_size].roll(k) for k in range(steps + 2 + 16)]  # a plan that lasts
            loop.batches.plan(planned)
            loop.generator.manual_seed(0)
            loops[name] = loop, planned, random.Random(0)
        for step in range(steps + 2):
            for name, (loop, batches, draw) in loops.items():
                started = time.perf_counter()  # readers that run ahead take their part of the same cores
                loop._step(batches[step], 1e-6, step, draw)
                if step > 1:
                    seconds[name].append(time.perf_counter() - started)
        decoding = time.thread_time()  # without the readers
        sharded.train.images[: recipe.batch_size]
        decoding = (time.thread_time() - decoding) / recipe.batch_size
    held, read = (float(np.median(seconds[name])) for name in ("memory", "shards"))
    return {
        "system": system,
        "recipe": recipe_name,
        "input": [recipe.input.channels, side],
        "batch": recipe.batch_size,
        "memory_ms_per_face": round(1e3 * held / recipe.batch_size, 3),
        "shards_ms_per_face": round(1e3 * read / recipe.batch_size, 3),
        "decode_ms_per_face": round(1e3 * decoding, 3),
        "ratio": round(float(np.median(np.divide(seconds["memory"], seconds["shards"]))), 3),
        "steps": steps,
    }


def storage(side: int, count: int = 8000) -> dict[str, Any]:
    """The same PNG files in each storage: bytes on the disk, seconds to open, microseconds per file."""
    import pyarrow as pa

    from mien.datasets.shards import ShardedImages, _encoded, write_shards

    images = generated(count, side)
    rows = np.random.default_rng(1).permutation(count)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tar").mkdir()
        write_shards(images, folder / "tar")
        files = [_encoded(image) for image in images]
        with pa.OSFile(str(folder / "faces.arrow"), "wb") as sink:
            schema = pa.schema([("image", pa.binary())])
            with pa.ipc.new_file(sink, schema) as writer:
                for start in range(0, count, 1000):
                    writer.write_batch(pa.record_batch([pa.array(files[start : start + 1000], pa.binary())], schema))

        found: dict[str, Any] = {"images": count, "side": side, "raw_bytes": images.nbytes}
        started = time.perf_counter()
        sharded = ShardedImages(folder / "tar")
        opened = time.perf_counter() - started
        started = time.process_time()
        total = sum(len(sharded._files.read(*sharded._index[row].tolist())) for row in rows)
        found["tar_with_index"] = _figures(_size(folder / "tar"), opened, time.process_time() - started, count)

        started = time.perf_counter()
        reader = pa.ipc.open_file(pa.memory_map(str(folder / "faces.arrow")))
        batches = [reader.get_batch(k).column(0) for k in range(reader.num_record_batches)]
        opened = time.perf_counter() - started
        started = time.process_time()
        again = sum(len(batches[row // 1000][int(row % 1000)].as_py()) for row in rows)
        found["arrow"] = _figures(_size(folder / "faces.arrow"), opened, time.process_time() - started, count)

        started = time.process_time()
        in_order = 0
        for shard in sorted((folder / "tar").glob("*.tar")):
            with tarfile.open(shard, "r|") as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    in_order += len(file.read()) if file else 0
        found["tar_in_order"] = _figures(_size(folder / "tar"), 0.0, time.process_time() - started, count)
        started = time.process_time()
        sharded[rows]
        found["decode_us"] = round(1e6 * (time.process_time() - started) / count, 1)
        started = time.process_time()
        for row in rows.tolist():
            sharded._decoded(row)
        found["decode_pillow_us"] = round(1e6 * (time.process_time() - started) / count, 1)
    assert total == again == in_order
    return found


def memory(count: int, side: int) -> dict[str, Any]:
    """Peak memory of a process that opens ``count`` faces and shows them, against the bytes of the faces."""
    from mien.datasets.disk import write_face_set
    from mien.datasets.faceset import FaceSet
    from mien.labels import FER2013

    folder = Path(tempfile.mkdtemp(dir=os.environ.get("MIEN_BENCH_DIR")))
    try:
        images = np.lib.format.open_memmap(folder / "raw.npy", "w+", np.uint8, (count, side, side, 3))
        for start in range(0, count, 2000):
            images[start : start + 2000] = generated(min(2000, count - start), side, start)
        splits = np.zeros(count, np.uint8)
        splits[-256:] = 1
        data = FaceSet(
            "generated", FER2013, ("train", "selection"), ("train", "selection"), "0" * 64, splits,
            np.arange(count, dtype=np.int32), images, (np.arange(count) % 7).astype(np.uint8),
        )  # fmt: skip
        started = time.perf_counter()
        write_face_set(data, folder / "shards", shards=True)
        written = time.perf_counter() - started
        bytes_raw, bytes_shards = images.nbytes, _size(folder / "shards" / "shards")
        del data, images
        (folder / "raw.npy").unlink()
        line = subprocess.run(
            [sys.executable, __file__, "--peak", str(folder / "shards")], capture_output=True, text=True, check=True
        ).stdout
        return {"images": count, "side": side, "raw_mb": round(bytes_raw / 1e6), "shards_mb": round(bytes_shards / 1e6),
                "packing_seconds": round(written, 1), **json.loads(line.splitlines()[-1])}  # fmt: skip
    finally:
        shutil.rmtree(folder)


def peak(folder: Path) -> dict[str, Any]:
    """Show every face of an epoch in shuffled batches, and measure."""
    import torch

    from mien.bundle import InputSpec
    from mien.datasets.disk import open_face_set
    from mien.training.pipeline.streaming import faces_of

    data = open_face_set(folder)
    train = data.train
    before = peak_kb()
    faces = faces_of([train.images], InputSpec(112, 3, "rgb", (0.5,) * 3, (0.5,) * 3, 0), torch.device("cpu"))
    batches = torch.split(torch.randperm(len(train), generator=torch.Generator().manual_seed(0)), 128)
    started, checksum = time.perf_counter(), 0
    faces.plan(batches)
    for batch in batches:
        checksum += int(faces[batch].sum())
    seconds = time.perf_counter() - started
    return {
        "epoch_seconds": round(seconds, 1),
        "faces_per_second": round(len(train) / seconds),
        "peak_mb": round(1024 * peak_kb() / 1e6),
        "imports_mb": round(1024 * before / 1e6),
        "readers": getattr(faces, "readers", 0),
    }


def generated(count: int, side: int, first: int = 0) -> np.ndarray:
    """Drawn faces with grain, no two alike, uint8 (count, side, side, 3)."""
    some = _drawn(side)
    draw = np.random.default_rng(first)
    grainy = np.clip(some + draw.normal(0, 4, some.shape), 0, 255).astype(np.uint8)
    out = np.empty((count, side, side, 3), np.uint8)
    for k in range(count):
        out[k] = np.roll(grainy[draw.integers(28)], draw.integers(-9, 10, 2), (0, 1))
        out[k, 0, :8, 0] = list((first + k).to_bytes(8, "big"))
    return out


@functools.cache
def _drawn(side: int) -> np.ndarray:
    from mien.datasets import draw_face
    from mien.labels import FER2013

    return np.stack([draw_face(FER2013[k % 7], size=side, person=k) for k in range(28)])


def peak_kb() -> int:
    """Peak resident memory of this process since it began, in KiB; getrusage would count what started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))


def _figures(size: int, opened: float, seconds: float, count: int) -> dict[str, float]:
    return {"bytes": size, "open_ms": round(1e3 * opened, 2), "read_us": round(1e6 * seconds / count, 1)}


def _size(path: Path) -> int:
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


if __name__ == "__main__":
    sys.exit(main())
