"""A training queue for an accelerator that is there for minutes: what fits the time, most wanted first.

    python benchmarks/training_queue.py --data fer2013.npz --out out --budget 540s
    python benchmarks/training_queue.py --data fer2013.npz --out out --budget 540s --systems compact,vggnet
    python benchmarks/training_queue.py --data drawn --out out --budget 300s --steps 2    # tries everything, on a CPU
    python benchmarks/training_queue.py --plan                                  # what it would take, estimated
    python benchmarks/training_queue.py --collect out                                     # at home: check and take over

What is wanted stands in `training_queue.toml`, in that order. Each job is a process of its own. The first seed of an
entry measures an epoch, while no other job begins, and takes the longest of the lengths in which all seeds of the entry
fit the time left, else the longest that fits alone, or says that none does; the other seeds take the same one, since
only runs of one recipe have a mean. A job with `teachers` waits for the runs of this queue that it names. A job trains
with the one training loop, rounds the weights to half precision, and measures these weights; the test split is opened
for one that PublicTest finds working (`WORKS`), and for no view that is recorded at home (of a taught one nobody can
tell before its teachers are there).

Two jobs run at once: one computes while the other imports, tries convolutions and measures. (Kernels of several
processes take turns on an accelerator; they do not run beside each other.) After each job the results, the ledger and
the logs are packed into one file, then the weights, small ones first, in pieces of 16 MiB, 64 MiB in all, so that a
machine that goes away takes nothing with it. Where no checkout's history travels along, MIEN_COMMIT names the commit. A
trial of recorded steps needs more of them than `RecordedStep.WARM_UP`.

`--collect` takes what came back into `results/` and `runs/`. The ledger that came back must continue the one at home.
A second call with the same `--out` goes on: what was measured is not trained again, and no opening is forgotten. On
another machine, collect first what the first call brought back: of the openings that machine knows the ledger at home.

Only what lies in `--out` itself has to come back; the call works in a hidden folder beside it. A process may end 20
seconds after the budget, so a machine that is there for ten minutes gets one of 540 seconds.

(The file is not called queue.py: that would hide Python's own module `queue` from every script in this folder.)
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from parcel import HALF, begin, collect, halve, pack, save_rarely, work_folder

HERE = Path(__file__).resolve().parent
RESERVE = 12.0
"""Seconds kept for measuring and packing after a job's last epoch, and `RESERVE_PER_VIEW` for each view of the test."""
RESERVE_PER_VIEW = 3.0
WORKS = 0.45
"""Share of PublicTest's faces below which a run is one of a recipe that does not work: the test stays sealed."""
AT_ONCE = 2
"""Jobs at once on an accelerator."""
PATIENCE = 5.0
"""Seconds between asking a job to end and ending it."""
MARGIN = 1.15
"""By which an epoch may become slower than it was measured: what does not reach its end is lost, and time that is left
over is the next job's."""
PROBE_STEPS = {"cuda": 100, "cpu": 30}
"""Of the epoch that is measured: a few milliseconds of an accelerator say nothing beside a neighbour."""
UNRECORDABLE = 3
"""Exit status of a job whose step no graph can hold: all seeds of its entry are trained without one."""
LEFT_OUT = "left out: "
"""Begins the status of a job that had no time."""
MEASURED = "measured: "
"""Begins the status of a job that needs no second call."""
RUN = " · run "
"""Stands in it before the name of the run, of one that works."""


@dataclass(frozen=True)
class Job:
    """One training that is wanted.

    Attributes:
        system: id of the system.
        seed: of the run.
        recipe: name of a recipe.
        epochs: lengths that are welcome, the best first.
        set: changes of the recipe, as `mien train --set`.
        views: under which the finished run is measured; none: selection only, and the test split stays sealed.
        weights: bring the weights back.
        teachers: jobs of this queue whose runs teach it, each as SYSTEM:SEED; it waits for them.
        entry: number of its entry in the table, which all its seeds have in common.
        seeds: how many these are.
    """

    system: str
    seed: int
    recipe: str
    epochs: tuple[int, ...]
    set: tuple[str, ...] = ()
    views: tuple[str, ...] = ("one",)
    weights: bool = True
    teachers: tuple[str, ...] = ()
    entry: int = 0
    seeds: int = 1

    @classmethod
    def of(cls, told: Mapping[str, Any], *, seed: int, entry: int, seeds: int) -> Job:
        """As the table or the parent tells it, in TOML or JSON; what else stands there is an error."""
        known = {field.name for field in fields(cls)} - {"seed", "entry", "seeds"}
        if unknown := sorted(told.keys() - known):
            raise TypeError(f"a job has no {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        return cls(
            system=told["system"],
            seed=seed,
            recipe=told.get("recipe", "mien"),
            epochs=tuple(told["epochs"]),
            set=tuple(told.get("set", cls.set)),
            views=tuple(told.get("views", cls.views)),
            weights=told.get("weights", cls.weights),
            teachers=tuple(told.get("teachers", cls.teachers)),
            entry=entry,
            seeds=seeds,
        )

    @property
    def name(self) -> str:
        taught = "-taught" * bool(self.teachers)
        return f"{self.system}-{self.recipe}-s{self.seed}{taught}" + "".join(f"-{s}" for s in self.set)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fer2013", help="a path of FER2013, or 'drawn'")
    parser.add_argument("--out", type=Path, help="where what comes back is put")
    parser.add_argument("--budget", type=seconds, default=540.0, help="for example 540s or 9m")
    parser.add_argument("--systems", default="", help="comma-separated; only these, in the order of the table")
    parser.add_argument("--jobs", type=Path, default=HERE / "training_queue.toml")
    parser.add_argument("--parallel", type=int, default=0, help="jobs at once; by default 2 on CUDA, else 1")
    parser.add_argument("--steps", type=int, default=0, help="a trial: so many steps of every job, nothing recorded")
    parser.add_argument("--results", type=Path, default=HERE.parent / "results", help="the ledger to continue")
    parser.add_argument("--plan", action="store_true", help="print estimates of all jobs and train nothing")
    parser.add_argument("--peak", type=float, help="operations per second of the device; an H200's for --plan")
    parser.add_argument("--collect", type=Path, metavar="OUT", help="take over what came back")
    parser.add_argument("--runs", type=Path, default=HERE.parent / "runs", help="where --collect puts runs")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--beside", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.collect:
        sys.exit(collect(options.collect, options.results, options.runs))
    if options.plan:
        print(plan(wanted(options.jobs, options.systems), options.peak or 0.0, options.budget))
        return
    if options.out is None:
        parser.error("give --out FOLDER")
    if options.worker:
        told = json.loads(options.worker)
        own = {name: told.pop(name) for name in ("seed", "entry", "seeds")}
        save_rarely()
        work(Job.of(told, **own), options)
        return
    sys.exit(supervise(options))


def seconds(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([sm]?)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r}: write 540s or 9m")
    return float(found[1]) * (60 if found[2] == "m" else 1)


def wanted(path: Path, systems: str) -> list[Job]:
    """The table's jobs, seed by seed as they stand, of these systems only; what `every` sets comes first."""
    only = [name for name in systems.split(",") if name]
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    every = tuple(table.get("every", {}).get("set", ()))
    jobs = []
    for number, entry in enumerate(table["job"]):
        seeds = entry.pop("seeds", [0])
        told = {**entry, "set": [*every, *entry.get("set", ())]}
        jobs += [Job.of(told, seed=seed, entry=number, seeds=len(seeds)) for seed in seeds]
    named = {f"{job.system}:{job.seed}" for job in jobs if not job.teachers}
    if strange := sorted({teacher for job in jobs for teacher in job.teachers} - named):
        sys.exit(f"the table has no job for the teachers {', '.join(strange)}")
    asked = [job for job in jobs if not only or job.system in only]
    if absent := {name for job in asked for name in job.teachers} - {f"{job.system}:{job.seed}" for job in asked}:
        sys.exit(f"name the systems that teach, too: {', '.join(sorted(absent))}")
    if unknown := sorted(set(only) - {job.system for job in jobs}):
        sys.exit(f"the table has no job for {', '.join(unknown)}")
    return asked


def plan(jobs: list[Job], peak: float, budget: float) -> str:
    """What each job would take alone on the device, estimated, and how many calls of this budget all of them."""
    from estimate import FACES, PEAKS, SHARE, estimates

    from mien import systems
    from mien.training import Recipe

    peak, total, besides = peak or PEAKS["H200"], 0.0, 2 * RESERVE / 3
    lines = [
        f"Estimated at {SHARE:.0%} of {peak / 1e12:.0f} TFLOP/s, or by kernels where they take longer.\n",
        f"{'job':34} {'MMAC':>6} {'px':>3} {'TFLOP/epoch':>11} {'s/epoch':>8} {'epochs':>6} {'s':>5} {'calls':>6}",
    ]
    for job in jobs:
        recipe = Recipe.of(systems.card(job.system), job.recipe).set(job.set)
        stages, planned = estimates(recipe), recipe.planned_epochs
        each = sum(
            work.seconds(FACES, stage.batch_size, peak=peak, recorded=recipe.capture) * stage.epochs / planned
            for stage, work in stages
        )
        flops = sum(work.flops * stage.epochs / planned for stage, work in stages)
        total += each * job.epochs[0] + besides
        lines.append(
            f"{f'{job.system} {job.recipe} s{job.seed}':34} {stages[-1][1].macs / 1e6:6.0f} {recipe.input.size:3} "
            f"{flops * FACES / 1e12:11.1f} {each:8.2f} {job.epochs[0]:6} {each * job.epochs[0]:5.0f} "
            f"{total / budget:6.1f}"
        )
    lines.append(f"\ncalls: of {budget:.0f} s that all jobs up to this one take, with {besides:.0f} s besides each.")
    return "\n".join(lines)


# --- the parent: starts jobs, packs what is finished ------------------------------------------------------------------


def supervise(options: argparse.Namespace) -> int:
    """Keep `parallel` workers busy until the jobs or the time run out."""
    from mien.errors import MienError

    began = time.time()
    deadline = began + options.budget
    out: Path = options.out
    try:
        prepare(options.data)  # before anything is written
    except MienError as error:
        print(f"training_queue: {error}", file=sys.stderr)
        return 2
    state = begin(out, options.results / "ledger.jsonl", trial=bool(options.steps))
    jobs = wanted(options.jobs, options.systems)
    if options.steps:
        first: dict[tuple[str, str, bool], Job] = {}
        for job in jobs:
            first.setdefault((job.system, job.recipe, bool(job.teachers)), job)
        tried = {f"{job.system}:{job.seed}" for job in first.values()}
        jobs = [replace(job, teachers=tuple(sorted(tried & set(job.teachers)))) for job in first.values()]
        for job in jobs:
            length(job, state).write_text("1 0")
    else:
        forget_lengths(jobs, state)
        jobs = unrecorded_at_home(jobs, state, options.results)
    jobs = [job for job in jobs if not measured(job, state)]
    cuda = device() == "cuda"
    options.parallel = parallel = options.parallel or (AT_ONCE if cuda else 1)
    if not options.steps and not known_commit():
        print("no commit is known here, and results will say so: set MIEN_COMMIT", file=sys.stderr)
    print(f"{len(jobs)} jobs, {parallel} at once on {device()}, {options.budget:.0f} s", flush=True)
    running: dict[subprocess.Popen[bytes], Job] = {}
    failed, asked = 0, 0.0
    while jobs or running:
        while len(running) < parallel and deadline - time.time() > 3 * RESERVE:
            chosen = startable(jobs, list(running.values()), state)
            if chosen is None:
                break
            jobs.remove(chosen)
            running[start(chosen, options, deadline, beside=len(running))] = chosen
        if jobs and not running and startable(jobs, [], state) is None:
            print(f"{', '.join(job.name for job in jobs)}: no teacher came about", flush=True)
            failed, jobs = failed + len(jobs), []
        done = [process for process in running if process.poll() is not None]
        for process in done:
            job = running.pop(process)
            failed += process.returncode not in (0, UNRECORDABLE)
            line = status(job, state).read_text() if status(job, state).exists() else "failed"
            print(f"{time.time() - began:6.1f} s  {job.name}: {line}", flush=True)
            if process.returncode:
                print(last_words(log_of(job, out)), flush=True)
            if process.returncode == UNRECORDABLE:
                jobs = [job for job in unrecorded(job, jobs) if not measured(job, state)]
            try:
                pack(state, out)
            except OSError as error:  # a file that a neighbour has just removed, or a full disk: the next round tries
                print(f"not packed: {error}", flush=True)
        if jobs and deadline - time.time() <= 3 * RESERVE:
            print(f"no time for {', '.join(job.name for job in jobs)}", flush=True)
            jobs = []
        if time.time() > deadline + RESERVE:
            asked = asked or time.time()
            for process in running:
                # A training that is asked to end finishes its step first, and a step that compiles takes its time.
                process.terminate() if time.time() < asked + PATIENCE else process.kill()
        time.sleep(0.2)
    if without := pack(state, out):
        print(f"no room for the weights of {', '.join(without)}; --collect and give another --out", flush=True)
    print(f"{time.time() - began:6.1f} s  packed into {out}", flush=True)
    return 1 if failed else 0


def startable(jobs: list[Job], running: list[Job], state: Path) -> Job | None:
    """The next job that waits for no teacher; none while another one finds out its length, so that it measures well."""
    if any(not length(job, state).exists() for job in running):
        return None
    return next((job for job in jobs if all(taught_by(job, state))), None)


def taught_by(job: Job, state: Path) -> list[Path | None]:
    """The finished run of each teacher of a job; None where there is none yet."""
    named = (teacher.rpartition(":") for teacher in job.teachers)
    return [trained(system, seed, state) for system, _, seed in named]


def trained(system: str, seed: str, state: Path) -> Path | None:
    """The longest run of a system and a seed that this queue has measured and found working, and that nobody taught.

    Its weights may have come back from an earlier call, in half precision.
    """
    found = []
    for said in state.glob("*.status"):
        verdict, _, name = said.read_text(encoding="utf-8").rpartition(RUN)
        folder = state / "runs" / name
        weights = any((folder / file).exists() for file in ("weights.safetensors", HALF))
        if not (verdict.startswith(MEASURED) and weights):
            continue
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        if (info["system"], info["seed"]) == (system, int(seed)) and "teacher" not in info:
            recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
            found.append((recipe["epochs"], folder))
    return max(found)[1] if found else None


def unrecorded_at_home(jobs: list[Job], state: Path, results: Path) -> list[Job]:
    """The jobs without the views that are recorded at home, whatever ``--out`` they came back in.

    One of which all views are recorded counts as measured, unless another one needs its run.
    """
    from mien.results import load_all
    from mien.systems.described import described
    from mien.training.recipe import Recipe

    recorded = {(result.system, result.seed, result.recipe_hash, result.views) for result in load_all(results)}
    needed = {teacher for job in jobs if not measured(job, state) for teacher in job.teachers}
    left = []
    for job in jobs:
        views = job.views
        if views and not job.teachers:
            base = Recipe.from_toml(described()[job.system].recipes[job.recipe]["toml"]).set(job.set)
            # One that no graph can hold was recorded with steps that are launched.
            hashes = {base.with_(epochs=epochs, capture=on).hash for epochs in job.epochs for on in (True, False)}
            there = {view for each in hashes for view in views if (job.system, job.seed, each, view) in recorded}
            views = tuple(view for view in views if view not in there)
            if not views and not measured(job, state) and f"{job.system}:{job.seed}" not in needed:
                status(job, state).write_text(f"{MEASURED}recorded at home")
        left.append(replace(job, views=views))
    return left


def unrecorded(job: Job, jobs: list[Job]) -> list[Job]:
    """The jobs that are left when one could not be recorded: it comes first, and its entry is trained without."""
    without = ("capture=false",)
    others = [replace(each, set=each.set + without * (each.entry == job.entry)) for each in jobs]
    return [replace(job, set=job.set + without), *others]


def length(job: Job, state: Path) -> Path:
    """Where the first seed of an entry notes how many epochs all of them train."""
    return state / f"{slug(replace(job, seed=0))}.epochs"


def forget_lengths(jobs: list[Job], state: Path) -> None:
    """A length that no seed of an entry has begun with is chosen anew: the call before had less time left."""
    begun = {
        job.entry
        for job in jobs
        if status(job, state).exists() and not status(job, state).read_text().startswith(LEFT_OUT)
    }
    for job in jobs:
        if job.entry not in begun:
            length(job, state).unlink(missing_ok=True)


def status(job: Job, state: Path) -> Path:
    """Where a job says what became of it."""
    return state / f"{slug(job)}.status"


def measured(job: Job, state: Path) -> bool:
    """Whether an earlier call has done it."""
    return status(job, state).exists() and status(job, state).read_text().startswith(MEASURED)


def known_commit() -> bool:
    from mien.results.provenance import source_state

    return source_state()[0] is not None


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def prepare(data: str) -> None:
    """Import once, so that the workers find the arrays in the cache."""
    if data not in ("drawn", "fer2013"):
        import mien

        mien.load_dataset("fer2013", data)


def start(job: Job, options: argparse.Namespace, deadline: float, *, beside: int) -> subprocess.Popen[bytes]:
    """Begin a job beside so many others."""
    command = [sys.executable, __file__, "--worker", json.dumps(vars(job)), "--data", options.data]
    command += ["--out", str(options.out), "--deadline", str(deadline), "--steps", str(options.steps)]
    command += ["--parallel", str(options.parallel), "--beside", str(beside)]
    environment = {"OMP_NUM_THREADS": "2", "TORCHINDUCTOR_COMPILE_THREADS": "2", **os.environ}
    # A resumed job says more beneath what it said before.
    log = log_of(job, options.out).open("ab")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)


def log_of(job: Job, out: Path) -> Path:
    """Where a job's process prints."""
    return work_folder(out) / f"{slug(job)}.log"


def last_words(log: Path, lines: int = 12) -> str:
    """The end of a log: a machine that is there for minutes is gone before anybody opens the file."""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])


def slug(job: Job) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", job.name)


# --- a worker: one job ------------------------------------------------------------------------------------------------


def work(job: Job, options: argparse.Namespace) -> None:
    """Train, round, measure; what happened goes into the job's status file."""
    import mien
    from mien import systems
    from mien.errors import RecordingError
    from mien.store.atomic import write_text
    from mien.training import Recipe

    state = work_folder(options.out)
    said = status(job, state)
    data = load(options.data, options.steps)
    base = Recipe.of(systems.card(job.system), job.recipe).set(job.set)
    where = device()
    if where == "cpu" and options.steps:
        base = base.with_(compile=False, batch_size=min(base.batch_size, 16))
    some = range(min(len(data.train), options.steps * base.batch_size))
    train_split = data.train.subset(some) if options.steps else data.train

    def left() -> float:
        return float(options.deadline) - time.time() - RESERVE - RESERVE_PER_VIEW * len(job.views)

    def progress(now: Any) -> None:
        if left() < 0:
            raise KeyboardInterrupt  # as Ctrl-C: the training saves its very step
        if now.entry:
            print(json.dumps(now.entry), flush=True)

    try:
        epochs, known = 1, length(job, state)
        if not options.steps and not known.exists():
            # Of it alone: what runs beside it takes its turns, which `longest` and the check below count themselves.
            per_epoch = probe(job, base, data, state, where, progress) / (1 + options.beside)
            # Where none fits the shortest is noted, too: no other seed of this call has to find that out.
            write_text(known, f"{longest(job, per_epoch * MARGIN, left(), options.parallel)} {per_epoch}")
        if not options.steps:
            epochs, per_epoch = int((noted := known.read_text().split())[0]), float(noted[1])
            if epochs * per_epoch * MARGIN * options.parallel > left():
                said.write_text(f"{LEFT_OUT}{epochs} epochs of {per_epoch:.2f} s, {left():.0f} s left")
                return
        recipe = base.with_(epochs=epochs)
        run = mien.train(
            job.system, train_split, data.selection, recipe=recipe, seed=job.seed, out=state / "runs",
            device=where, on_progress=progress, resume=True, teacher=teachers(job, state),
        )  # fmt: skip
    except KeyboardInterrupt:
        said.write_text("unfinished: the time ran out")
        return
    except RecordingError as error:
        print(*causes(error), sep="\n", flush=True)
        said.write_text(str(error))
        sys.exit(UNRECORDABLE)
    run = halve(run.folder)
    if not job.weights:
        (run.folder / HALF).unlink()
    if options.steps and options.data != "drawn":  # no protocol measures what learnt from a part of Training
        write_text(said, f"{MEASURED}{options.steps} steps, nothing else")
        return
    selection = mien.evaluate(run, data.selection, views="one", results=state / "results", device=where)
    words = [f"{epochs} epochs, {selection}"]
    works = options.data == "drawn" or selection.metrics["selection_accuracy"] >= WORKS
    if not works:
        words.append(f"below {WORKS:.0%}: the test split stays sealed")
    for view in job.views if works else ():
        result = mien.evaluate(run, data.test, views=view, results=state / "results", device=where)
        result.save(state / "results")
        words.append(f"{view}: {result}")
    write_text(said, MEASURED + " · ".join(words) + (RUN + run.folder.name if works else ""))


def causes(error: BaseException | None) -> list[str]:
    """An error and what lies behind it, a line each: a broken record says why in the innermost."""
    lines = []
    while error is not None:
        lines.append(f"{type(error).__name__}: {error}".splitlines()[0])
        error = error.__cause__ or error.__context__
    return lines


def longest(job: Job, per_epoch: float, left: float, parallel: int = 1) -> int:
    """The longest length in which all seeds fit, else one of them; where none does the shortest.

    Jobs at once take turns, so each takes longer by as many as there are, the last one of an odd number as well.
    """
    for seeds in (job.seeds, 1):
        turns = -(-seeds // parallel) * parallel
        for epochs in job.epochs:
            if epochs * per_epoch * turns < left:
                return epochs
    return job.epochs[-1]


def load(data: str, steps: int) -> Any:
    import mien

    if data == "drawn":
        return mien.load_dataset("drawn", count=max(400, 200 * steps) if steps else 4000, seed=0)
    return mien.load_dataset("fer2013", None if data == "fer2013" else data)


def probe(job: Job, recipe: Any, data: Any, state: Path, where: str, progress: Any) -> float:
    """Seconds of a whole epoch, on the average of all stages, beside what runs now: the second of two short ones."""
    import math

    import mien

    # Teachers that learnt from all of Training teach no part of it.
    count = len(data.train) if job.teachers else min(len(data.train), PROBE_STEPS[where] * recipe.batch_size)
    some = data.train.subset(range(count)) if count < len(data.train) else data.train
    steps = math.ceil(len(some) / recipe.batch_size)
    folder = state / "runs" / ".probe" / slug(job)
    stages = [{**stage, "epochs": 2} for stage in recipe.to_dict().get("stages", [])]
    short = type(recipe).from_dict({**recipe.to_dict(), **({"stages": stages} if stages else {})})
    short = short.with_(epochs=2, early_stop=0, keep="last", evaluate_every=1)
    given = {"recipe": short, "seed": 0, "out": folder, "device": where, "on_progress": progress}
    run = mien.train(job.system, some, data.selection, **given, teacher=teachers(job, state))
    log = list(run.log)
    shutil.rmtree(folder, ignore_errors=True)

    def whole(entry: Mapping[str, Any]) -> float:
        training = len(some) / entry["faces_per_second"]
        judging = (entry["seconds"] - training) / recipe.evaluate_every
        return float(training * math.ceil(len(data.train) / recipe.batch_size) / steps + judging)

    lengths = [stage.epochs for stage in recipe.staged]
    planned = sum(each * whole(entry) for each, entry in zip(lengths, log[1::2], strict=True))
    return float(planned / recipe.epochs)


def teachers(job: Job, state: Path) -> list[Any] | None:
    """The runs that teach a job, their weights whole again where they came back in half precision."""
    from mien.training import Run

    folders = [folder for folder in taught_by(job, state) if folder is not None]
    return [Run.open(each) if (each / "weights.safetensors").exists() else halve(each) for each in folders] or None


if __name__ == "__main__":
    main()
