"""Search: many short trainings, the next one where the last ones say it is worth it. Needs the extra ``search``.

Optuna keeps the study (Akiba et al., "Optuna: A next-generation hyperparameter optimization framework", KDD 2019). The
objective is the accuracy on the selection split; the test split cannot be given. A trial is a run like any other, named
after its recipe, so a killed search goes on inside the very trial that it was killed in. `worker` makes the
trials, `storage` keeps the study.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien import systems
from mien.errors import InputError, MienError, SealedSplitError, StoppedError
from mien.evaluation.devices import check_device
from mien.registry import suggestion
from mien.store import write_text
from mien.store.cpu import cpu_count
from mien.training.recipe import Recipe, Searched
from mien.training.search.space import Space, get_space
from mien.training.search.stopping import Stop
from mien.training.search.storage import JOURNAL, Patience, Storage, optuna, public, quiet
from mien.training.search.worker import SEED, Notify, Plan, load, reason, standing, work
from mien.training.stopping import listening

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
        trials: one entry per trial: number, state, value, params, reason, epochs, seconds; mmacs of those too large.
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

    def table(self, most: int = 10) -> tuple[list[str], list[list[str]]]:
        """Column names, and the text of the best trials' cells: of the choices, those in which they differ.

        Args:
            most: trials.
        """
        ranked = sorted(self.trials, key=lambda trial: -(trial["value"] if trial["value"] is not None else -1))[:most]
        names = dict.fromkeys(name for trial in ranked for name in trial["params"])
        choices = [name for name in names if len({str(trial["params"].get(name)) for trial in ranked}) > 1]
        rows = [
            [
                str(trial["number"]),
                f"{trial['value']:.2%}" if trial["value"] is not None else "–",
                trial["state"],
                str(trial["epochs"] or "–"),
                *(_short(trial["params"].get(name)) for name in choices),
            ]
            for trial in ranked
        ]
        return ["trial", "selection", "state", "epochs", *(name.replace("_", "\n") for name in choices)], rows

    def advice(self) -> str:
        """What to do when no trial came through; nothing when one did."""
        if self.best is not None:
            return ""
        sizes = [trial["mmacs"] for trial in self.trials]
        if sizes and None not in sizes:
            return (
                f"every network was too large; the smallest of them has {math.ceil(min(sizes)):,} million "
                f"multiply-accumulates: give --max-mmacs {math.ceil(min(sizes))} or more, which is a search of its own"
            )
        return "no trial came through; look at the reasons above"


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
    max_mmacs: int = 0,
    patience: Patience | None = None,
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
        seed: of the sampler; trials are trained with seed `SEED`, and so the outcome has to be trained with
            another one: the test split stays sealed for what was trained with this one.
        storage: URL of a database (``sqlite:///f.db``, ``postgresql://…``); by default a journal in the folder.
        workers: processes that search together on this machine; more can join from others through the storage. A
            search ends when the trials of all of them are made, also those whose worker died on the way.
        out: folder that holds searches.
        device: of the trainings.
        max_mmacs: trials of networks with more million multiply-accumulates per face are pruned before they are
            trained, so that a search fits a machine; 0 for no bound.
        patience: how long a silent worker and a silent storage are waited for.
        on_progress: called after each trial with (trials done, in all, best value so far).

    Returns:
        The study, with ``search.json``, ``best.toml``, ``history.png`` and ``importance.png`` in its folder.

    Raises:
        InputError: an unknown space, sampler or pruner, a storage that cannot be reached, or one that holds a study
            of other data.
        StorageError: the storage answered once and then no more.
        StoppedError: SIGTERM came; the same call goes on from there, inside the trial.
        KeyboardInterrupt: Ctrl-C came; likewise.
    """
    optuna()
    for what, given, known in (("sampler", sampler, SAMPLERS), ("pruner", pruner, PRUNERS)):
        if given not in known:
            raise InputError(f"no {what} is called {given!r}; {suggestion(given, known)}")
    check_device(device)
    if trials < 1 or workers < 1:
        raise InputError("a search makes at least one trial with at least one worker")
    chosen = get_space(space)
    for split in (data.train, data.selection):
        if split.role == "test":
            raise SealedSplitError("a search sees data.train and data.selection, never the test split")
    base = Recipe.of(systems.card(chosen.system), chosen.base).with_(epochs=epochs or chosen.epochs).set(settings)
    base = base.with_(name="search")
    text = json.dumps([chosen.name, base.hash, data.fingerprint, *[max_mmacs] * bool(max_mmacs)])
    study = f"{chosen.name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    folder = Path(out) / study
    folder.mkdir(parents=True, exist_ok=True)
    where = storage or f"{JOURNAL}{folder / 'journal.log'}"
    patience = patience or Patience()
    threads = max(1, cpu_count() // workers)
    plan = Plan(
        chosen.name, base, trials, sampler, pruner, seed, where, study, folder, device, threads, patience, max_mmacs
    )
    _create(plan, data)
    if workers == 1:
        work(plan, data, on_progress)
    else:
        _together(plan, data, workers, on_progress)
    return summary(plan, chosen)


def summary(plan: Plan, space: Space) -> Search:
    """Read a study, and write its summary, its best recipe and its plots."""
    folder, base = plan.folder, plan.base
    loaded = load(Storage(plan.storage, folder, plan.patience), plan)
    trials = loaded.trials
    done = [t for t in trials if t.state == optuna().trial.TrialState.COMPLETE]
    best = max(done, key=lambda t: (t.value, -t.number), default=None)
    recipe = None
    if best is not None:
        epochs = space.final_epochs or Recipe.of(systems.card(space.system), space.base).epochs
        recipe = space.recipe(optuna().trial.FixedTrial(best.params), base)
        recipe = recipe.with_(name=NAME, epochs=epochs, searched=Searched(plan.study, SEED))
        write_text(folder / "best.toml", recipe.to_toml())
    found = Search(
        folder=folder,
        study=plan.study,
        storage=public(plan.storage),
        space=space.name,
        trials=[_entry(trial) for trial in trials],
        best=recipe,
        value=best.value if best is not None else None,
    )
    told = {
        "study": plan.study,
        "space": space.name,
        "storage": found.storage,
        "seed_of_trials": SEED,
        "max_mmacs": plan.max_mmacs,
        "base": base.to_dict(),
        "data_fingerprint": loaded.user_attrs["data_fingerprint"],
        "best": {"number": best.number, "value": best.value, "params": best.params} if best is not None else None,
        "trials": found.trials,
    }
    write_text(folder / "search.json", json.dumps(told, indent=2, ensure_ascii=False) + "\n")
    from mien.training.search.plots import plot

    plot(loaded, folder)
    return found


def _together(plan: Plan, data: FaceSet, workers: int, notify: Notify | None) -> None:
    import multiprocessing

    context = multiprocessing.get_context("spawn")
    said = context.SimpleQueue()
    processes = [context.Process(target=_worker, args=(plan, data, said)) for _ in range(workers)]
    try:
        with listening(Stop(plan.folder)):
            for process in processes:
                process.start()
            study = load(Storage(plan.storage, plan.folder, plan.patience), plan)
            while any(process.is_alive() for process in processes):
                for process in processes:
                    process.join(timeout=1)
                if notify:
                    notify(*standing(study, plan))
    except BaseException:
        for process in processes:
            if process.is_alive():
                process.terminate()  # which they take as `work` does
        raise
    finally:
        for process in processes:
            if process.pid is not None:
                process.join()
    # One that was killed is no loss: the others made its trial.
    if any(process.exitcode for process in processes) and standing(study, plan)[0] < plan.trials:
        raise InputError(
            "the workers of the search ended before its trials were made"
            + ("; the same command goes on with it" if said.empty() else f": {said.get()}")
        )


def _worker(plan: Plan, data: FaceSet, said: Any) -> None:
    import sys

    import torch

    torch.set_num_threads(plan.threads)
    try:
        work(plan, data)
    except (KeyboardInterrupt, StoppedError):
        sys.exit(143)  # whoever asked all of them to stop says so
    except MienError as error:
        said.put(str(error))
        sys.exit(2)


def _create(plan: Plan, data: FaceSet) -> None:
    try:
        storage = Storage(plan.storage, plan.folder, plan.patience, first=True)
        with storage.alone(), quiet() as module:
            study = module.create_study(
                storage=storage.optuna, study_name=plan.study, direction="maximize", load_if_exists=True
            )
            known = study.user_attrs.get("data_fingerprint")
            if known is None:
                study.set_user_attr("data_fingerprint", data.fingerprint)
    except MienError:
        raise
    except Exception as error:
        # Optuna passes on whatever its database says: drivers, rights, addresses.
        said = str(error).splitlines()[0][:200]
        raise InputError(
            f"the storage {public(plan.storage)} cannot be used ({said}); give a URL like sqlite:///search.db or "
            "postgresql://user@host/name, or none"
        ) from None
    if known not in (None, data.fingerprint):
        raise InputError(f"the study {plan.study} in {public(plan.storage)} is about other data; give another --out")


def _entry(trial: Any) -> dict[str, Any]:
    told: Mapping[str, Any] = trial.user_attrs
    return {
        "number": trial.number,
        "state": trial.state.name.lower(),
        "value": trial.value if trial.state.name == "COMPLETE" else None,
        "last": trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None,
        "epochs": told.get("epochs"),
        "seconds": told.get("seconds"),
        "reason": reason(trial),
        "mmacs": told.get("mmacs"),
        "run": told.get("run"),
        "params": trial.params,
    }


def _short(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
