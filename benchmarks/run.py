"""The budgets, measured: how fast, how large, and how that compares with what people use today.

    make bench                                                 # everything of ours, as a table
    python benchmarks/run.py --peers fer,hsemotion-onnx        # against peers, from environments of their own
    python benchmarks/run.py --csv fer2013.csv                 # the import of the real csv instead of an invented one
    python benchmarks/run.py --peers fer --record              # keep the figures and write the page of the docs
    python benchmarks/run.py --docs [--check]                  # only the page, from the figures that are kept

Measure on a machine that does nothing else; the share of the processor that others took is printed and kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import page
import video
from lines import in_lines
from others import Load

import mien
import recognition
from mien.bench import bench
from mien.results.provenance import source_state
from mien.store import write_text

ROOT = recognition.ROOT
PARTS = ("size", "start", "face", "batch", "photo", "import", "video", "bench")
QUIET = 0.05


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="", help="comma-separated: fer, hsemotion-onnx")
    parser.add_argument("--model", default="", help="a bundle; by default the built-in one")
    parser.add_argument("--only", default=",".join(PARTS), help=f"comma-separated, of {', '.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each side in each round")
    parser.add_argument("--csv", type=Path, help="fer2013.csv for the import; invented if left away")
    parser.add_argument("--record", action="store_true", help="keep the figures and write the page of the docs")
    parser.add_argument("--json", action="store_true", help="print the record instead of tables")
    parser.add_argument("--docs", action="store_true", help="measure nothing, write the page from the kept figures")
    parser.add_argument("--check", action="store_true", help="with --docs: change nothing, exit 1 if the page is stale")
    arguments = parser.parse_args()
    if arguments.docs or arguments.check:
        sys.exit(page.write(check=arguments.check))
    parts = [part for part in arguments.only.split(",") if part]
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"no part is called {', '.join(unknown)}; choose from {', '.join(PARTS)}")
    record = measure(arguments, parts)
    if arguments.record:
        keep(record)
    print(json.dumps(record, indent=1, ensure_ascii=False) if arguments.json else page.tables(record))
    if arguments.record:
        sys.exit(page.write(check=False))


def measure(arguments: argparse.Namespace, parts: list[str]) -> dict[str, Any]:
    """All parts that were asked for, with what they were measured on."""
    sides = [recognition.ours(arguments.model)]
    skipped: dict[str, str] = {}
    for name in filter(None, arguments.peers.split(",")):
        found = recognition.peer(name, say)
        if isinstance(found, str):
            skipped[name] = found
            say(f"{name} is left out: {found}")
        else:
            sides.append(found)
    bundle = recognition.bundle(arguments.model)
    commit, dirty = source_state()
    record: dict[str, Any] = {
        "schema": 1,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "mien": mien.__version__,
        "commit": commit,
        "dirty": dirty,
        "bundle": {
            "name": bundle.card.name,
            "sha256": bundle.card.sha256,
            "precision": bundle.card.precision,
            "bytes": len(bundle.model),
        },
        "machine": bench.machine(),
        "photo": "examples/astronaut.jpg at 640×480",
        "peers": {side.name: side.note for side in sides[1:]},
        "skipped": skipped,
    }
    load = Load()
    record["rows"] = recognition.compare(sides, parts, rounds=arguments.rounds, seconds=arguments.seconds, say=say)
    if "bench" in parts:
        model = arguments.model or None
        done = bench.measure(
            model,
            rounds=arguments.rounds,
            seconds=arguments.seconds,
            on_progress=lambda done, rounds: say(f"mien bench, round {done} of {rounds}"),
        )
        record["bench"] = [row.to_json() for row in done]
    if "import" in parts:
        record["import"] = data_import(arguments.csv)
    if "video" in parts:
        say("video")
        record["video"] = video.measure()
    record["others"] = load.others()
    if record["others"] is not None and record["others"] > QUIET:
        say(f"others used {record['others']:.0%} of the processor meanwhile: the figures are worse than the truth")
    return record


def data_import(csv: Path | None) -> dict[str, Any]:
    """What dataset_import.py says."""
    say("import of the csv")
    command = [sys.executable, str(ROOT / "benchmarks" / "dataset_import.py"), "--json", "--rounds", "3"]
    command += ["--csv", str(csv)] if csv else []
    return dict(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))


def keep(record: dict[str, Any]) -> None:
    """Into the recorded figures, all of them at once: what stands in one table was measured in one run."""
    if not all(record.get(part) for part in ("rows", "bench", "import", "video")):
        raise SystemExit("only a whole measurement is kept, so that all figures belong together: leave --only away")
    write_text(page.RECORD, in_lines(record))
    write_text(page.PACKAGED, page.packaged(record))


def say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
