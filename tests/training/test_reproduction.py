"""Measured again: a bundle from its file, a run by training, a bundle by training where that is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien import systems
from mien.datasets import FaceSet
from mien.ensembles import ensemble_of_results
from mien.errors import InputError
from mien.evaluation import evaluate
from mien.results import Result, difference, measured_differs, protocols
from mien.training import ClassicalRecipe, Run, reproduce, train


@pytest.fixture
def ranked(faces: FaceSet, monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol of own data, as if it were about these drawn faces."""
    real = protocols.get
    monkeypatch.setattr(protocols, "get", lambda name: replace(real(name), face_set="drawn"))
    monkeypatch.setattr("mien.training.reproduction.load_dataset", lambda name, path: faces)


def same(recorded: Result, again: Result) -> bool:
    return not measured_differs(difference(recorded, again))


@pytest.mark.usefixtures("ranked")
def test_a_run_is_trained_again_or_taken_from_its_folder(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    recorded = evaluate(trained, faces.test, results=tmp_path)
    from_folder = reproduce(recorded, source=trained.folder, results=tmp_path)
    assert same(recorded, from_folder)
    assert from_folder.weights_sha256 == recorded.weights_sha256
    again = reproduce(recorded, results=tmp_path)
    assert again.weights_sha256 == recorded.weights_sha256  # equal seeds, equal machine: to the last bit
    assert same(recorded, again)
    # Each of them opened the test split, and the ledger says so.
    assert len({recorded.opening, from_folder.opening, again.opening}) == 3


@pytest.mark.usefixtures("ranked")
@pytest.mark.parametrize("calibration", ["temperature", "vector"])
def test_a_bundle_is_evaluated_again_and_trained_again_on_request(
    trained: Run, faces: FaceSet, tmp_path: Path, calibration: str
) -> None:
    pytest.importorskip("onnxscript")
    path = tmp_path / "small.onnx"
    bundle = trained.export(path, data=faces, calibration=calibration)
    recorded = evaluate(bundle, faces.selection, results=tmp_path)
    assert recorded.kind == "bundle"
    assert same(recorded, reproduce(recorded, source=path, results=tmp_path))
    again = reproduce(recorded, retrain=True, results=tmp_path)
    assert again.kind == "bundle"
    assert same(recorded, again)
    assert again.opening is None


@pytest.mark.usefixtures("ranked")
def test_what_cannot_be_measured_again(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    recorded = evaluate(trained, faces.selection, results=tmp_path)
    with pytest.raises(InputError, match="training again needs no weights"):
        reproduce(recorded, source=trained.folder, retrain=True)
    with pytest.raises(InputError, match="holds other weights"):
        reproduce(replace(recorded, weights_sha256="ab"), source=trained.folder)
    with pytest.raises(InputError, match="neither recipe nor seed"):
        reproduce(replace(recorded, recipe={}))
    with pytest.raises(InputError, match="another bundle than the default one"):
        reproduce(replace(recorded, kind="bundle"))
    with pytest.raises(InputError, match="of kind 'submitted'"):
        reproduce(replace(recorded, kind="submitted"))


def _classical(name: str, *changes: str) -> ClassicalRecipe:
    tiny = systems.card(name).tiny.items()
    return ClassicalRecipe.of(systems.card(name)).set([f"system.{k}={json.dumps(v)}" for k, v in tiny]).set(changes)


@pytest.mark.usefixtures("ranked", "mien_cache")
def test_what_is_no_network_is_fitted_again(faces: FaceSet, tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", np.random.default_rng(0).normal(size=(len(faces), 8)).astype("f4"))
    recipe = _classical("turtle", f'system.features=["{(tmp_path / "own.npy").as_posix()}"]', "system.method=kmeans")
    run = train("turtle", faces.train, faces.selection, recipe=recipe, seed=3, out=tmp_path / "runs")
    recorded = evaluate(run, faces.test, results=tmp_path)
    assert recorded.kind == "clustering"
    again = reproduce(recorded, results=tmp_path)
    assert again.predictions_sha256 == recorded.predictions_sha256
    assert (again.seed, again.recipe_hash) == (3, recorded.recipe_hash)
    assert {recorded.opening, again.opening} & {None} == set()
    assert reproduce(recorded, source=run.folder, results=tmp_path).predictions_sha256 == recorded.predictions_sha256
    np.save(tmp_path / "own.npy", np.load(tmp_path / "own.npy")[::-1])
    with pytest.raises(InputError, match=r"the recipe names .*own\.npy"):
        reproduce(recorded, results=tmp_path)
    (tmp_path / "own.npy").unlink()
    with pytest.raises(InputError, match=r"own\.npy: No such file"):
        reproduce(recorded, results=tmp_path)


@pytest.mark.usefixtures("ranked")
def test_an_ensemble_is_put_together_from_its_recorded_members(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    members = [evaluate(trained, faces.test, views=views, results=tmp_path) for views in ("one", "flip")]
    recorded = ensemble_of_results(members, name="pair", how="weights", test=True, folder=tmp_path)
    members[0].save(tmp_path)
    with pytest.raises(InputError, match=rf"is made of {members[1].system} \({members[1].id}\), which"):
        reproduce(recorded, results=tmp_path)
    members[1].save(tmp_path)
    again = reproduce(recorded, results=tmp_path)
    assert again.predictions_sha256 == recorded.predictions_sha256
    assert again.recipe_hash == recorded.recipe_hash
    with pytest.raises(InputError, match="from its recorded members"):
        reproduce(recorded, retrain=True, results=tmp_path)
    # Of bundles and runs the recipe knows the weights only.
    bare = [{k: v for k, v in m.items() if k != "result"} for m in recorded.recipe["members"]]
    by_weights = replace(recorded, recipe={**recorded.recipe, "members": bare})
    assert same(recorded, reproduce(by_weights, results=tmp_path))
    with pytest.raises(InputError, match="view flip"):
        reproduce(
            replace(
                by_weights, recipe={**by_weights.recipe, "members": [bare[0], {**bare[1], "weights_sha256": "ab"}]}
            ),
            results=tmp_path,
        )
