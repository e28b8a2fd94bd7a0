"""Workers that die, meet, or come late; and the journal of those on one machine."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import searching

from mien.datasets import FaceSet, load_dataset
from mien.errors import InputError
from mien.training import Run
from mien.training.search import Search, search
from mien.training.search import storage as search_storage
from mien.training.search import worker as search_worker
from mien.training.search.storage import Patience, Storage, public
from mien.training.search.worker import RETRIES

optuna = pytest.importorskip("optuna")


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return load_dataset("drawn", count=140, seed=0)


def run(faces: FaceSet, out: Path, **options: Any) -> Search:
    given: dict[str, Any] = {
        "trials": 2, "epochs": 1, "settings": searching.TINY, "sampler": "random", "device": "cpu", "pruner": "none",
    }  # fmt: skip
    return search("compact", faces, out=out, **given | options)


def study_of(found: Search) -> Any:
    return optuna.load_study(storage=Storage(found.storage, found.folder).optuna, study_name=found.study)


def test_machines_draw_differently_and_together_what_one_would_have_drawn(faces: FaceSet, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    run(faces, tmp_path / "one", storage=url)
    both = run(faces, tmp_path / "two", storage=url, trials=3)
    alone = run(faces, tmp_path / "alone", trials=3)
    assert [t["params"] for t in both.trials] == [t["params"] for t in alone.trials]
    assert len({json.dumps(t["params"]) for t in both.trials}) == 3


def test_a_journal_survives_half_a_line_and_a_dead_lock(faces: FaceSet, tmp_path: Path) -> None:
    first = run(faces, tmp_path)
    journal = first.folder / "journal.log"
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker_id": "x')
    (first.folder / "journal.log.lock").touch()
    more = run(faces, tmp_path, trials=3)
    assert more.trials[:2] == first.trials
    assert len(more.trials) == 3
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_trial_that_kills_its_workers_is_given_up(faces: FaceSet, tmp_path: Path) -> None:
    first = run(faces, tmp_path, trials=1)
    study = study_of(first)
    deadly = study.ask(fixed_distributions=study.trials[0].distributions)
    for _ in range(RETRIES + 1):
        deadly.set_user_attr("recipe_hash", "drawn")
        deadly.set_user_attr("lock", "dead")
        storage = Storage(first.storage, first.folder)
        with search_worker._Crew(first.folder / "workers", storage) as crew:
            crew.take_over(study)
        waiting = study.get_trials(states=(optuna.trial.TrialState.WAITING,))
        if waiting:
            deadly = study.ask()
            assert deadly.params == study.trials[1].params
    after = run(faces, tmp_path, trials=2)
    assert [t["state"] for t in after.trials] == ["complete", *["fail"] * (RETRIES + 1)]
    assert after.trials[-1]["reason"].startswith(f"its worker died {RETRIES + 1} times")
    assert after.best is not None


def test_whoever_was_thought_dead_does_not_count(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its trial was given up while it trained; the one made again counts, and is there at once."""
    train = search_worker.train_run
    calls: list[str] = []

    def late(*given: Any, **named: Any) -> Any:
        made = train(*given, **named)
        if not calls:
            [folder] = tmp_path.glob("compact-*")
            study = study_of(
                Search(folder, folder.name, f"journal:{folder / 'journal.log'}", "compact", [], None, None)
            )
            study.tell(0, state=optuna.trial.TrialState.FAIL)
        calls.append(made.folder.name)
        return made

    monkeypatch.setattr(search_worker, "train_run", late)
    found = run(faces, tmp_path, trials=1)
    assert [t["state"] for t in found.trials] == ["fail", "complete"]
    assert found.trials[0]["params"] == found.trials[1]["params"]
    assert len(set(calls)) == 1, "in the same run"


def test_two_workers_that_draw_the_same_do_not_take_the_run_from_each_other(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One is stopped early and removes its run, while the other one waits for it, or goes on in it already."""
    monkeypatch.setattr(search_worker, "_sampler", lambda plan, ordinal: optuna.samplers.RandomSampler(seed=0))
    first_trains = threading.Event()

    def should_prune(trial: optuna.Trial) -> bool:
        if trial.number == 0:
            first_trains.set()
            time.sleep(0.2)
        return trial.number == 0

    monkeypatch.setattr(optuna.Trial, "should_prune", should_prune)
    train_trial = search_worker._train

    def one_after_the_other(trial: optuna.Trial, *given: Any) -> None:
        if trial.number == 1:  # or the one that is stopped early would find a finished run
            assert first_trains.wait(timeout=120)
        train_trial(trial, *given)

    monkeypatch.setattr(search_worker, "_train", one_after_the_other)
    both_ask = threading.Barrier(2)
    ask = search_worker._next

    def together(*given: Any) -> Any:
        trial = ask(*given)
        if trial is not None:
            both_ask.wait(timeout=60)
        return trial

    monkeypatch.setattr(search_worker, "_next", together)
    failed: list[BaseException] = []

    def worker() -> None:
        try:
            run(faces, tmp_path, trials=2, epochs=3, pruner="median")
        except BaseException as error:
            failed.append(error)

    # The study is there before both begin, so that one of them draws trial 0 and the other one trial 1.
    threads = [threading.Thread(target=worker) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=200)
    assert not failed, failed
    found = run(faces, tmp_path, trials=2, epochs=3, pruner="median")
    assert sorted(t["state"] for t in found.trials) == ["complete", "pruned"], str(found.trials)
    [folder] = (found.folder / "trials").iterdir()
    [whole] = [t for t in found.trials if t["state"] == "complete"]
    assert Run.open(folder).finished
    assert folder.name == whole["run"]
    assert not (folder / "lock").exists()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@h:5432/db", "postgresql://me@h:5432/db"),
        ("postgresql+psycopg://me:p%40w@h/db?password=other", "postgresql://me@h/db"),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/a.db"),
    ],
)
def test_addresses_are_shown_without_what_is_secret(url: str, shown: str) -> None:
    assert public(url) == shown


def test_an_address_that_is_none_is_not_repeated(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no URL of a database") as caught:
        run(faces, tmp_path, storage="my secret password")
    assert "secret" not in str(caught.value)


def test_an_answer_that_breaks_off_counts_as_away() -> None:
    """Optuna takes it for too long a question and asks another one, in the same transaction."""
    from sqlalchemy import exc

    try:
        try:
            raise exc.OperationalError("SELECT", {}, Exception("server closed the connection"))
        except exc.OperationalError:
            raise exc.PendingRollbackError("roll back first")  # noqa: B904 - as there
    except exc.PendingRollbackError as error:
        told = optuna.exceptions.StorageInternalError("invalid data, perhaps")
        told.__cause__ = error
    assert search_storage._is_away(told)
    assert not search_storage._is_away(optuna.exceptions.StorageInternalError("invalid data"))


def test_patience_makes_sense() -> None:
    with pytest.raises(InputError, match="below dead"):
        Patience(beat=10, dead=10)


def test_who_sweeps_takes_no_file_of_a_worker_that_just_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the two steps of one that opens its file and locks it."""
    from mien.store import locking

    storage = Storage(f"journal:{tmp_path / 'journal'}", tmp_path)
    other, lock = search_worker._Crew(tmp_path / "workers", storage), locking.lock_file
    swept: list[int] = []

    def late(file: int, *, wait: bool = True) -> bool:
        if not swept:
            swept.append(1)
            other._sweep(set())
        return lock(file, wait=wait)

    monkeypatch.setattr(locking, "lock_file", late)
    with search_worker._Crew(tmp_path / "workers", storage) as crew:
        assert swept
        assert not other._gone(crew.token), "it lives, and is known to"
    assert not list((tmp_path / "workers").iterdir())
