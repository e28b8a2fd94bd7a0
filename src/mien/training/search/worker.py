"""A worker of a search: ask, train, tell, until the study has its trials; and take over from workers that died.

Every worker holds a locked file beside the study while it lives, so that one that died on this machine is known at
once, and says in the database that it lives, so that one on another machine is known after a while. A trial whose
worker died is made again with the same values, and goes on inside its run where that lies within reach.
"""

from __future__ import annotations

import contextlib
import copy
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import systems
from mien.errors import MienError, OccupiedError, RecipeError, RunError, StoppedError, StorageError
from mien.store.atomic import remove_directory, tidy
from mien.store.locking import lock_path
from mien.systems.base import count_macs
from mien.training.begin import train as train_run
from mien.training.occupied import occupied
from mien.training.progress import Progress
from mien.training.recipe import Recipe, Searched
from mien.training.search.space import Space, get_space
from mien.training.search.stopping import Stop
from mien.training.search.storage import Patience, Storage, optuna, quiet
from mien.training.stopping import listening

if TYPE_CHECKING:
    from mien.datasets import FaceSet

SEED = 0
"""Of all trials; nothing that was trained with it may see the test split."""

RETRIES = 3
"""Times a trial is made again after its worker died; then it may be the trial that kills them."""

Notify = Callable[[int, int, float | None], None]


@dataclass(frozen=True)
class Plan:
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
    patience: Patience
    max_mmacs: int = 0


def work(plan: Plan, data: FaceSet, notify: Notify | None = None) -> None:
    """Be a worker until the study has its trials, those of others included.

    Args:
        plan: what is searched, and where.
        data: what is trained on.
        notify: called after each trial with (trials done, in all, best value so far).

    Raises:
        StorageError: the storage stays away.
        StoppedError: SIGTERM came; what was done is saved.
        KeyboardInterrupt: Ctrl-C came; likewise.
    """
    with listening(stop := Stop(plan.folder)):
        storage = Storage(plan.storage, plan.folder, plan.patience)
        study = load(storage, plan)
        chosen = get_space(plan.space)
        tidy(plan.folder / "trials" / "*")
        with _Crew(plan.folder / "workers", storage) as crew:
            while (trial := _next(crew, study, plan)) is not None:
                with _beating(storage, trial):
                    _train(trial, study, chosen, plan, data, stop)
                if stop():  # while the trial's outcome was written
                    stop.end()
                if notify:
                    notify(*standing(study, plan))


def load(storage: Storage, plan: Plan) -> Any:
    """The study, with the pruner of the plan."""
    with quiet() as module:
        warmup = max(1, plan.base.epochs // 5)
        pruner = {
            "median": module.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup),
            "asha": module.pruners.SuccessiveHalvingPruner(min_resource=warmup, reduction_factor=3),
            "none": module.pruners.NopPruner(),
        }[plan.pruner]
        return module.load_study(storage=storage.optuna, study_name=plan.study, pruner=pruner)


def standing(study: Any, plan: Plan) -> tuple[int, int, float | None]:
    """Trials done, in all, and the best value so far."""
    done = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and counts(t)]
    return len(done), plan.trials, max((t.value for t in done if t.state.name == "COMPLETE"), default=None)


def counts(trial: Any) -> bool:
    """Waiting trials do not count yet, and those whose worker died are made again."""
    return trial.state.name != "WAITING" and not (trial.state.name == "FAIL" and reason(trial) is None)


def reason(trial: Any) -> str | None:
    """Why a trial failed for good; None where it did not."""
    told: str | None = trial.user_attrs.get("reason")
    died = len(trial.system_attrs.get("retry_history", ()))
    if told is None and trial.state.name == "FAIL" and died >= RETRIES:
        return f"its worker died {died + 1} times; perhaps there is too little memory for it"
    return told


def _next(crew: _Crew, study: Any, plan: Plan) -> Any:
    """A trial to make; None when all are made."""
    pause = min(2.0, plan.patience.beat / 4)
    while True:
        # Counting and asking are one step, so that workers never make a trial too many.
        with crew.storage.alone(), quiet():
            crew.take_over(study)
            trials = study.get_trials(deepcopy=False)
            if sum(map(counts, trials)) < plan.trials:
                trial = study.ask()
                trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
                trial.set_user_attr("lock", crew.token)
                if crew.storage.beats:
                    crew.storage.optuna.record_heartbeat(trial._trial_id)
                study.sampler = _sampler(plan, _ordinal(trial.number, trials))
                return trial
            if not any(trial.state.name == "RUNNING" for trial in trials):
                return None
        time.sleep(pause)  # whoever makes the last trials may die


def _ordinal(number: int, trials: Sequence[Any]) -> int:
    """How many draws came before a trial: those again and those that were never drawn do not count."""
    return sum(t.number < number and "retry_history" not in t.system_attrs and not _void(t) for t in trials)


def _void(trial: Any) -> bool:
    """Whether its worker died before it had drawn everything."""
    return trial.state.name == "FAIL" and not {"recipe_hash", "reason"} & set(trial.user_attrs)


def _sampler(plan: Plan, ordinal: int) -> Any:
    """A generator per draw: no two workers draw the same, and a search that was killed draws what it would have."""
    import numpy as np

    samplers = optuna().samplers
    seed = int(np.random.SeedSequence([plan.seed, ordinal]).generate_state(1)[0])
    if plan.sampler == "random":
        return samplers.RandomSampler(seed=seed)
    return samplers.TPESampler(seed=seed, multivariate=False, constant_liar=True)


def _train(trial: Any, study: Any, space: Space, plan: Plan, data: FaceSet, stop: Stop) -> None:
    states = optuna().trial.TrialState
    started = time.perf_counter()

    def watch(progress: Progress) -> None:
        if stop():
            raise KeyboardInterrupt  # which the training obeys where all is saved
        if progress.entry is None or "selection_accuracy" not in progress.entry:
            return
        with _taken_over(), quiet():
            trial.report(progress.entry["selection_accuracy"], progress.epoch)
            trial.set_user_attr("epochs", progress.epoch + 1)
            if progress.epoch + 1 < progress.epochs and trial.should_prune():
                raise _Pruned

    def tell(**outcome: Any) -> None:
        with _taken_over():
            for key, value in outcome.pop("attrs", {}).items():
                trial.set_user_attr(key, value)
            study.tell(trial, skip_if_finished=True, **outcome)

    with contextlib.suppress(_TakenOver):
        try:
            with _taken_over():
                recipe = space.recipe(trial, plan.base).with_(searched=Searched(plan.study, SEED))
        except RecipeError as error:
            tell(attrs={"reason": str(error)}, state=states.FAIL)
            return
        with _taken_over():
            trial.set_user_attr("recipe_hash", recipe.hash)
        if plan.max_mmacs and (mmacs := _mmacs(recipe)) > plan.max_mmacs:
            # Pruned and not failed: the sampler then knows that it is no good place to draw from.
            told = f"{mmacs:,.0f} million multiply-accumulates, more than the {plan.max_mmacs:,} that the search allows"
            tell(attrs={"reason": told, "mmacs": round(mmacs, 1)}, state=states.PRUNED)
            return
        folder = plan.folder / "trials"
        try:
            while True:
                try:
                    with stop.in_training():
                        run = train_run(
                            space.system,
                            data.train,
                            data.selection,
                            recipe=recipe,
                            seed=SEED,
                            out=folder,
                            resume=True,
                            device=plan.device,
                            on_progress=watch,
                        )
                    break
                except OccupiedError:
                    time.sleep(0.5)  # another worker drew the same values; its run is ours when it is through
        except _Pruned:
            tell(attrs={"seconds": round(time.perf_counter() - started, 1)}, state=states.PRUNED)
            for path in folder.glob(f"*-{recipe.hash[:8]}-s{SEED}"):
                # Another worker may have drawn the same values and gone on where this one stopped.
                with contextlib.suppress(RunError), occupied(path):
                    remove_directory(path)  # in one step: others may be about to go on in it
            return
        except (StorageError, StoppedError, _TakenOver):
            raise
        except (MienError, RuntimeError, ValueError) as error:
            # One combination that cannot be (a loss that explodes, a network too large) must not end the search.
            tell(attrs={"reason": str(error).splitlines()[0][:300]}, state=states.FAIL)
            return
        seconds = round(time.perf_counter() - started, 1)
        tell(attrs={"seconds": seconds, "run": run.folder.name}, values=float(run.info["selection_accuracy"]))


def _mmacs(recipe: Recipe) -> float:
    """Million multiply-accumulates of a recipe's network per face, without memory for its weights."""
    import torch

    with torch.device("meta"):
        module = systems.create(recipe.system_id, channels=recipe.input.channels, **recipe.system)
        return count_macs(module, recipe.input.channels, recipe.input.size) / 1e6


class _Pruned(Exception):  # noqa: N818
    """Ends a training from within its progress callback."""


class _TakenOver(Exception):  # noqa: N818
    """We were thought dead, and somebody else makes our trial."""


@contextlib.contextmanager
def _taken_over() -> Iterator[None]:
    try:
        yield
    except optuna().exceptions.UpdateFinishedTrialError:
        raise _TakenOver from None


@contextlib.contextmanager
def _beating(storage: Storage, trial: Any) -> Iterator[None]:
    """Say that the worker of a trial lives."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(storage.patience.beat):
            with contextlib.suppress(StorageError):  # the worker itself will find out
                storage.optuna.record_heartbeat(trial._trial_id)

    if storage.beats:
        threading.Thread(target=beat, daemon=True).start()
    try:
        yield
    finally:
        done.set()


class _Crew:
    """The workers of this machine: a locked file each in a folder.

    Args:
        folder: of these files.
        storage: of the study.

    Attributes:
        token: name of our own file.
    """

    def __init__(self, folder: Path, storage: Storage) -> None:
        self.folder, self.storage, self.token = folder, storage, uuid.uuid4().hex
        self._since = time.monotonic()
        self._silent: dict[int, float] = {}

    def __enter__(self) -> _Crew:
        self._handle = lock_path(self.folder / self.token)
        return self

    def __exit__(self, *error: object) -> None:
        assert self._handle is not None
        os.close(self._handle)
        if error == (None, None, None):  # otherwise the file tells the next worker that ours died
            with contextlib.suppress(OSError):
                (self.folder / self.token).unlink()

    def take_over(self, study: Any) -> None:
        """Give up the trials of the dead, and queue them again."""
        states = optuna().trial.TrialState
        now = time.monotonic()
        running = study.get_trials(deepcopy=False, states=(states.RUNNING,))
        for trial in running:
            token = trial.user_attrs.get("lock")
            if token is None:  # killed between two steps; with a server its worker may just be about to say who it is
                silent = now - self._silent.setdefault(trial.number, now)
                dead = not self.storage.beats or silent > self.storage.patience.dead
            else:
                dead = token != self.token and self._gone(token)
            if dead:
                _fail(study, trial)
        # While the storage was away nobody could say that they live.
        if self.storage.beats and now - max(self._since, self.storage.away) > self.storage.patience.dead:
            with quiet() as module:
                module.storages.fail_stale_trials(study)
        self._sweep({trial.user_attrs.get("lock") for trial in running})
        _queue_again(study)

    def _gone(self, token: str, *, remove: bool = False) -> bool:
        """Whether a worker of this folder is dead; its file may be removed while it is surely nobody's."""
        path = self.folder / token
        try:
            handle = lock_path(path, wait=False, make=False)
        except OSError:
            return not self.storage.beats  # a worker on another machine, or one that left nothing behind
        if handle is None:
            return False
        if remove:
            with contextlib.suppress(OSError):
                path.unlink()
        os.close(handle)
        return True

    def _sweep(self, used: set[Any]) -> None:
        for path in self.folder.iterdir():
            if path.name not in used and path.name != self.token:
                self._gone(path.name, remove=True)


def _fail(study: Any, trial: Any) -> None:
    # Another worker may have been faster.
    with contextlib.suppress(ValueError, optuna().exceptions.UpdateFinishedTrialError):
        study.tell(trial.number, state=optuna().trial.TrialState.FAIL)


def _queue_again(study: Any) -> None:
    """Each trial whose worker died waits once more, whoever found it dead and however far they came."""
    trials = study.get_trials(deepcopy=False)
    again = {trial.system_attrs["retry_history"][-1] for trial in trials if trial.system_attrs.get("retry_history")}
    with quiet() as module:
        retry = module.storages.RetryHeartbeatStaleTrialCallback(max_retry=RETRIES, inherit_intermediate_values=True)
    for trial in trials:
        lost = trial.state.name == "FAIL" and reason(trial) is None and not _void(trial)
        if lost and trial.number not in again:
            retry(study, copy.deepcopy(trial))  # it adds to the history that it is given
