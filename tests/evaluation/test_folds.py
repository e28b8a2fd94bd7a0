"""Cross-validation: what a fold learns from, and five runs as one result."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.bundle import InputSpec
from mien.cli import main
from mien.datasets import FaceSet, load_dataset
from mien.errors import DataError, InputError
from mien.evaluation import Subject, evaluate, parts
from mien.evaluation.subjects import no_logits
from mien.labels import FER2013
from mien.results import facts, protocols, verify
from mien.training import Run

FOLDS = "fer2013/folds@1"


@pytest.fixture(scope="module")
def like_fer2013() -> FaceSet:
    """Labels and splits of FER2013 on 8 × 8 pixels; one PublicTest face is the copy of a Training face."""
    known = facts.load("fer2013")
    images = np.random.default_rng(0).integers(0, 256, (len(known), 8, 8)).astype(np.uint8)
    images[known.rows("PublicTest")[3]] = images[0]
    names = known.split_names
    return FaceSet.from_arrays(
        "fer2013", FER2013, images, known.labels.copy(), known.splits.copy(), names, ("train", "selection", "test")
    )


@pytest.fixture
def official(like_fer2013: FaceSet, monkeypatch: pytest.MonkeyPatch) -> FaceSet:
    """The protocols take it for the official data set."""
    real = protocols.get
    fingerprint = like_fer2013.fingerprint
    monkeypatch.setattr(protocols, "get", lambda name: replace(real(name), data_fingerprint=fingerprint))
    return like_fer2013


def subjects(data: FaceSet) -> list[Subject]:
    """One per fold; the network of fold k says k of every face."""

    def of(fold: int) -> Any:
        def logits(images: Any) -> Any:
            out = np.full((len(images), 7), -1.0, np.float32)
            out[:, fold] = 1.0
            return out

        return logits

    return [
        Subject(
            "compact", "run", FER2013, InputSpec(8, 1, "grey", (0.5,), (0.5,)), of(part.fold), {"epochs": 1}, "ab", 0,
            f"{part.fold:02d}", cost={"seconds": 1.5, "epochs": 2, "params": 9}, trained_on=data.fingerprint,
            train_rows=part.train.rows_hash,
        )
        for part in parts(data, FOLDS)
    ]  # fmt: skip


def test_a_fold_is_not_learnt_from(official: FaceSet) -> None:
    found = parts(official, FOLDS)
    folds = protocols.get(FOLDS).test.folds
    assert [part.name for part in found] == ["fold0", "fold1", "fold2", "fold3", "fold4"]
    left_out = [np.setdiff1d(official.train.rows, part.train.rows) for part in found]
    assert np.array_equal(np.sort(np.concatenate(left_out)), official.train.rows)
    for part, rows in zip(found, left_out, strict=True):
        assert np.array_equal(rows, official.train.rows[folds == part.fold])
        # The epoch is chosen on PublicTest, without the face that Training has, too.
        assert part.selection.name == "PublicTest"
        assert np.array_equal(part.selection.rows, np.delete(official.selection.rows, 3))
    assert [part.fold for part in parts(official, FOLDS, 3)] == [3]
    (whole,) = parts(official)
    assert (whole.protocol, whole.name, len(whole.train)) == ("fer2013/private@1", "", 28709)


def test_wrong_folds_are_refused(official: FaceSet, faces: FaceSet) -> None:
    with pytest.raises(InputError, match="folds 0 to 4, not 5"):
        parts(official, FOLDS, 5)
    with pytest.raises(InputError, match="has no folds"):
        parts(official, fold=0)
    with pytest.raises(DataError, match="about the official fer2013"):
        parts(faces, FOLDS)


def test_five_runs_are_one_result(official: FaceSet, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    ordered = subjects(official)
    result = evaluate(ordered[::-1], official.train, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (28709, 28709)
    assert result.protocol == FOLDS
    assert result.opening is None
    assert result.selection is None
    assert result.cost == {"seconds": 7.5, "epochs": 10, "params": 9, "networks": 5}
    # Every face was scored by the network of the fold that it lies in.
    folds = protocols.get(FOLDS).test.folds
    assert result.test_scores is not None
    assert np.array_equal(result.test_scores.argmax(axis=1), folds)
    assert result.metrics["faces"] == 28709
    assert len(result.metrics["temperature"]) == 5
    assert result.metrics["accuracy"] == pytest.approx((folds == official.train.labels).mean(), abs=1e-6)
    assert result.predictions_sha256 == evaluate(ordered, official.train).predictions_sha256
    result.save(tmp_path)
    assert verify(tmp_path).holds
    assert not any(opening for opening in verify(tmp_path).openings)


def test_folds_of_a_system_that_is_no_network(official: FaceSet, tmp_path: Path) -> None:
    """It is asked for scores of the left-out rows themselves, and they are kept as what they are."""
    folds = protocols.get(FOLDS).test.folds

    def of(fold: int) -> Any:
        def scores(split: Any) -> Any:
            assert np.array_equal(split.rows, official.train.rows[folds == fold])
            return np.eye(7, dtype=np.float32)[np.full(len(split), fold)] - 0.5

        return scores

    fitted = [
        replace(
            one, system="local-learning-bow", kind="classical", logits=no_logits, scores=of(k), scores_kind="margins"
        )
        for k, one in enumerate(subjects(official))
    ]
    told: list[tuple[int, int]] = []
    result = evaluate(fitted, official.train, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (28709, 28709)
    assert result.scores == "margins"
    assert result.test_scores is not None
    assert np.array_equal(result.test_scores.argmax(axis=1), folds)
    result.save(tmp_path)
    assert verify(tmp_path).holds
    with pytest.raises(InputError, match="knows the view one, not 'tencrop@40'"):
        evaluate(fitted, official.train, views="tencrop@40")


def test_incomplete_or_mixed_folds_are_refused(official: FaceSet) -> None:
    good = subjects(official)

    def refused(message: str, given: list[Subject], error: type[Exception] = InputError, **options: Any) -> None:
        with pytest.raises(error, match=message):
            evaluate(given, official.train, **options)

    refused("fold 2, 4 is missing", [good[0], good[1], good[3]])
    refused("fold 1 is there twice", [*good, good[1]])
    refused("not trained on the faces of a fold", [replace(good[0], train_rows=official.train.rows_hash), *good[1:]])
    refused("not trained on the faces of a fold", [replace(good[0], trained_on="ff"), *good[1:]])
    refused("differ in seed: 0, 7", [replace(good[0], seed=7), *good[1:]])
    refused("differ in scores_kind", [replace(good[0], scores_kind="margins"), *good[1:]])
    refused("allows the views", good, views="upside-down")
    refused("differ in recipe_hash", [replace(good[0], recipe_hash="cd"), *good[1:]])
    refused("has no folds", good, protocol="fer2013/private@1")
    with pytest.raises(InputError, match=r"give data\.train"):
        evaluate(good, official.selection)
    with pytest.raises(InputError, match="the runs of all its folds"):
        evaluate(replace(good[0], train_rows=""), official.selection, protocol=FOLDS)


def test_a_run_of_one_fold_is_no_result_of_the_whole(official: FaceSet) -> None:
    with pytest.raises(DataError, match="a part of Training only"):
        evaluate(subjects(official)[0], official.selection)


def test_a_bundle_says_what_its_run_learnt_from(trained: Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    from mien.evaluation import subject_of

    bundle = trained.export(tmp_path / "small.onnx")
    assert subject_of(bundle).train_rows == trained.info["train_rows"]


def test_ferplus_is_the_same_rows_with_other_labels(
    fer2013_npz: Path, mien_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fer = load_dataset("fer2013", fer2013_npz)
    plus = load_dataset("ferplus")
    protocol = protocols.get("ferplus/majority@1")
    assert plus.fingerprint == protocol.data_fingerprint
    assert plus.label_set.labels == ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
    assert protocol.selection is not None
    assert np.array_equal(plus.selection.rows, protocol.selection.rows)
    assert np.array_equal(plus.selection.labels, protocol.selection.labels)
    assert np.array_equal(plus.test.rows, protocol.test.rows)
    assert len(plus.train) == 25060
    assert np.array_equal(plus.train.images, fer.train.images[np.isin(fer.train.rows, plus.train.rows)])
    # Faces without a majority are in no split that anybody can learn from.
    rest = plus.rows("without majority")
    assert len(plus) == len(plus.train) + len(plus.selection) + len(plus.test) + len(rest)
    assert (plus.all_rows().labels[rest] == 255).all()
    (part,) = parts(plus)
    assert (part.protocol, part.name) == ("ferplus/majority@1", "ferplus")
    with pytest.raises(DataError, match="about the official ferplus"):
        parts(fer, "ferplus/majority@1")
    with pytest.raises(SystemExit) as stop:
        main(["data", "import", "ferplus", str(fer2013_npz)])
    assert stop.value.code == 2


def test_ferplus_of_another_copy_is_refused(like_fer2013: FaceSet) -> None:
    from mien.datasets.ferplus import ferplus

    with pytest.raises(DataError, match="about the rows of the official FER2013"):
        ferplus(like_fer2013)
