"""Searches: chosen on the selection split, resumable, counted exactly."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import mien
from mien.cli import application
from mien.cli.common import print_table
from mien.datasets import FaceSet, load_dataset
from mien.ensembles import ensemble_of_results, make
from mien.errors import InputError, SealedSplitError, UnknownNameError
from mien.systems import card
from mien.training import Recipe, Run
from mien.training.search import Search, plots, search
from mien.training.search.space import get_space
from mien.training.search.storage import Storage

optuna = pytest.importorskip("optuna")

TINY = [
    "compile=false", "precision=fp32", "ema=0", "system.widths=[4, 8]", "system.depths=[1, 1]", "schedule.warmup=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    return load_dataset("drawn", count=140, seed=0)


def run(faces: FaceSet, out: Path, **options: Any) -> Search:
    given: dict[str, Any] = {"trials": 3, "epochs": 1, "settings": TINY, "sampler": "random", "device": "cpu"} | options
    return search("compact", faces, out=out, **given)


@pytest.fixture(scope="module")
def searched(faces: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Search:
    return run(faces, tmp_path_factory.mktemp("searches"))


def test_the_best_trial_becomes_a_recipe(searched: Search) -> None:
    assert len(searched.trials) == 3
    values = [trial["value"] for trial in searched.trials]
    assert searched.value == max(values)
    best = Recipe.from_toml(searched.folder / "best.toml")
    assert best == searched.best
    assert best.epochs == Recipe.of(card("compact")).epochs, "a full training, not the length of a trial"
    winner = searched.trials[values.index(max(values))]
    assert best.optim.lr == pytest.approx(winner["params"]["lr"])
    assert best.system["widths"] == (4, 8)
    assert (best.searched.study, best.searched.seed) == (searched.study, 0)
    told = json.loads((searched.folder / "search.json").read_text())
    assert told["trials"] == searched.trials
    for picture in ("history.png", "importance.png"):
        assert (searched.folder / picture).read_bytes()[:4] == b"\x89PNG"


def test_a_value_is_the_selection_accuracy_of_a_run(searched: Search) -> None:
    for trial in searched.trials:
        made = Run.open(searched.folder / "trials" / trial["run"])
        assert made.info["selection_accuracy"] == trial["value"]


def test_the_same_call_goes_on_and_makes_no_trial_too_many(searched: Search, faces: FaceSet) -> None:
    out = searched.folder.parent
    assert run(faces, out).trials == searched.trials
    more = run(faces, out, trials=4)
    assert more.trials[:3] == searched.trials
    assert len(more.trials) == 4


def test_a_killed_trial_is_made_again_in_its_own_run(faces: FaceSet, tmp_path: Path) -> None:
    first = run(faces, tmp_path, trials=1, epochs=2)
    study = optuna.load_study(storage=Storage(first.storage, first.folder).optuna, study_name=first.study)
    dead = study.ask(fixed_distributions=study.trials[0].distributions)
    dead.set_user_attr("lock", "nobody")
    dead.set_user_attr("recipe_hash", "drawn")
    after = run(faces, tmp_path, trials=2, epochs=2)
    assert [trial["state"] for trial in after.trials] == ["complete", "fail", "complete"]
    assert after.trials[1]["params"] == after.trials[2]["params"]


def test_hopeless_trials_are_pruned_and_leave_nothing(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda self: self.number == 1)  # after its first epoch
    found = run(faces, tmp_path, trials=3, epochs=2, pruner="asha")
    assert [trial["state"] for trial in found.trials] == ["complete", "pruned", "complete"]
    assert found.trials[1]["epochs"] == 1
    assert len(list((found.folder / "trials").iterdir())) == 2


def test_networks_too_large_for_the_machine_are_not_trained(faces: FaceSet, tmp_path: Path) -> None:
    found = search("cnn", faces, trials=3, epochs=1, out=tmp_path, device="cpu", max_mmacs=1)
    assert [trial["state"] for trial in found.trials] == ["pruned"] * 3
    assert all("million multiply-accumulates, more than the 1 " in trial["reason"] for trial in found.trials)
    assert not (found.folder / "trials").exists()
    assert json.loads((found.folder / "search.json").read_text())["max_mmacs"] == 1
    smallest = min(int(trial["reason"].split()[0].replace(",", "")) for trial in found.trials)
    words = r"the smallest of them has [\d,]+ million multiply-accumulates: give --max-mmacs (\d+) or more"
    told = re.search(words, found.advice())
    assert told
    assert smallest <= int(told[1]) <= smallest + 1
    allowed = run(faces, tmp_path, trials=1, max_mmacs=50)
    assert [trial["state"] for trial in allowed.trials] == ["complete"]


def test_a_table_has_a_column_per_choice_that_differs() -> None:
    def trial(number: int, value: float | None, **params: Any) -> dict[str, Any]:
        return {"number": number, "value": value, "state": "complete", "epochs": 1, "params": params}

    trials = [trial(0, 0.5, lr=0.1, pool="max", batch_size=64), trial(1, None), trial(2, 0.75, lr=0.001234, pool="max")]
    columns, rows = Search(Path(), "", "", "", trials, None, None).table(3)
    assert columns == ["trial", "selection", "state", "epochs", "lr", "pool", "batch\nsize"]
    assert rows[0] == ["2", "75.00%", "complete", "1", "0.00123", "max", "–"]
    assert [row[0] for row in rows] == ["2", "0", "1"]
    two = Search(Path(), "", "", "", [trials[0], trials[2]], None, None)
    assert "pool" not in two.table()[0], "it does not differ"
    assert len(two.table(1)[1]) == 1


def test_a_wide_table_comes_in_parts(capsys: pytest.CaptureFixture[str]) -> None:
    columns = ["trial", *(f"choice{number}" for number in range(12))]
    print_table(columns, [["7", *["0.001"] * 12]], keep=1)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert said.count("trial") == said.count("│ 7 ") == 2
    assert all(said.count(f" choice{number} ") == 1 for number in range(12))


def test_the_pictures(tmp_path: Path) -> None:
    from matplotlib import pyplot

    kept: list[Any] = []
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(lambda t: t.suggest_float("lr", 0, 1) - 2 * t.suggest_float("mixup", 0, 1), n_trials=9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "_close", kept.append)
        plots.plot(study, tmp_path)
    history, importance = (figure.axes[0] for figure in kept)
    assert [line.get_drawstyle() for line in history.lines] == ["steps-post"]
    figure = history.figure
    figure.canvas.draw()
    assert history.get_legend().get_window_extent().y0 >= history.get_window_extent().y1, "no point lies behind it"
    importance.figure.canvas.draw()
    for bar, value in zip(importance.patches, importance.texts, strict=True):
        assert value.get_window_extent().x0 > bar.get_window_extent().x1 + 2
    for figure in kept:
        pyplot.close(figure)


def test_a_trial_that_cannot_be_does_not_end_the_search(faces: FaceSet, tmp_path: Path) -> None:
    found = run(faces, tmp_path, trials=2, settings=[*TINY, "clip=0", "augment.contrast=1"], epochs=1, pruner="none")
    assert len(found.trials) == 2
    broken = search("compact", faces, trials=1, epochs=1, settings=[*TINY, "system.depths=[1]"], out=tmp_path)
    assert broken.best is None
    assert broken.trials[0]["state"] == "fail"
    assert broken.trials[0]["reason"]


def test_a_database_keeps_it_too(faces: FaceSet, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'search.db'}"
    found = run(faces, tmp_path, trials=1, storage=url, sampler="tpe")
    assert found.storage == url
    assert run(faces, tmp_path, trials=1, storage=url, sampler="tpe").trials == found.trials


def test_what_cannot_be_asked_for(faces: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no space is called 'cnm'; did you mean 'cnn'"):
        search("cnm", faces, out=tmp_path)
    with pytest.raises(InputError, match="no sampler is called 'tree'"):
        run(faces, tmp_path, sampler="tree")
    with pytest.raises(InputError, match="cannot be used") as caught:
        run(faces, tmp_path, storage="nosuch://me:secret@host/name")
    assert "secret" not in str(caught.value)
    assert not list(tmp_path.rglob("*.toml"))


def test_the_test_split_is_out_of_reach(faces: FaceSet, tmp_path: Path) -> None:
    class Cheat:
        """A face set whose selection split is its test split."""

        fingerprint, label_set, train, selection = faces.fingerprint, faces.label_set, faces.train, faces.test

    with pytest.raises(SealedSplitError, match="never the test split"):
        run(Cheat(), tmp_path)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def trial(searched: Search) -> Run:
    """The best one."""
    [name] = [t["run"] for t in searched.trials if t["value"] == searched.value][:1]
    return Run.open(searched.folder / "trials" / name)


def retrained(searched: Search, faces: FaceSet, out: Path, seed: int, **options: Any) -> Run:
    recipe = Recipe.from_toml(searched.folder / "best.toml").with_(epochs=1)
    return mien.train("compact", faces.train, faces.selection, recipe=recipe, seed=seed, out=out, **options)


def test_a_trial_never_sees_the_test_split(trial: Run, searched: Search, faces: FaceSet, tmp_path: Path) -> None:
    assert trial.info["searched"] == searched.study
    words = f"mien train compact --recipe searches/{searched.study}/best.toml --seed 1"
    with pytest.raises(SealedSplitError, match=words):
        mien.evaluate(trial, faces.test, results=tmp_path)
    assert not (tmp_path / "ledger.jsonl").exists(), "no opening is noted"
    result = mien.evaluate(trial, faces.selection, results=tmp_path)
    assert result.metrics["selection_accuracy"] == pytest.approx(searched.value, abs=1e-6)
    with pytest.raises(SealedSplitError, match=words):
        ensemble_of_results([result, result], test=True, folder=tmp_path)


def test_the_best_recipe_is_measured_with_a_fresh_seed_only(
    trial: Run, searched: Search, faces: FaceSet, tmp_path: Path
) -> None:
    again, fresh = (retrained(searched, faces, tmp_path, seed) for seed in (0, 1))
    with pytest.raises(SealedSplitError, match="--seed 1"):
        mien.evaluate(again, faces.test, results=tmp_path)
    assert "searched" not in fresh.info
    result = mien.evaluate(fresh, faces.test, results=tmp_path)
    assert result.opening
    assert result.recipe["searched"] == {"study": searched.study, "seed": 0}
    # The weights of a trial are no fresh ones.
    begun = mien.train(
        "compact", faces.train, faces.selection, recipe=fresh.recipe, seed=2, out=tmp_path, init=trial.folder
    )
    with pytest.raises(SealedSplitError, match="a trial of the search"):
        mien.evaluate(begun, faces.test, results=tmp_path)


def test_neither_a_bundle_nor_an_ensemble_hides_a_trial(
    trial: Run, searched: Search, faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxscript")
    bundle = trial.export(tmp_path / "trial.onnx")
    with pytest.raises(SealedSplitError, match="a trial of the search"):
        mien.evaluate(bundle, faces.test, results=tmp_path)
    monkeypatch.setattr("mien.evaluation.data_choice.load_dataset", lambda name, path, **options: faces)
    fresh = retrained(searched, faces, tmp_path, 1).export(tmp_path / "fresh.onnx")
    members = [tmp_path / "fresh.onnx", tmp_path / "trial.onnx"]
    with pytest.raises(SealedSplitError, match="a trial of the search"):
        make(members, split="test", data="drawn", results=tmp_path, onnx=tmp_path / "both.onnx")
    assert not (tmp_path / "both.onnx").exists()
    _, both = make(members, data="drawn", results=tmp_path, onnx=tmp_path / "both.onnx")
    assert both is not None
    with pytest.raises(SealedSplitError, match="a trial of the search"):
        mien.evaluate(both, faces.test, results=tmp_path)
    assert mien.evaluate(fresh, faces.test, results=tmp_path).opening


def test_the_command(faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mien.datasets.load_dataset", lambda name, path: faces)
    words = [
        "search",
        "--space",
        "compact",
        "--trials",
        "2",
        "--epochs",
        "1",
        "--out",
        str(tmp_path),
        "--device",
        "cpu",
    ]
    for setting in TINY:
        words += ["--set", setting]
    done = CliRunner().invoke(application(), words)
    assert done.exit_code == 0, done.output
    assert "train it with fresh seeds: mien train compact --recipe" in done.output
    told = CliRunner().invoke(application(), [*words, "--json"])
    assert len(json.loads(told.stdout)["trials"]) == 2


@pytest.mark.parametrize("seed", range(6))
def test_every_point_of_the_cnn_space_is_a_network(seed: int) -> None:
    from mien import systems

    space = get_space("cnn")
    base = Recipe.of(card(space.system), space.base)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=seed))
    recipe = space.recipe(study.ask(), base)
    assert recipe.optim.name in ("adam", "sgd")
    if max(max(block) for block in recipe.system["filters"]) <= 256:
        systems.create(space.system, **recipe.system)


@pytest.mark.full
def test_workers_share_a_study(faces: FaceSet, tmp_path: Path) -> None:
    found = run(faces, tmp_path, trials=4, workers=2)
    assert len(found.trials) == 4
