"""The fastest road to a published accuracy: seconds of one accelerator from process start to predictions.

    python benchmarks/speedrun.py --plan                                             # versions, estimates, no training
    python benchmarks/speedrun.py --data fer2013.npz --out out --budget 540s         # on PublicTest, seed by seed
    python benchmarks/speedrun.py --data fer2013.npz --out out --before seen.json --open compact-wide   # PrivateTest
    python benchmarks/speedrun.py --data drawn --out out --device cpu --steps 2      # tries the whole road

The mark is VGGNet's claim. Versions stand in `speedrun.toml`, each a recipe for the one training loop. Every seed is a
process of its own, and its clock starts before Python does; the data lie imported on disk. One process runs at a time.

Without `--open` only PublicTest is looked at, and the figures are those of selection: they choose. `--open` takes one
version that was run on PublicTest (this recipe, view and data) with at least five seeds, in `--out` or in a file
`--before`. Its first opening fixes as many seeds that were not among them; later calls go on with these and no others,
and the mark is reached by the mean of exactly these. Each run is measured on PrivateTest by mien's own evaluation, and
the ledger notes it; what was opened counts only while the ledger holds it. Take over what comes back with
`training_queue.py --collect` before the next call.

Records are written after every run, so that a machine that goes away takes one run with it. What is measured are
weights rounded to half precision; those of opened runs come back as far as there is room (`--plan` says how many).
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import speedrun_records as records
from estimate import FACES, PEAKS, estimates, peak_of
from parcel import HALF, LEDGER, begin, halve, pack, room, save_rarely
from training_queue import known_commit, prepare, seconds

if TYPE_CHECKING:
    from mien.training import Recipe

HERE = Path(__file__).resolve().parent
PARTS = ("start", "data", "besides", "training", "capture", "selection", "evaluation")
"""What the seconds of a run are made of; see `parts_of`."""
BESIDES = 20.0
"""Seconds that a run is expected to take besides training, before one was seen."""
RECORDS = "records"
"""Folder within the working one: each run's record, written by the run itself."""
GRACE = 5.0
"""Seconds before the end of the budget at which a run that is still going is ended."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="a path of FER2013, or 'drawn'")
    parser.add_argument("--out", type=Path, help="where records, and with --open results, are put")
    parser.add_argument("--budget", type=seconds, default=540.0, help="for example 540s or 9m")
    parser.add_argument("--versions", default="", help="comma-separated names; all by default")
    parser.add_argument("--table", type=Path, default=HERE / "speedrun.toml")
    parser.add_argument("--seeds", type=int, help=f"of each version; {records.SEEDS}, or what the first opening fixed")
    parser.add_argument("--device", default="auto", help="auto, cuda or cpu")
    parser.add_argument("--peak", type=float, help="dense bf16 operations per second; by default by the device's name")
    parser.add_argument("--steps", type=int, default=0, help="a trial: so many steps of every stage, nothing recorded")
    parser.add_argument("--open", metavar="VERSION", help="measure this version on PrivateTest, with fresh seeds")
    parser.add_argument("--before", type=Path, help="a speedrun.json of earlier calls")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="the ledger to continue")
    parser.add_argument("--plan", action="store_true", help="print estimates and train nothing")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--began", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        save_rarely()
        print(json.dumps(run_once(json.loads(options.child), options)), flush=True)
        return
    versions = wanted(options.table, options.open or options.versions)
    if options.plan:
        print(plan(versions, options.peak or PEAKS["H200"]))
        return
    if options.out is None:
        parser.error("give --out FOLDER")
    if options.open and (options.data == "drawn" or len(versions) != 1):
        parser.error("--open is of one version, and about FER2013: drawn faces have no claim")
    sys.exit(supervise(versions, options))


def wanted(table: Path, names: str) -> list[dict[str, Any]]:
    """The versions of the table, those called ``names`` only, in the table's order."""
    found: list[dict[str, Any]] = tomllib.loads(table.read_text(encoding="utf-8"))["version"]
    only = [name for name in names.split(",") if name]
    if unknown := sorted(set(only) - {version["name"] for version in found}):
        sys.exit(f"the table has no version {', '.join(unknown)}; it has {', '.join(v['name'] for v in found)}")
    return [version for version in found if not only or version["name"] in only]


def recipe_of(version: Mapping[str, Any]) -> Recipe:
    """The whole recipe of a version."""
    from mien import systems
    from mien.training import Recipe
    from mien.training.values import merge

    base = Recipe.of(systems.card(version["system"]), version.get("base", "mien"))
    return Recipe.from_dict({**merge(base.to_dict(), version["recipe"]), "name": version["name"]})


def mark() -> float:
    """The claim that is to be reached, 0–1."""
    from mien.systems.claims import claims

    values = [claim.value for claim in claims("vggnet", "fer2013") if claim.metric == "accuracy" and claim.value]
    return max(values) / 100


def work_of(recipe: Recipe, faces: int, epochs: Mapping[str, int] | None = None) -> int:
    """Floating-point operations of a training, by the network's multiply-accumulates, forwards and back.

    Args:
        recipe: of it.
        faces: of an epoch.
        epochs: done in each stage; by default the planned ones.
    """
    return sum(work.flops * faces * (epochs or {}).get(stage.name, stage.epochs) for stage, work in estimates(recipe))


def plan(versions: list[dict[str, Any]], peak: float) -> str:
    """Estimates of each version on a device of that peak."""
    lines = [f"the mark: {mark():.2%} · peak {peak / 1e12:.0f} TFLOP/s", ""]
    lines.append(f"{'version':20} {'epochs':>6} {'PFLOP':>6} {'at the peak':>11} {'expected':>9} {'fp16':>9}  about")
    rooms = {}
    for version in versions:
        recipe = recipe_of(version)
        work, half = work_of(recipe, FACES), estimates(recipe)[-1][1].half
        rooms[version["name"]] = min(records.SEEDS, room(others=1) // half)
        lines.append(
            f"{version['name']:20} {recipe.planned_epochs:6} {work / 1e15:6.2f} {work / peak:9.1f} s "
            f"{expected(recipe, peak):7.0f} s {half / 1e6:6.1f} MB  {version['about']}"
        )
    lines.append(f"\nOf {records.SEEDS} opened runs come back in one call, beside all results, the rounded weights of:")
    lines += [f"{name:20} {count}" + (" (the rest is lost)" * (count < records.SEEDS)) for name, count in rooms.items()]
    return "\n".join(lines)


def expected(recipe: Recipe, peak: float) -> float:
    """Seconds of a run, start and evaluation included, before one was seen."""
    return BESIDES + sum(
        stage.epochs * work.seconds(FACES, stage.batch_size, peak=peak, recorded=recipe.capture)
        for stage, work in estimates(recipe)
    )


# --- the parent: one run after the other ------------------------------------------------------------------------------


def supervise(versions: list[dict[str, Any]], options: argparse.Namespace) -> int:
    """Run seed after seed of all versions while the budget lasts."""
    began = time.time()
    deadline = began + options.budget
    out: Path = options.out
    state = begin(out, options.results / "ledger.jsonl", trial=bool(options.steps))
    recipes = {version["name"]: recipe_of(version) for version in versions}
    data = fingerprint(options)
    keys = {v["name"]: records.key_for(v, recipes[v["name"]].hash, data) for v in versions}
    files = [path for path in (options.before, out / "speedrun.json") if path]
    runs, frozen = records.merged(*map(records.read, files), records.finished_in(state / RECORDS))
    runs = [run for run in runs if run["trial"] == bool(options.steps)]
    seeds = {name: list(range(options.seeds or records.SEEDS)) for name in recipes}
    if options.steps:
        seeds, runs = {name: [0] for name in recipes}, []
    elif options.open:
        if gone := records.lost(runs, records.noted(state / LEDGER)):
            sys.exit(
                f"the ledger does not hold {', '.join(gone)}, which the records say were opened; take over what came "
                "back first (training_queue.py --collect OUT)"
            )
        key = keys[options.open]
        fixed = records.freeze(key, runs, frozen, records.openings(state / LEDGER, key), options.seeds)
        frozen = [*(each for each in frozen if each is not fixed), fixed]
        seeds = {options.open: fixed["seeds"]}
        print(f"{options.open} is opened with the seeds {records.told_seeds(fixed)}, now and in calls to come")
    if not options.steps and not known_commit():
        print("no commit is known here, and records will say so: set MIEN_COMMIT", file=sys.stderr)
    _note(out, state, runs, frozen)  # the seeds are fixed before the first opening
    peak = options.peak or PEAKS["H200"]
    likely = {name: 0.0 if options.steps else expected(recipe, peak) for name, recipe in recipes.items()}
    failed = 0
    turns = [(seed, version) for place in range(max(map(len, seeds.values()))) for version in versions
             for seed in seeds[version["name"]][place : place + 1]]  # fmt: skip
    for seed, version in turns:
        name = version["name"]
        if records.seen(runs, keys[name], seed, bool(options.open)):
            continue
        left = deadline - time.time()
        if likely[name] > left - GRACE:
            print(f"{time.time() - began:6.1f} s  {name}, seed {seed}: left out, {left:.0f} s left", flush=True)
            continue
        record, took = start(version, seed, options, state, left - GRACE)
        if record is None:
            failed += 1
            print(f"{time.time() - began:6.1f} s  {name}, seed {seed}: failed, its log says why", flush=True)
        else:
            runs.append(record)
            likely[name] = took * 1.1
            print(f"{time.time() - began:6.1f} s  {told(record)}", flush=True)
        if without := _note(out, state, runs, frozen):
            print(f"{'':10}no room for the weights of {', '.join(without)}", flush=True)
    print("\n" + records.table(records.summaries(runs, mark(), frozen, records.noted(state / LEDGER)), mark()))
    return 1 if failed else 0


def fingerprint(options: argparse.Namespace) -> str:
    """Of the faces that are about to be learnt from, which are imported with this.

    Raises:
        SystemExit: they are to be opened, and are not those that the claim is about.
    """
    import mien
    from mien.evaluation.parts import protocol_of
    from mien.results.documents import DEFAULT_PROTOCOL

    prepare(options.data)
    data = mien.load_dataset("drawn" if options.data == "drawn" else "fer2013")
    if options.open and protocol_of(data) != DEFAULT_PROTOCOL:
        sys.exit(f"{options.data} is not the data of {DEFAULT_PROTOCOL}, which the claim is about; it is not opened")
    return str(data.fingerprint)


def _note(out: Path, state: Path, runs: list[dict[str, Any]], frozen: list[dict[str, Any]]) -> list[str]:
    """Write the records and pack; the names of runs whose weights found no room."""
    from mien.store.atomic import write_text

    rows = records.summaries(runs, mark(), frozen, records.noted(state / LEDGER))
    report = {"mark": mark(), "frozen": frozen, "runs": runs, "versions": rows}
    write_text(out / "speedrun.json", json.dumps(report, indent=1) + "\n")
    return pack(state, out)


def start(
    version: Mapping[str, Any], seed: int, options: argparse.Namespace, state: Path, left: float
) -> tuple[dict[str, Any] | None, float]:
    """One run in a process of its own: its record, or None, and its seconds."""
    data = "drawn" if options.data == "drawn" else "fer2013"  # imported by now
    command = [sys.executable, __file__, "--data", data, "--out", str(state), "--device", options.device]
    command += ["--steps", str(options.steps), "--child", json.dumps({**version, "seed": seed, "open": options.open})]
    command += ["--peak", str(options.peak)] if options.peak else []
    log = state / f"{version['name']}-s{seed}{'-open' if options.open else ''}.log"
    began = time.time()
    with log.open("wb") as errors:
        process = subprocess.Popen([*command, "--began", repr(began)], stdout=subprocess.PIPE, stderr=errors)
        try:
            told, _ = process.communicate(timeout=max(1.0, left))
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return None, time.time() - began
    took = time.time() - began
    lines = told.decode().strip().splitlines()
    return (json.loads(lines[-1]) if process.returncode == 0 and lines else None), took


def told(run: Mapping[str, Any]) -> str:
    """A run in a line."""
    score = f"PublicTest {run['selection_accuracy']:.2%}"
    if run["accuracy"] is not None:
        score = f"PrivateTest {run['accuracy']:.2%} ({score})"
    share = "" if run["peak_share"] is None else f" · {run['peak_share']:.1%} of the peak while training"
    parts = ", ".join(f"{name} {value:.1f}" for name, value in run["parts"].items() if abs(value) >= 0.05)
    return f"{run['version']}, seed {run['seed']}: {run['seconds']:.1f} s, {score}{share}\n{'':10}{parts}"


# --- a child: one run -------------------------------------------------------------------------------------------------


def run_once(version: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Train a version with one seed and measure it; what it took, from the moment when the process was started."""
    import torch

    import mien
    import mien.training
    from mien.evaluation.environment import environment
    from mien.results.provenance import source_stamp
    from mien.store.atomic import write_text

    device = options.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.zeros(1, device=device)  # what the device takes to begin with is part of the start
    marks = {"imported": time.time()}
    seed, recipe = version.pop("seed"), recipe_of(version)
    data = mien.load_dataset(options.data)
    train = data.train
    if options.steps:
        recipe = shortened(recipe, device)
        train = train.subset(range(min(len(train), options.steps * recipe.batch_size)))
    marks["loaded"] = time.time()
    state, opened = options.out, bool(version["open"]) and not options.steps
    begun = state / ".going"  # what a call that broke off left is begun anew, since its seconds are unknown
    shutil.rmtree(begun, ignore_errors=True)
    run = mien.train(version["system"], train, data.selection, recipe=recipe, seed=seed, out=begun, device=device)
    run = halve(_moved(run.folder, state / "runs"))
    if not opened:
        (run.folder / HALF).unlink()
    marks["trained"] = time.time()
    split, view = data.test if opened else data.selection, records.view_of(version)
    result = mien.evaluate(run, split, views=view, results=state / "results", device=device)
    finished = time.time()
    if opened:
        result.save(state / "results")
    faces = len(train)
    parts = parts_of(options.began, marks, finished, run.log, faces)
    flops = work_of(recipe, faces, _epochs(run.log, recipe))
    where = environment("cuda" if device.startswith("cuda") else "cpu", run.info["environment"]["precision"])
    peak = options.peak or peak_of(where["device"])
    record = {
        "version": version["name"],
        "system": version["system"],
        "seed": seed,
        "recipe_hash": recipe.hash,
        "data_fingerprint": data.fingerprint,
        "weights_sha256": run.info["weights_sha256"],
        "view": view,
        "selection_accuracy": result.metrics["selection_accuracy"],
        "accuracy": result.metrics.get("accuracy"),
        "result": result.id if opened else None,
        "seconds": round(finished - options.began, 3),
        "parts": parts,
        "faces_seen": faces * len(run.log),
        "flops": flops,
        "peak": peak,
        "peak_share": None if peak is None else flops / (max(1e-9, parts["training"]) * peak),
        "peak_share_of_all": None if peak is None else flops / ((finished - options.began) * peak),
        "environment": where,
        "trial": bool(options.steps),
        **source_stamp(),
    }
    write_text(state / RECORDS / f"{run.folder.name}{'-open' if opened else ''}.json", json.dumps(record))
    return record


def _moved(folder: Path, target: Path) -> Path:
    """The folder in its place among finished runs, which is made for it."""
    place = target / folder.name
    shutil.rmtree(place, ignore_errors=True)
    target.mkdir(parents=True, exist_ok=True)
    return folder.rename(place)


def parts_of(
    began: float, marks: Mapping[str, float], finished: float, log: list[dict[str, Any]], faces: int
) -> dict[str, float]:
    """Where the seconds of a run with so many faces per epoch went; they add up to all of them.

    ``start``: Python, its imports, the device. ``data``: opening the imported arrays. ``training``: epochs but for
    ``capture``, which is by how much the first one of each stage outlasted the median: trying convolutions,
    recording, compiling. ``selection``: looks at PublicTest on the way. ``besides``: the rest of `mien.train`, that is
    the network, faces to the device, checkpoints and the outcome, and rounding the weights. ``evaluation``: the view.
    """
    learnt = [faces / entry["faces_per_second"] for entry in log]
    stages: dict[str, list[float]] = {}
    for entry, spent in zip(log, learnt, strict=True):
        stages.setdefault(entry.get("stage", ""), []).append(spent)
    capture = sum(max(0.0, own[0] - statistics.median(own[1:])) for own in stages.values() if len(own) > 1)
    selection = sum(entry["seconds"] for entry in log) - sum(learnt)
    parts = {
        "start": marks["imported"] - began,
        "data": marks["loaded"] - marks["imported"],
        "training": sum(learnt) - capture,
        "capture": capture,
        "selection": selection,
        "besides": marks["trained"] - marks["loaded"] - sum(learnt) - selection,
        "evaluation": finished - marks["trained"],
    }
    return {name: round(parts[name], 3) for name in PARTS}


def _epochs(log: list[dict[str, Any]], recipe: Recipe) -> dict[str, int]:
    """Epochs done in each stage."""
    names = [entry.get("stage", recipe.name) for entry in log]
    return {name: names.count(name) for name in names}


def shortened(recipe: Recipe, device: str) -> Recipe:
    """The recipe of a trial: one epoch of each stage."""
    stages = [{**stage, "epochs": 1} for stage in recipe.to_dict().get("stages", [])]
    tree = {**recipe.to_dict(), "epochs": 1, **({"stages": stages} if stages else {})}
    if device == "cpu":
        tree |= {"batch_size": 16, "compile": False}
    return type(recipe).from_dict(tree)


if __name__ == "__main__":
    main()
