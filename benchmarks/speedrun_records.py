"""What a speedrun's records say: what was run, what may be opened with which seeds, and whether the mark is reached.

A run is of a version, a recipe, a view and a data set; all four together are its key. Trials are nobody's key. What
PublicTest has seen with enough seeds is frozen: its first opening fixes the seeds that are opened, whatever number of
calls they take, and the mark is reached by the mean of exactly these.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

SEEDS = 5
"""Seeds that a version is run with on PublicTest before it may be opened, and opened with, at least."""
KEY = ("version", "recipe_hash", "view", "data_fingerprint")

Key = tuple[str, ...]
Record = Mapping[str, Any]


def key_of(record: Record) -> Key:
    """Of a run, of an entry of the frozen ones, or of a row."""
    return tuple(str(record[name]) for name in KEY)


def key_for(version: Record, recipe_hash: str, data_fingerprint: str) -> Key:
    """Of a version of the table on these data."""
    return version["name"], recipe_hash, view_of(version), data_fingerprint


def view_of(version: Record) -> str:
    return str(version.get("view", "one"))


def read(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs and the frozen versions of a file of records; none where there is none."""
    if not path.exists():
        return [], []
    found = json.loads(path.read_text(encoding="utf-8"))
    runs, frozen = list(found["runs"]), list(found.get("frozen", []))
    if lacking := sorted({name for each in (*runs, *frozen) for name in KEY if name not in each}):
        sys.exit(f"{path} does not say {', '.join(lacking)} of its runs, so they cannot count; leave it out")
    return runs, frozen


def finished_in(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The runs that noted their own end there, perhaps after the file of all records was written last."""
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))], []


def noted(ledger: Path) -> set[str]:
    """Ids of the results in a ledger, without those that were withdrawn."""
    from mien.results import Ledger

    return set(Ledger(ledger).recorded())


def openings(ledger: Path, key: Key) -> int:
    """How often a ledger says that a version was opened."""
    from mien.results import Ledger

    found = Ledger(ledger).openings()
    return sum((each.recipe_hash, each.views, each.data_fingerprint) == key[1:] for each in found)


def merged(*records: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> tuple[list[Any], list[Any]]:
    """The runs and the frozen versions of several files, each once.

    Raises:
        SystemExit: two of them fixed different seeds for the same.
    """
    runs: list[dict[str, Any]] = []
    frozen: dict[Key, dict[str, Any]] = {}
    for more, fixed in records:
        runs += [run for run in more if run not in runs]
        for each in fixed:
            if frozen.setdefault(key_of(each), each)["seeds"] != each["seeds"]:
                sys.exit(
                    f"the records fix different seeds for {each['version']}: keep to the file of its first opening"
                )
    return runs, list(frozen.values())


def seen(runs: list[dict[str, Any]], key: Key, seed: int, opened: bool) -> bool:
    """Whether such a run is there; trials are none."""
    return any(
        key_of(run) == key and run["seed"] == seed and (run["accuracy"] is not None) == opened
        for run in runs
        if not run["trial"]
    )


def freeze(
    key: Key, runs: list[dict[str, Any]], frozen: list[dict[str, Any]], openings: int = 0, count: int | None = None
) -> dict[str, Any]:
    """The seeds a version is opened with: those of its first opening, or else fresh ones, which chose nothing.

    Args:
        key: of it.
        runs: so far.
        frozen: what was fixed so far.
        openings: of this recipe under this view that the ledger holds.
        count: of seeds that the caller wants.

    Raises:
        SystemExit: PublicTest did not see it often enough, the caller wants too few or others than were fixed, or it
            was opened and nothing says with which seeds.
    """
    name = key[0]
    for each in frozen:
        if key_of(each) == key:
            if count not in (None, len(each["seeds"])):
                sys.exit(f"{name} is opened with the seeds {told_seeds(each)} fixed at its first opening; no --seeds")
            return each
    if openings or any(key_of(run) == key and run["accuracy"] is not None for run in runs):
        sys.exit(
            f"{name} was opened before and no record says with which seeds: give the speedrun.json of that call with "
            "--before"
        )
    used = {run["seed"] for run in runs if key_of(run) == key and run["accuracy"] is None and not run["trial"]}
    if len(used) < SEEDS:
        sys.exit(
            f"{name} is not frozen: its recipe was run on PublicTest, on this data and under this view, with "
            f"{len(used)} of {SEEDS} seeds. Run it without --open first, and give --before speedrun.json"
        )
    count = count or SEEDS
    if count < SEEDS:
        sys.exit(f"a version is opened with {SEEDS} seeds at least, in as many calls as they take; no --seeds {count}")
    return {**dict(zip(KEY, key, strict=True)), "seeds": list(range(max(used) + 1, max(used) + 1 + count))}


def told_seeds(frozen: Record) -> str:
    return ", ".join(map(str, frozen["seeds"]))


def lost(runs: list[dict[str, Any]], noted: Collection[str]) -> list[str]:
    """Results of opened runs that the ledger does not hold."""
    return [run["result"] for run in runs if run["accuracy"] is not None and run["result"] not in noted]


def summaries(
    runs: list[dict[str, Any]], mark: float, frozen: Collection[Record] = (), noted: Collection[str] = ()
) -> list[dict[str, Any]]:
    """Means over seeds, of what was chosen by, of what was opened and of trials apart; the fastest first.

    Args:
        runs: all of them.
        mark: to be passed, 0–1.
        frozen: seeds by version, as `freeze` fixed them.
        noted: ids of the results in the ledger; an opened run counts only if its result is among them.
    """
    seeds = {key_of(each): sorted(each["seeds"]) for each in frozen}
    groups: dict[tuple[Key, str], list[dict[str, Any]]] = {}
    for run in runs:
        groups.setdefault((key_of(run), _split(run, noted)), []).append(run)
    found = []
    for (key, split), members in groups.items():
        opened = split == OPENED
        scores = [run["selection_accuracy" if run["accuracy"] is None else "accuracy"] for run in members]
        times = [run["seconds"] for run in members]
        shares = [run["peak_share"] for run in members if run["peak_share"] is not None]
        mean = statistics.mean(scores)
        exactly = sorted(run["seed"] for run in members) == seeds.get(key)
        found.append(
            {
                **dict(zip(KEY, key, strict=True)),
                "split": split,
                "seeds": len(members),
                "of": len(seeds[key]) if opened and key in seeds else None,
                "mean": mean,
                "sd": statistics.stdev(scores) if len(scores) > 1 else None,
                "seconds": statistics.mean(times),
                "slowest": max(times),
                "flops": members[0]["flops"],
                "peak_share": statistics.mean(shares) if shares else None,
                "reached": opened and exactly and len(members) >= SEEDS and mean > mark,
            }
        )
    return sorted(found, key=lambda row: (row["split"], row["seconds"]))


OPENED = "PrivateTest"


def _split(run: Record, noted: Collection[str]) -> str:
    if run["trial"]:
        return "trial, says nothing"
    if run["accuracy"] is None:
        return "PublicTest (selection, never ranked)"
    return OPENED if run["result"] in noted else "PrivateTest, not in the ledger, counts for nothing"


def table(rows: list[dict[str, Any]], mark: float) -> str:
    """All versions that were run."""
    head = f"{'version':20} {'split':11} {'seeds':>6} {'mean':>7} {'sd':>6} {'seconds':>8} {'PFLOP':>6} {'of peak':>8}"
    lines = [f"the mark: {mark:.2%}, on PrivateTest, mean of the seeds fixed at the first opening", head]
    for row in rows:
        sd = "" if row["sd"] is None else f"{row['sd']:.2%}"
        share = "" if row["peak_share"] is None else f"{row['peak_share']:.1%}"
        seeds = f"{row['seeds']}" + (f"/{row['of']}" if row["of"] else "")
        split, _, note = row["split"].partition(", ")
        note = f"  {note}" if note else "  reached" if row["reached"] else ""
        lines.append(
            f"{row['version']:20} {split.split()[0]:11} {seeds:>6} {row['mean']:7.2%} {sd:>6} "
            f"{row['seconds']:8.1f} {row['flops'] / 1e15:6.2f} {share:>8}{note}"
        )
    return "\n".join(lines)
