"""Clustering without labels: found, chosen without labels, named once, marked where labels came in through features."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mien
from mien import systems
from mien.bundle import write_bundle
from mien.datasets import FaceSet
from mien.errors import InputError, MissingExtraError, RunError
from mien.features.spaces import LABELS_SEEN, feature_space
from mien.results import Result
from mien.systems.turtle import generalisation, match
from mien.systems.turtle_bilevel import Settings, label_without_labels, labelling
from mien.training import ClassicalRecipe, ClassicalRun, Run

CARD = systems.card("turtle")


def _clouds(count: int = 420, clusters: int = 3, width: int = 20) -> tuple[list[np.ndarray], np.ndarray]:
    random = np.random.default_rng(2)
    labels = np.arange(count) % clusters
    spaces = []
    for _ in range(2):
        centres = random.normal(0, 1, (clusters, width))
        space = centres[labels] + random.normal(0, 0.7, (count, width))
        spaces.append(((space - space.mean(0)) / space.std(0)).astype(np.float32))
    return spaces, labels


def test_it_finds_clusters_that_are_there() -> None:
    spaces, labels = _clouds()
    settings = Settings(3, steps=250, batch=210, lr=5e-3, inner_lr=5e-3)
    weights = label_without_labels(spaces, settings)
    shares = labelling(spaces, weights)
    assert shares.shape == (420, 3)
    assert np.allclose(shares.sum(1), 1, atol=1e-5)
    clusters = shares.argmax(1)
    assert (match(clusters, labels, 3)[clusters] == labels).mean() > 0.95
    again = label_without_labels(spaces, settings)
    assert all(np.array_equal(a, b) for a, b in zip(weights, again, strict=True))


def test_entropy_makes_clusters_of_equal_size() -> None:
    random = np.random.default_rng(2)
    rare = (np.arange(420) % 10 > 8).astype(int)
    space = random.normal(0, 1, (2, 20))[rare] + random.normal(0, 0.5, (420, 20))
    space = ((space - space.mean(0)) / space.std(0)).astype(np.float32)
    smallest = []
    for entropy in (0.0, 10.0):
        settings = Settings(3, steps=200, batch=210, lr=2e-2, inner_lr=5e-3, entropy=entropy)
        smallest.append(labelling([space], label_without_labels([space], settings)).mean(0).min())
    assert smallest[1] > 0.3 > 0.2 > smallest[0]


def test_generalisation_prefers_clusters_that_the_features_show() -> None:
    spaces, labels = _clouds()
    shuffled = np.random.default_rng(0).permutation(labels)
    assert generalisation(spaces, labels, 3) > 0.9 > 0.5 > generalisation(spaces, shuffled, 3)


def _fit(faces: FaceSet, out: Path, *settings: str) -> ClassicalRun:
    recipe = ClassicalRecipe.of(CARD).set(settings)
    run = mien.train("turtle", faces.train, faces.selection, recipe=recipe, out=out)
    assert isinstance(run, ClassicalRun)
    return run


@pytest.fixture
def matrix(faces: FaceSet, tmp_path: Path) -> Path:
    """Features of the whole face set that know the expression, with some noise."""
    random = np.random.default_rng(0)
    rows = np.concatenate([faces.train.rows, faces.selection.rows])
    labels = np.concatenate([faces.train.labels, faces.selection.labels])
    features = random.normal(0, 0.3, (len(faces), 12)).astype(np.float32)
    features[rows] += random.normal(0, 1, (7, 12))[labels].astype(np.float32)
    np.save(tmp_path / "own.npy", features)
    return tmp_path / "own.npy"


@pytest.mark.parametrize("method", ["turtle", "kmeans", "spectral"])
def test_each_method_is_fitted_and_measured_like_any_other_system(
    faces: FaceSet, matrix: Path, tmp_path: Path, mien_cache: Path, method: str
) -> None:
    pytest.importorskip("sklearn")
    run = _fit(
        faces, tmp_path / "runs", f'system.features=["{matrix.as_posix()}"]', f"system.method={method}",
        "system.steps=400", "system.batch=84", "system.lr=0.01", "system.inner_lr=0.01", "system.origin=drawn labels",
    )  # fmt: skip
    result = mien.evaluate(Run.open(run.folder), faces.selection, results=tmp_path)
    assert (result.kind, result.scores) == ("clustering", "clusters")
    assert result.metrics["selection_accuracy"] > 0.55
    assert result.extra_data == ("drawn labels",)
    assert "nll" not in result.metrics
    chosen = [c for c in run.info["notes"]["candidates"] if c["chosen"]]
    assert len(chosen) == (method == "turtle")
    result.save(tmp_path)
    assert Result.load(result.path(tmp_path)).id == result.id


def test_features_from_labels_are_marked(trained: Run, faces: FaceSet, tmp_path: Path, mien_cache: Path) -> None:
    trained.export(tmp_path / "small.onnx")
    space = feature_space(str(tmp_path / "small.onnx"), np.array(faces.train.images[:5]))
    assert space.extra_data == (LABELS_SEEN,)
    np.save(tmp_path / "any.npy", np.ones((len(faces), 3), np.float32))
    unknown = feature_space(str(tmp_path / "any.npy"), faces.train.images, faces.train.rows)
    assert unknown.extra_data == ("unknown",)
    assert feature_space("pixels", np.array(faces.train.images[:5])).extra_data == ()


def test_no_features_carry_in_what_is_left_out(trained: Run, faces: FaceSet, tmp_path: Path, mien_cache: Path) -> None:
    """A bundle that saw the fold that is left out, another copy, or crops of its own is no source of features."""
    bundle = trained.export(tmp_path / "small.onnx")
    part = faces.train.subset(np.arange(len(faces.train)) % 3 > 0)
    settings = (
        f'system.features=["{(tmp_path / "small.onnx").as_posix()}"]',
        "system.bow_weight=0.0",
        "system.neighbours=0",
    )
    recipe = ClassicalRecipe.of(systems.card("local-learning-deep-bow")).set(settings)
    run = mien.train("local-learning-deep-bow", faces.train, faces.selection, recipe=recipe, out=tmp_path / "whole")
    assert run.info["extra_data"] == []
    noted = bundle.card.notes["training"]
    for notes, split, message in (
        ({"training": noted}, part, "learnt from other faces of"),
        ({"training": {**noted, "data_fingerprint": "ff" * 32}}, faces.train, "learnt from another copy of"),
        ({"training": noted, "adaptation": {"crops": 40}}, faces.train, "was adapted to crops"),
    ):
        write_bundle(tmp_path / "small.onnx", bundle.model, replace(bundle.card, notes=notes))
        with pytest.raises(InputError, match=message):
            mien.train("local-learning-deep-bow", split, faces.selection, recipe=recipe, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    write_bundle(tmp_path / "small.onnx", bundle.model, replace(bundle.card, notes={}))
    run = mien.train("local-learning-deep-bow", faces.train, faces.selection, recipe=recipe, out=tmp_path / "r")
    assert run.info["extra_data"] == ["the training data of small.onnx"]


def test_the_features_have_to_be_the_same_ones(faces: FaceSet, matrix: Path, tmp_path: Path, mien_cache: Path) -> None:
    run = _fit(faces, tmp_path / "runs", f'system.features=["{matrix.as_posix()}"]', "system.method=kmeans")
    np.save(matrix, np.load(matrix) + 1)
    with pytest.raises(RunError, match="not what the clustering was fitted to"):
        mien.evaluate(run, faces.selection, results=tmp_path)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("system.method=turtel", "did you mean 'turtle'"),
        ("system.features=[]", "needs features"),
        ('system.features=["clip"]', "no features are called 'clip'"),
        ('system.features=["short.npy"]', "has 3 rows"),
        ('system.features=["selection.npy"]', "give one row per face of the whole face set"),
        ('system.features=["nan-selection.npy"]', "holds NaN"),
        ('system.features=["damaged.npy"]', "is no array of numbers"),
        ('system.features=["nan.npy"]', "holds NaN"),
        ('system.features=["no.npy"]', r"no\.npy: No such file"),
        ('system.features=["timm:nosuchnetwork"]', "not at hand"),
    ],
)
def test_what_cannot_be_clustered(
    faces: FaceSet, tmp_path: Path, mien_cache: Path, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("short.npy", np.zeros((3, 2)))
    np.save("nan.npy", np.full((len(faces), 2), np.nan))
    # What was learnt from is whole, and what the fit is measured on afterwards is not.
    assert faces.selection.rows.max() > faces.train.rows.max()
    whole = np.random.default_rng(0).normal(size=(len(faces), 2))
    np.save("selection.npy", whole[: faces.train.rows.max() + 1])
    whole[faces.selection.rows[0]] = np.nan
    np.save("nan-selection.npy", whole)
    Path("damaged.npy").write_bytes(Path("nan.npy").read_bytes()[:100])
    with pytest.raises(InputError, match=message):
        _fit(faces, tmp_path / "runs", setting)
    assert not list(tmp_path.rglob("fitted.npz"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("system", "package", "message"),
    [("turtle", "cv2", "dense SIFT needs"), ("local-learning-bow", "faiss", "visual words needs")],
)
def test_packages_that_only_some_features_need_are_told_before_there_is_a_run(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, system: str, package: str, message: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(MissingExtraError, match=rf"{message} packages .*mien\[classical\]"):
        mien.train(system, faces.train, faces.selection, out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_features_of_timm(faces: FaceSet, mien_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    timm = pytest.importorskip("timm")
    real = timm.create_model

    def at_hand(name: str, pretrained: bool, **options: Any) -> Any:
        import torch

        torch.manual_seed(0)
        return real(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", at_hand)
    images = np.array(faces.train.images[:2])
    space = feature_space("timm:test_vit", images)
    assert space.matrix.shape[0] == 2
    assert space.extra_data == ("test_vit weights",)
    assert feature_space("timm:test_vit", images).source == space.source
