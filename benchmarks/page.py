"""The recorded figures as tables: on the terminal, and as a page of the documentation that nobody edits by hand."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mien.bench.bench import STEPS
from mien.results import load_all
from mien.results.provenance import source_words
from mien.results.tables import percent
from mien.store import write_text

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "benchmarks" / "recorded" / "recognition.json"
PACKAGED = ROOT / "src" / "mien" / "bench" / "recorded.json"
SERVICE = RECORD.with_name("service.json")
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"

RESULTS = ROOT / "results"
LEAST_ACCURACY = 0.73
"""The other half of the budget for one face."""

FACE_NOTE = (
    "The budget for one face asks for a time and an accuracy of the same bundle, on PrivateTest under view `one`; the "
    "accuracy is that of the recorded result of the bundle that was timed."
)
HEAD = """\
<!-- Written by benchmarks/run.py from benchmarks/recorded/recognition.json; changes made here are lost. -->
# Speed and size

What recognition costs on a processor, beside the budgets that the project set itself and beside the packages that
people use today. [benchmarks/README.md](../../benchmarks/README.md) says how it is measured and how to repeat it;
`mien bench` measures your own machine and shows it beside the last table.

"""


def write(*, check: bool) -> int:
    """Write the page and the figures in the package from the record; with ``check`` only say whether they are stale.

    Returns:
        Exit status: 1 if ``check`` found something stale.
    """
    if not RECORD.is_file():
        sys.exit(f"{RECORD.relative_to(ROOT)} is not there yet; measure with: python benchmarks/run.py --record")
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    stale = False
    service = json.loads(SERVICE.read_text(encoding="utf-8")) if SERVICE.is_file() else {}
    for path, text in ((PAGE, HEAD + tables(record) + service_tables(service)), (PACKAGED, packaged(record))):
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale = True
        if check:
            print(f"{path.relative_to(ROOT)} is stale; run: python benchmarks/run.py --docs", file=sys.stderr)
        else:
            write_text(path, text)
    return int(check and stale)


def packaged(record: dict[str, Any]) -> str:
    """What the package carries: the rows that `mien bench` measures, and what they were measured with."""
    kept = {key: record[key] for key in ("date", "mien", "commit", "bundle", "machine")}
    return json.dumps({**kept, "rows": record["bench"]}, indent=1, ensure_ascii=False) + "\n"


def tables(record: dict[str, Any]) -> str:
    """The record as Markdown."""
    parts = [measured_on(record)]
    accuracy = accuracy_of(record["bundle"]["sha256"])
    if record["rows"]:
        parts += ["## Against the budgets and the peers", sides_table(record, accuracy), FACE_NOTE]
        parts += list(slower_than(record))
        parts += [f"`{name}`: {note}." for name, note in record["peers"].items() if note]
        parts += [f"`{name}` was left out: {reason}." for name, reason in record["skipped"].items()]
        for row in record["rows"]:
            if row.get("steps"):
                parts += [f"## Where the time goes: {row['what']}", steps_table(row["steps"])]
    if record.get("import"):
        parts += ["## Import of FER2013's csv", import_table(record["import"])]
    if record.get("video"):
        parts += ["## Video", video_table(record["video"])]
    if record.get("bench"):
        parts += ["## What `mien bench` compares with", bench_table(record["bench"], accuracy)]
    return "\n\n".join(parts) + "\n"


def measured_on(record: dict[str, Any]) -> str:
    machine, bundle = record["machine"], record["bundle"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{source(record)}, bundle `{bundle['name']}` ({bundle['precision']}, {bundle['bytes'] / 1e6:.1f} MB, SHA-256 "
        f"{bundle['sha256'][:12]}…). {machine['processor']}, {machine['cores']} cores "
        f"({', '.join(machine['features'])}), Python {machine['python']}, {versions}.{busy(record)}\n\n"
        "Medians over the rounds, with the smallest and the largest; ratios say how many times better mien is."
    )


def source(record: dict[str, Any]) -> str:
    """Day and source of a measurement."""
    return f"{record['date']}, mien {record['mien']}, {source_words(record)}"


def busy(record: dict[str, Any]) -> str:
    """What else the machine did, as far as it was noted; begins with a space where it says anything."""
    if record.get("others") is not None:
        return f" Others used {record['others']:.1%} of the processor meanwhile."
    if "others_running" in record:  # how it was noted before
        return f" The machine's load was {record['others_running']:.1f} when it began, of whatever ran just before."
    return ""


def measured_when(record: dict[str, Any]) -> str:
    """The same for a part that was measured by itself."""
    return f"({source(record)}.{busy(record)})"


def accuracy_of(sha256: str) -> float | None:
    """Accuracy on PrivateTest, view `one`, of the very bundle that was timed; None where no result is recorded."""
    found = [r for r in load_all(RESULTS) if r.weights_sha256 == sha256 and r.views == "one" and r.test is not None]
    return float(found[0].metrics["accuracy"]) if found else None


def slower_than(record: dict[str, Any]) -> Iterator[str]:
    """Where a peer is faster or smaller, said in words."""
    for row in record["rows"]:
        for name, ratio in row.get("ratios", {}).items():
            if ratio["median"] < 1:
                ours, theirs = (number(row["sides"][side]["median"]) for side in ("mien", name))
                yield f"`{name}` does better than mien here: {row['what']}, {theirs} {row['unit']} against {ours}."


def sides_table(record: dict[str, Any], accuracy: float | None = None) -> str:
    peers = list(record["peers"])
    head = ["what", "unit", "mien", "budget", *(cell for name in peers for cell in (name, "ratio"))]
    lines = []
    for row in record["rows"]:
        sides, ratios = row["sides"], row.get("ratios", {})
        cells = [row["what"], row["unit"], ranged(sides["mien"]), budget(row, accuracy)]
        for name in peers:
            cells += [ranged(sides[name]) if name in sides else "–", times(ratios[name]) if name in ratios else "–"]
        lines.append(cells)
    return markdown(head, lines)


def steps_table(steps: dict[str, Any]) -> str:
    total = sum(steps[step]["median"] for step in steps)
    lines = [
        [step, ranged(steps[step]), f"{steps[step]['median'] / total:.0%}"] for step in sorted(steps, key=STEPS.index)
    ]
    return markdown(["step", "ms", "share"], lines)


def import_table(found: dict[str, Any]) -> str:
    kind = "An invented csv of the same size" if found["invented"] else "The official csv"
    lines = [
        [
            way,
            number(run["wall"]),
            number(run.get("first_wall", run["wall"])),  # recorded before there were rounds: the only run
            number(run["processor"]),
            f"{run['peak_mib']:.0f}",
            *[f"{ratio[of]:g} ×" if (ratio := found["ratios"].get(way)) else "–" for of in ("wall", "processor")],
        ]
        for way, run in found["ways"].items()
    ]
    text = (
        f"{kind}, {found['bytes'] / 1e6:.0f} MB, {found['rows']:,} faces. Ours includes all checks, the search for "
        "exact duplicates, the fingerprint and the copy on disk; the others do none of that."
    )
    if "rounds" in found:
        text += (
            f" {found['rounds']} rounds of all ways in turn: the fastest run of each counts; beside it the first, "
            "which meets memory that nobody has touched lately."
        )
    heads = ["way", "wall s", "first run", "processor s", "peak MiB", "mien's import is faster by", "in processor time"]
    verdicts = "\n".join(["| budget | measured | |", "| --- | ---: | --- |", *import_verdicts(found)])
    return f"{text}\n\n{markdown(heads, lines)}\n\n{verdicts}"


def video_table(found: dict[str, Any]) -> str:
    width, height = found["size"]
    rows = [
        [row["what"], number(row["frames_per_second"]), number(row["processor_seconds"]), f"{row['peak_mib']:.0f}"]
        for row in found["rows"]
    ]
    steps = [[step, f"{milliseconds:.2f}"] for step, milliseconds in found["steps"].items()]
    return (
        f"`mien video`, {width} × {height}, one face, detection every 5th frame; whole calls, the start of the process "
        "included. The budgets: 60 frames/s to a CSV, 30 with H.264 output, 500 MiB whatever the length.\n\n"
        + markdown(["what", "frames/s", "processor s", "peak MiB"], rows)
        + "\n\nEach step by itself; in a call they overlap on the cores.\n\n"
        + markdown(["step", "ms per frame"], steps)
    )


def service_tables(found: dict[str, Any]) -> str:
    """What service.py recorded: each part by itself, as each was measured on its own."""
    parts = []
    if load := found.get("load"):
        rows = [
            [str(row["clients"]), number(row["requests_per_second"]), number(row["p50_ms"]), number(row["p99_ms"])]
            for row in load["rows"]
        ]
        told = f"`mien serve`, {load['photos']} in turn; clients that ask without a pause share the cores with it."
        parts += [f"{told} deepface's server could not be measured beside it: its weights cannot be had here."]
        parts += [markdown(["clients", "requests/s", "median ms", "99th percentile ms"], rows), measured_when(load)]
    if live := found.get("live"):
        width, height = live["camera"]
        parts += [
            f"`mien live` with a camera of {width} × {height}, in Chromium without a graphics card on the same cores: "
            f"{live['frames_per_second']:.0f} frames/s, {live['service_ms_per_frame']:.0f} ms of the service "
            f"per frame. The budget: 15 frames/s. {measured_when(live)}"
        ]
    if web := found.get("web"):
        parts += [
            f"The page of `mien export default --web`: {web['bytes'] / 2**20:.1f} MiB, ready after "
            f"{web['ready_ms']} ms, the portrait answered in {web['first_answer_ms']} ms at first and "
            f"{web['later_answers_ms']} ms later. {measured_when(web)}"
        ]
    if over := found.get("overload"):
        memory, statuses = over["memory_mib"], over["statuses"]
        parts += [
            f"Overload: {over['clients']} clients for {over['seconds']} seconds, {over['photos']}. "
            f"{statuses.get('200', 0):,} answers, {statuses.get('429', 0):,} requests shed with 429, "
            f"{statuses.get('503', 0):,} accepted ones too late (503), {over['connections_broken']} connections "
            f"broken; peak memory {memory['first_third_peak']:.0f} MiB in the first third of the time and "
            f"{memory['last_third_peak']:.0f} MiB in the last. {measured_when(over)}"
        ]
    return "\n## The service and the pages\n\n" + "\n\n".join(parts) + "\n" if parts else ""


def bench_table(rows: list[dict[str, Any]], accuracy: float | None = None) -> str:
    return markdown(
        ["what", "unit", "recorded", "budget"],
        [[row["what"], row["unit"], ranged(row), budget(row, accuracy)] for row in rows],
    )


def budget(row: dict[str, Any], accuracy: float | None = None) -> str:
    """The whole budget and whether it is kept: for one face that is a time at an accuracy.

    Args:
        row: as recorded.
        accuracy: of the bundle that was timed; None where it is unknown.
    """
    limit = row["budget"]
    if limit is None:
        return "–"
    value = row["median"] if "median" in row else row["sides"]["mien"]["median"]
    kept = value >= limit if row["more_is_better"] else value <= limit
    asked = f"{'≥' if row['more_is_better'] else '≤'} {limit:,g}"
    if row["id"] != "face":
        return f"{asked}, {'kept' if kept else '**missed**'}"
    asked += f" at ≥ {LEAST_ACCURACY:.0%}"
    if accuracy is None:
        return f"{asked}: time {'kept' if kept else '**missed**'}, accuracy of this bundle not recorded"
    right = accuracy >= LEAST_ACCURACY
    if kept and right:
        return f"{asked}, kept ({percent(accuracy)})"
    return f"{asked}: time {_kept(kept)}, accuracy {_kept(right)}: {percent(accuracy)}"


def _kept(kept: bool) -> str:
    return "kept" if kept else "**missed**"


def import_verdicts(found: dict[str, Any]) -> Iterator[str]:
    """Each budget of the import with its measurement and whether it is kept."""
    for way in ("torchvision", "pandas loop"):
        if ratio := found["ratios"].get(way, {}).get("wall"):
            yield f"| ≥ 10 × as fast as {way} | {ratio:g} × | {_kept(ratio >= 10)} |"
    ways = found["ways"]
    if "mien import" in ways:
        peak = ways["mien import"]["peak_mib"]
        yield f"| import: at most 700 MiB | {peak:.0f} MiB | {_kept(peak <= 700)} |"
    if "mien open" in ways:
        opened = ways["mien open"]["wall"]
        yield f"| later opens under 50 ms | {1000 * opened:.1f} ms | {_kept(opened < 0.05)} |"


def ranged(spread: dict[str, Any]) -> str:
    """Median with the range in brackets, or one number where there was one round or no difference."""
    low, middle, high = (number(spread[key]) for key in ("min", "median", "max"))
    return middle if low == high else f"{middle} ({low}–{high})"


def times(ratio: dict[str, Any]) -> str:
    return " ".join([ranged(ratio), "×"])


def number(value: float) -> str:
    """Three digits that count, thousands grouped."""
    if abs(value) >= 100 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 and abs(value) < 10 else f"{value:.3g}"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    marks = ["---", *("---:" for _ in head[1:])]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, marks, *lines))
