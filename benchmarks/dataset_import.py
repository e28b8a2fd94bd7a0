"""Import of FER2013's csv against what people do today: seconds, processor seconds, peak memory, later opens.

    python benchmarks/dataset_import.py                          # on an invented csv of the same size
    python benchmarks/dataset_import.py --csv fer2013.csv        # on the real one
    python benchmarks/dataset_import.py --rows 4000 --json       # quicker; ratios hold, since all of them are linear

Every way runs in a process of its own, all of them once per round, and the fastest run of each way counts. Ours
includes what the others leave out: all checks, exact duplicates, the fingerprint, the comparison with the published
images, and the memory-mapped copy on disk. `processor` counts the seconds of all threads, so it can be compared on a
busy machine, where `wall` cannot.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WAYS = ("mien import", "mien open", "torchvision", "pandas loop", "pandas + np.fromstring")
BUDGET = {"ratio": 10.0, "peak_mib": 700.0, "open_ms": 50.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--csv", type=Path, help="fer2013.csv; invented if left away")
    parser.add_argument("--rows", type=int, default=35_887)
    parser.add_argument("--rounds", type=int, default=1, help="every way once per round; its fastest run counts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", choices=WAYS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.child, arguments.csv)))
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fer2013" / "fer2013.csv"
        path.parent.mkdir()
        size = write_csv(path, arguments.csv, arguments.rows)
        report = {"bytes": size, "rows": arguments.rows, "cores": os.cpu_count(), "invented": arguments.csv is None}
        ways = [way for way in WAYS if present(way)]
        rounds = [{way: run(way, path) for way in ways} for _ in range(arguments.rounds)]
        report["rounds"] = arguments.rounds
        report["ways"] = {way: fastest([done[way] for done in rounds]) for way in ways}
    report["ratios"] = {
        way: {key: round(run[key] / report["ways"]["mien import"][key], 1) for key in ("wall", "processor")}
        for way, run in report["ways"].items()
        if not way.startswith("mien")
    }
    if arguments.json:
        print(json.dumps(report, indent=1))
    else:
        show(report)


def present(way: str) -> bool:
    package = way.split()[0]
    return importlib.util.find_spec(package) is not None


def run(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--child", way, "--csv", str(path)]
    environment = {**os.environ, "MIEN_CACHE": str(path.parents[1] / "cache"), "OMP_NUM_THREADS": "1"}
    return dict(json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout))


def fastest(runs: list[dict[str, float]]) -> dict[str, float]:
    """The run that was disturbed least, and what the first one took: on memory that nobody had touched lately."""
    return {**min(runs, key=lambda run: run["wall"]), "first_wall": runs[0]["wall"]}


def measure(way: str, path: Path) -> dict[str, float]:
    """Seconds of the work alone, without start and imports, and the peak memory of the process."""
    import resource

    work = WORK[way](path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    wall, processor = time.perf_counter(), time.process_time()
    faces = work()
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "faces": faces,
        "wall": wall,
        "processor": processor,
        "peak_mib": peak / 1024,
        "peak_over_imports_mib": (peak - before) / 1024,
    }


def ours(path: Path) -> Any:
    from mien.datasets import import_dataset

    return lambda: len(import_dataset("fer2013", path))


def ours_again(path: Path) -> Any:
    from mien.datasets import load_dataset

    def work() -> int:
        data = load_dataset("fer2013", path)
        return len(data.train.images) + len(data.selection.images) + len(data.test)

    return work


def torchvision(path: Path) -> Any:
    import torchvision.datasets.fer2013 as module

    # An invented or shortened file has another checksum; it is computed all the same, as for the real one.
    real = module.check_integrity
    module.check_integrity = lambda *given, **named: real(*given, **named) or True
    return lambda: sum(len(module.FER2013(path.parents[1], split=split)) for split in ("train", "test"))


def pandas_loop(path: Path) -> Any:
    import numpy as np
    import pandas as pd

    def work() -> int:
        frame = pd.read_csv(path)
        images = np.stack(
            [np.array([int(p) for p in text.split(" ")], np.uint8).reshape(48, 48) for text in frame["pixels"]]
        )
        return len(images)

    return work


def pandas_fromstring(path: Path) -> Any:
    import numpy as np
    import pandas as pd

    def work() -> int:
        frame = pd.read_csv(path)
        images = np.stack([np.fromstring(text, np.uint8, sep=" ").reshape(48, 48) for text in frame["pixels"]])
        return len(images)

    return work


WORK = dict(zip(WAYS, (ours, ours_again, torchvision, pandas_loop, pandas_fromstring), strict=True))


def write_csv(path: Path, source: Path | None, rows: int) -> int:
    """A csv of ``rows`` faces, from the real file or of random pixels around the same mean; its size in bytes."""
    with path.open("wb") as out:
        if source is not None:
            with source.open("rb") as lines:
                for _, line in zip(range(rows + 1), lines, strict=False):
                    out.write(line)
            return out.tell()
        import numpy as np

        random = np.random.default_rng(0)
        usages = np.repeat(
            ["Training", "PublicTest", "PrivateTest"], [rows - rows // 5, rows // 10, rows // 5 - rows // 10]
        )
        out.write(b"emotion,pixels,Usage\n")
        for usage in usages:
            pixels = random.normal(129, 65, 48 * 48).clip(0, 255).astype(int).tolist()
            out.write(f"{random.integers(7)},{' '.join(map(str, pixels))},{usage}\n".encode())
        return out.tell()


def show(report: dict[str, Any]) -> None:
    kind = "invented" if report["invented"] else "real"
    print(f"{kind} csv of {report['rows']:,} faces, {report['bytes'] / 1e6:.0f} MB, {report['cores']} cores")
    print(f"{'way':24} {'wall s':>8} {'processor s':>12} {'peak MiB':>9} {'times ours':>11} {'processor':>10}")
    for way, run in report["ways"].items():
        ratio = report["ratios"].get(way, {"wall": "", "processor": ""})
        print(
            f"{way:24} {run['wall']:8.3f} {run['processor']:12.3f} {run['peak_mib']:9.0f} "
            f"{ratio['wall']:>11} {ratio['processor']:>10}"
        )
    print(f"budget: {BUDGET['ratio']:g} times, {BUDGET['peak_mib']:g} MiB, later opens {BUDGET['open_ms']:g} ms")


if __name__ == "__main__":
    main()
