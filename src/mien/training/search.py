"""Search: many short trainings, the next one where the last ones say it is worth it. Needs the extra ``search``.

Optuna keeps the study (Akiba et al., "Optuna: A next-generation hyperparameter optimization framework", KDD 2019). The
objective is the accuracy on the selection split; the test split cannot be given. A trial is a run like any other, named
after its recipe, so a killed search goes on inside the very trial that it was killed in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import systems
from mien.errors import InputError, MienError, MissingExtraError, RecipeError, RunError, SealedSplitError
from mien.registry import suggestion
from mien.store import write_text
from mien.store.cpu import cpu_count
from mien.store.locking import lock_file
from mien.training.begin import train as train_run
from mien.training.loop import Progress
from mien.training.occupied import occupied
from mien.training.recipe import Recipe
from mien.training.search_space import Space, get_space

if TYPE_CHECKING:
    from mien.datasets import FaceSet

SAMPLERS = ("tpe", "random")
PRUNERS = ("median", "asha", "none")
NAME = "searched"


@dataclass(frozen=True)
class Search:
    """A study as it stands.

    Attributes:
        folder: of its trials, its summary, its best recipe and its plots.
        study: name of the study in its storage.
        storage: where that is.
        space: name of the space.
        trials: one entry per trial: number, state, value, params, reason, epochs, seconds.
        best: recipe of the best trial with the epochs of a full training; None before a trial is through.
        value: its selection accuracy.
    """

    folder: Path
    study: str
    storage: str
    space: str
    trials: list[dict[str, Any]]
    best: Recipe | None
    value: float | None


@dataclass(frozen=True)
class _Plan:
    """What every worker needs."""

    space: str
    base: Recipe
    trials: int
    sampler: str
    pruner: str
    seed: int
    storage: str
    study: str
    folder: Path
    device: str
    threads: int


def search(
    space: str,
    data: FaceSet,
    *,
    trials: int = 20,
    epochs: int = 0,
    settings: Iterable[str] = (),
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    storage: str = "",
    workers: int = 1,
    out: str | Path = "searches",
    device: str = "auto",
    on_progress: Callable[[int, int, float | None], None] | None = None,
) -> Search:
    """Search a space; the same call again goes on with the same study until it has ``trials`` trials.

    Args:
        space: name of a space, or id of a network for the space of its training.
        data: its selection split is the objective; its test split stays sealed.
        trials: in all, failed and pruned ones included.
        epochs: of a trial; the space's own by default.
        settings: ``key=value`` over the base recipe, for all trials.
        sampler: ``tpe`` or ``random``.
        pruner: ``median``, ``asha`` or ``none``: which trials are stopped early.
        seed: of the sampler; trials are trained with seed 0, the outcome is to be trained with others.
        storage: URL of a database (``sqlite:///f.db``, ``postgresql://…``); by default a journal in the folder.
        workers: processes that search together on this machine; more can join from others through the storage.
        out: folder that holds searches.
        device: of the trainings.
        on_progress: called after each trial with (trials done, in all, best value so far).

    Returns:
        The study, with ``search.json``, ``best.toml``, ``history.png`` and ``importance.png`` in its folder.

    Raises:
        InputError: an unknown space, sampler or pruner, a storage that cannot be reached, or one that holds a study
            of other data.
    """
    _optuna()
    for what, given, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if given not in known:
            raise InputError(f"no {what} is called {given!r}; {suggestion(given, known)}")
    if trials < 1 or workers < 1:
        raise InputError("a search makes at least one trial with at least one worker")
    chosen = get_space(space)
    for split in (data.train, data.selection):
        if split.role == "test":
            raise SealedSplitError("a search sees data.train and data.selection, never the test split")
    base = Recipe.of(systems.card(chosen.system), chosen.base).with_(epochs=epochs or chosen.epochs).set(settings)
    base = base.with_(name="search")
    text = json.dumps([chosen.name, base.hash, data.fingerprint])
    study = f"{chosen.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    folder = Path(out) / study
    folder.mkdir(parents=True, exist_ok=True)
    where = storage or f"journal:{folder / 'journal.log'}"
    threads = max(1, cpu_count() // workers)
    plan = _Plan(chosen.name, base, trials, sampler, pruner, seed, where, study, folder, device, threads)
    _create(plan, data)
    _requeue(plan)
    if workers == 1:
        _work(plan, data, 0, on_progress)
    else:
        _together(plan, data, workers, on_progress)
    return summary(plan_space=chosen, base=base, study=study, storage=where, folder=folder)


def summary(*, plan_space: Space, base: Recipe, study: str, storage: str, folder: Path) -> Search:
    """Read a study, and write its summary, its best recipe and its plots."""
    optuna = _optuna()
    loaded = _load(storage, study)
    done = [t for t in loaded.trials if t.state == optuna.trial.TrialState.COMPLETE]
    best = max(done, key=lambda t: (t.value, -t.number), default=None)
    recipe = None
    if best is not None:
        epochs = plan_space.final_epochs or Recipe.of(systems.card(plan_space.system), plan_space.base).epochs
        recipe = plan_space.recipe(optuna.trial.FixedTrial(best.params), base).with_(name=NAME, epochs=epochs)
        write_text(folder / "best.toml", recipe.to_toml())
    found = Search(
        folder=folder,
        study=study,
        storage=_public(storage),
        space=plan_space.name,
        trials=[_entry(trial) for trial in loaded.trials],
        best=recipe,
        value=best.value if best is not None else None,
    )
    told = {
        "study": study,
        "space": plan_space.name,
        "storage": found.storage,
        "base": base.to_dict(),
        "data_fingerprint": loaded.user_attrs["data_fingerprint"],
        "best": {"number": best.number, "value": best.value, "params": best.params} if best is not None else None,
        "trials": found.trials,
    }
    write_text(folder / "search.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    from mien.training.search_plots import plot

    plot(loaded, folder)
    return found


def _work(
    plan: _Plan,
    data: FaceSet,
    worker: int,
    on_progress: Callable[[int, int, float | None], None] | None = None,
) -> None:
    """Ask, train, tell, until the study has its trials."""
    complete = _optuna().trial.TrialState.COMPLETE
    study = _load(plan.storage, plan.study, plan, worker)
    chosen = get_space(plan.space)
    while True:
        # Counting and asking are one step, so that workers of one machine never make a trial too many.
        with (plan.folder / "ask.lock").open("ab") as lock:
            lock_file(lock)
            if sum(map(_counts, study.get_trials(deepcopy=False))) >= plan.trials:
                return
            trial = study.ask()
            trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
        _train(trial, study, chosen, plan, data)
        if on_progress:
            finished = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and _counts(t)]
            values = [t.value for t in finished if t.state == complete]
            on_progress(len(finished), plan.trials, max(values, default=None))


def _train(trial: Any, study: Any, space: Space, plan: _Plan, data: FaceSet) -> None:
    states = _optuna().trial.TrialState
    started = time.perf_counter()

    def watch(progress: Progress) -> None:
        if progress.entry is None:
            return
        trial.report(progress.entry["selection_accuracy"], progress.epoch)
        trial.set_user_attr("epochs", progress.epoch + 1)
        if progress.epoch + 1 < progress.epochs and trial.should_prune():
            raise _Pruned

    try:
        recipe = space.recipe(trial, plan.base)
    except RecipeError as error:
        trial.set_user_attr("reason", str(error))
        study.tell(trial, state=states.FAIL)
        return
    trial.set_user_attr("recipe_hash", recipe.hash)
    folder = plan.folder / "trials"
    try:
        run = train_run(
            space.system,
            data.train,
            data.selection,
            recipe=recipe,
            seed=0,
            out=folder,
            resume=True,
            device=plan.device,
            on_progress=watch,
        )
    except _Pruned:
        trial.set_user_attr("seconds", round(time.perf_counter() - started, 1))
        study.tell(trial, state=states.PRUNED)
        for path in folder.glob(f"*-{recipe.hash[:8]}-s0"):
            # Another worker may have drawn the same values and gone on where this one stopped.
            with contextlib.suppress(RunError), occupied(path):
                shutil.rmtree(path, ignore_errors=True)
        return
    except (MienError, RuntimeError, ValueError) as error:
        # One combination that cannot be (a loss that explodes, a network too large) must not end the search.
        trial.set_user_attr("reason", str(error).splitlines()[0][:300])
        study.tell(trial, state=states.FAIL)
        return
    trial.set_user_attr("seconds", round(time.perf_counter() - started, 1))
    trial.set_user_attr("run", run.folder.name)
    study.tell(trial, float(run.info["selection_accuracy"]))


def _counts(trial: Any) -> bool:
    """Waiting trials do not count yet, and those that were killed are made again."""
    killed = trial.state.name == "FAIL" and "reason" not in trial.user_attrs
    return trial.state.name != "WAITING" and not killed


class _Pruned(Exception):  # noqa: N818
    """Ends a training from within its progress callback."""


def _together(
    plan: _Plan, data: FaceSet, workers: int, on_progress: Callable[[int, int, float | None], None] | None
) -> None:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_worker, args=(plan, data, index)) for index in range(workers)]
    for process in processes:
        process.start()
    try:
        while any(process.is_alive() for process in processes):
            for process in processes:
                process.join(timeout=1)
            if on_progress:
                finished = [t for t in _load(plan.storage, plan.study).trials if t.state.is_finished() and _counts(t)]
                values = [t.value for t in finished if t.state.name == "COMPLETE"]
                on_progress(len(finished), plan.trials, max(values, default=None))
    except BaseException:
        for process in processes:
            process.terminate()
        raise
    finally:
        for process in processes:
            process.join()
    if any(process.exitcode for process in processes):
        raise InputError("a worker of the search failed; run it with --workers 1 to see why")


def _worker(plan: _Plan, data: FaceSet, index: int) -> None:
    import torch

    torch.set_num_threads(plan.threads)
    _work(plan, data, index)


def _create(plan: _Plan, data: FaceSet) -> None:
    optuna = _optuna()
    try:
        with _quiet():
            study = optuna.create_study(
                storage=_storage(plan.storage), study_name=plan.study, direction="maximize", load_if_exists=True
            )
            known = study.user_attrs.get("data_fingerprint")
            if known is None:
                study.set_user_attr("data_fingerprint", data.fingerprint)
    except MienError:
        raise
    except Exception as error:
        # Optuna passes on whatever its database says: drivers, rights, addresses.
        raise InputError(
            f"the storage {_public(plan.storage)} cannot be used ({str(error).splitlines()[0][:200]}); give a URL like "
            "sqlite:///search.db or postgresql://user@host/name, or none"
        ) from None
    if known not in (None, data.fingerprint):
        raise InputError(f"the study {plan.study} in {_public(plan.storage)} is about other data; give another --out")


def _requeue(plan: _Plan) -> None:
    """Trials whose worker on this machine is gone are given up, and their values come next: their run goes on."""
    optuna = _optuna()
    study = _load(plan.storage, plan.study)
    for trial in study.get_trials(deepcopy=False):
        host, _, process = str(trial.user_attrs.get("worker", "")).rpartition(":")
        if trial.state != optuna.trial.TrialState.RUNNING or host != socket.gethostname() or _alive(process):
            continue
        if trial.params:
            study.enqueue_trial(trial.params, user_attrs={"continues": trial.number})
        with contextlib.suppress(Exception):  # another worker was faster
            study.tell(trial.number, state=optuna.trial.TrialState.FAIL)


def _alive(process: str) -> bool:
    if not process.isdecimal() or int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _load(storage: str, study: str, plan: _Plan | None = None, worker: int = 0) -> Any:
    optuna = _optuna()
    options: dict[str, Any] = {}
    if plan is not None:
        seed = plan.seed + 1000 * worker
        options["sampler"] = (
            optuna.samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True)
            if plan.sampler == "tpe"
            else optuna.samplers.RandomSampler(seed=seed)
        )
        warmup = max(1, plan.base.epochs // 5)
        options["pruner"] = {
            "median": optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup),
            "asha": optuna.pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=3),
            "none": optuna.pruners.NopPruner(),
        }[plan.pruner]
    with _quiet():
        return optuna.load_study(storage=_storage(storage), study_name=study, **options)


def _storage(url: str) -> Any:
    optuna = _optuna()
    if not url.startswith("journal:"):
        return url
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    path = url.removeprefix("journal:")
    # Links, which the default lock uses, are not to be had on every file system.
    return optuna.storages.JournalStorage(JournalFileBackend(path, lock_obj=JournalFileOpenLock(path)))


def _public(url: str) -> str:
    """A URL without its password."""
    scheme, there, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    return f"{scheme}{there}{user.partition(':')[0]}{at}{host}" if at else url


def _entry(trial: Any) -> dict[str, Any]:
    told: Mapping[str, Any] = trial.user_attrs
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value if trial.state.name == "COMPLETE" else None,
        "last": trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None,
        "epochs": told.get("epochs"),
        "seconds": told.get("seconds"),
        "reason": told.get("reason"),
        "run": told.get("run"),
        "params": trial.params,
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    optuna = _optuna()
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _optuna() -> Any:
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import optuna
    except ModuleNotFoundError:
        raise MissingExtraError("a search", "search") from None
    return optuna
