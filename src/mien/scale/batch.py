"""Any number of images → a folder of Parquet files, on all cores of a machine or of a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mien
from mien.errors import InputError, MissingExtraError
from mien.recognition.batch import Summary, model_facts
from mien.scale.parts import MODEL, PartedTable, Stretch
from mien.scale.worker import Task, Worker
from mien.store import scratch_directory
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    from mien.recognition.listing import Plan
    from mien.recognition.recognizer import Recognizer
_STARTS = 3


def recognize_with_ray(
    recognizer: Recognizer,
    plan: Plan,
    out: str,
    *,
    min_confidence: float = 0.0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Recognise files and objects with Ray Data: a pool of workers, each with a recogniser in one thread.

    Each input has its rows exactly once, whatever dies meanwhile: see `mien.scale.parts`. The same call goes on where
    an earlier one stopped, and does only what is missing. A running cluster is used where ``RAY_ADDRESS`` names one;
    otherwise one is started on this machine for the time of the job, without usage reports.

    Args:
        recognizer: whose bundle, detector and view every worker gets; the detector has to be one with a name.
        plan: what is to be recognised, made with ``expand=list_address`` where it holds addresses.
        out: folder or address, ending in ``.parquet``. On a cluster, one that all machines see.
        min_confidence: faces with less are left out and counted.
        workers: by default the cores of the cluster.
        progress: called with inputs done and inputs in all.

    Raises:
        MissingExtraError: Ray Data is not installed.
        InputError: what stops the job: other settings, a store that does not answer, a worker that dies over and over.
    """
    for package in ("ray", "pyarrow", "fsspec"):
        if find_spec(package) is None:
            raise MissingExtraError("--engine ray", "scale")
    if not out.lower().rstrip("/").endswith(".parquet"):
        raise InputError(f"{out} does not end in .parquet; --engine ray writes a folder of Parquet files")
    if not 0 <= min_confidence <= 1:
        raise InputError(f"a minimal confidence lies in 0–1, not {min_confidence}")
    if recognizer.detector_name.partition(":")[0] not in ("none", "centerface", "yunet"):
        raise InputError("a detector of your own does not travel to other processes; take one with a name, or --boxes")
    about = {"mien": mien.__version__, **model_facts(recognizer), "min_confidence": min_confidence}
    table = PartedTable(out, {**about, **plan.settings})
    with _cluster(workers) as cores:
        pool = workers or cores
        if (finished := table.open(plan.jobs, pool)) is not None:
            return finished
        name = recognizer.detector_name
        # Through the table's own folder it reaches every machine, and stays beside what it made.
        table.place.write(MODEL, recognizer.bundle.model)
        task = Task(
            None if name == "none" else name,
            recognizer.views,
            recognizer.threshold,
            recognizer.min_face,
            min_confidence,
            out,
            about,
            str(Path.cwd()),
            mien.__version__,
        )
        answered: dict[str, Counter[str]] = {}
        done = table.done()
        if progress is not None:
            progress(done, table.inputs)
        for stretches in table.lists():
            ends = {stretch.name: stretch.end - stretch.start for stretch in stretches}
            for answer in _answers(task, stretches, min(pool, len(stretches))):
                if answer["fault"]:
                    raise InputError(f"{answer['fault']} (the same command goes on from here)")
                counts = {key: int(answer[key]) for key in ("faces", "without", "errors", "left_out")}
                answered[answer["name"]] = Counter(counts)
                done += ends[answer["name"]]
                if progress is not None:
                    progress(done, table.inputs)
    return table.finish(answered)


def _answers(task: Task, stretches: list[Stretch], workers: int) -> Iterator[dict[str, Any]]:
    import ray.data
    from ray.exceptions import RayError

    rows = [{"stretch": stretch.to_json()} for stretch in stretches]
    # A block of one row each: the smallest thing that Ray Data does again when a worker dies.
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        Worker,
        fn_constructor_args=(task,),
        batch_size=1,
        batch_format="numpy",
        num_cpus=1,
        compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=2),
    )
    try:
        yield from dataset.iter_rows()
    except RayError as error:
        raise InputError(_said(error)) from None


def _said(error: Exception) -> str:
    if "runs here and" in str(error):
        return "the machines of the cluster have another version of mien; install the same everywhere"
    last = [line for line in str(error).splitlines() if line.strip()][-1:]
    return f"a worker failed ({type(error).__name__}: {' '.join(last)[:200]}); the same command goes on from here"


@contextlib.contextmanager
def _cluster(workers: int | None) -> Iterator[int]:
    """A cluster that runs already, or one on this machine until the block ends; gives its cores."""
    # Read when Ray is imported, so they have to stand before that: nothing is reported to anybody, and what Ray's
    # core says of its own workings stays in its log.
    for name, value in {
        "USAGE_STATS_ENABLED": "0",
        "ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "BACKEND_LOG_LEVEL": "fatal",
    }.items():
        os.environ.setdefault(f"RAY_{name}", value)
    import ray
    import ray.data

    mine = not ray.is_initialized()
    with contextlib.ExitStack() as held:
        if mine:
            address = os.environ.get("RAY_ADDRESS")
            settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
            if address:
                settings["address"] = address
            else:
                # Its own logs and sockets, where the path is short: the names of sockets end at 107 bytes.
                folder = str(held.enter_context(scratch_directory("/tmp" if Path("/tmp").is_dir() else None)))
                settings |= {"address": "local", "num_cpus": workers or cpu_count(), "include_dashboard": False}
                settings |= {"object_store_memory": 200 << 20, "_temp_dir": folder}
                # By default Ray's workers yield to every other process of the machine.
                settings["_system_config"] = {"worker_niceness": 0}
            _start(settings)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        # Ray's own answer to a polite request to stop is a crash report.
        main = threading.current_thread() is threading.main_thread()
        before = signal.signal(signal.SIGTERM, signal.default_int_handler) if main else None
        try:
            resources: Any = ray.cluster_resources  # has no types, and is only there where Ray is
            yield max(1, int(resources().get("CPU", 1)))
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)
            if mine:
                ray.shutdown()


def _start(settings: dict[str, Any]) -> None:
    """Ray gives its own processes half a minute, which a busy machine may exceed: they get another one."""
    import ray

    for attempt in range(_STARTS):
        try:
            with _silence():
                ray.init(**settings)
            return
        except Exception as error:  # Ray raises plain exceptions here, too
            ray.shutdown()
            if attempt == _STARTS - 1:
                local = settings["address"] == "local"
                what = "Ray does not start on this machine" if local else "the cluster of RAY_ADDRESS does not answer"
                todo = "is there memory and room in /tmp?" if local else "check the address"
                raise InputError(f"{what} ({type(error).__name__}); {todo}") from None


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Nothing on standard error: Ray's core greets there, past Python, with what it read from the environment."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
