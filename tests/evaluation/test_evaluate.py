"""What is measured is recorded, and the test split is opened for a number or not at all."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mien
from mien.bundle import Bundle, read_bundle
from mien.datasets import UNLABELLED, FaceSet
from mien.ensembles import network_ensemble
from mien.errors import DataError, InputError, RunError, SealedSplitError, UnknownNameError
from mien.evaluation import Subject, evaluate, score, subject_of
from mien.labels import FER2013, LabelSet
from mien.results import Ledger, Result, metrics, verify
from mien.training import Run


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return read_bundle(bundle_path)


def ledger(folder: Path) -> Ledger:
    return Ledger(folder / "ledger.jsonl")


def test_selection_opens_nothing(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    result = evaluate(trained, faces.selection, results=tmp_path)
    assert ledger(tmp_path).lines() == []
    assert result.opening is None
    assert result.test is None
    assert "accuracy" not in result.metrics
    assert result.protocol == "own/test@1"
    assert "never ranked" in str(result)
    scores = score(faces.selection.images, trained.recipe.input, trained.subject().logits)
    wanted = metrics.accuracy(scores.argmax(1), faces.selection.labels)
    assert result.metrics["selection_accuracy"] == pytest.approx(wanted, abs=1e-6)
    trained.info["commit"], was = "0ddba11", trained.info["commit"]
    trained.info["dirty"], changed = True, trained.info["dirty"]
    assert evaluate(trained, faces.selection, results=tmp_path).trained == {"commit": "0ddba11", "dirty": True}
    trained.info["commit"], trained.info["dirty"] = was, changed
    # The loop and the evaluation agree about the chosen epoch: one preparation, one set of weights.
    assert wanted == trained.info["selection_accuracy"]


def test_every_opening_is_noted(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    first = evaluate(trained, faces.test, results=tmp_path)
    again = evaluate(trained, faces.test, results=tmp_path)
    flip = evaluate(trained, faces.test, results=tmp_path, views="flip")
    openings = ledger(tmp_path).openings()
    assert [o.views for o in openings] == ["one", "one", "flip"]
    assert ledger(tmp_path).counts() == {"compact": 3}
    for opening, result in zip(openings, (first, again, flip), strict=True):
        assert result.opening == opening.hash
        assert opening.weights_sha256 == trained.info["weights_sha256"]
        assert opening.recipe_hash == trained.recipe.hash
        assert opening.data_fingerprint == faces.fingerprint
        assert opening.split == "test"
    assert first.predictions_sha256 == again.predictions_sha256 != flip.predictions_sha256
    assert first.test is not None
    assert len(first.test) == len(faces.test)
    assert first.seed == 0
    assert first.recipe["epochs"] == 6


def test_nothing_is_opened_where_a_face_has_no_label(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    rows, test = faces.all_rows(), faces.rows("test")
    labels = rows.labels.copy()
    labels[test] = np.arange(len(test)) % 7
    labels[test[3]] = UNLABELLED
    own = FaceSet.from_arrays("drawn", faces.label_set, rows.images, labels, rows.splits, faces.split_names)
    assert faces.test.labelled
    assert not own.test.labelled
    subject = replace(trained.subject(), trained_on=own.fingerprint, train_rows=own.train.rows_hash)
    with pytest.raises(DataError, match="faces of test have no label"):
        evaluate(subject, own.test, results=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_result_is_verified_after_saving(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    result = evaluate(trained, faces.test, results=tmp_path)
    loaded = Result.load(result.save(tmp_path))
    assert loaded.metrics == result.metrics
    assert loaded.recompute() == (dict(result.metrics), result.confusion)
    test = result.test
    assert test is not None
    assert result.test_scores is not None
    wanted = metrics.accuracy(result.test_scores.argmax(1), test.labels)
    assert result.metrics["accuracy"] == pytest.approx(wanted, abs=1e-6)
    assert np.asarray(result.confusion).sum() == len(faces.test)
    assert verify(tmp_path).holds


def test_progress_counts_both_splits(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    evaluate(trained, faces.test, results=tmp_path, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (42, 42)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_bundles_and_their_paths(bundle: Bundle, bundle_path: Path, faces: FaceSet, tmp_path: Path) -> None:
    from_path = mien.evaluate(bundle_path, faces.test, results=tmp_path)
    from_object = mien.evaluate(bundle, faces.test, results=tmp_path)
    assert from_path.predictions_sha256 == from_object.predictions_sha256
    assert (from_path.kind, from_path.weights_sha256) == ("bundle", bundle.card.sha256)
    assert from_path.trained == {"commit": None, "dirty": None}  # nobody trained the stand-in
    notes = {"training": {**bundle.card.notes.get("training", {}), "commit": "0ddba11", "dirty": True}}
    said = subject_of(replace(bundle, card=replace(bundle.card, notes=notes))).description["trained"]
    assert said == {"commit": "0ddba11", "dirty": True}
    assert from_path.environment["precision"] == "fp32"


def test_bundles_need_no_torch(bundle_path: Path, tmp_path: Path) -> None:
    code = f"""
import sys, mien
data = mien.load_dataset("drawn", count=70)
mien.evaluate({str(bundle_path)!r}, data.test, results={str(tmp_path)!r})
assert "torch" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def refused(error: type[Exception], message: str, folder: Path, subject: Any, split: Any, **options: Any) -> None:
    with pytest.raises(error, match=message):
        evaluate(subject, split, results=folder, **options)
    assert ledger(folder).lines() == [], "the test split was opened for nothing"


def test_refusals_open_nothing(trained: Run, bundle: Bundle, faces: FaceSet, tmp_path: Path) -> None:
    test = faces.test
    refused(InputError, r"give data\.selection or data\.test", tmp_path, trained, faces.train)
    refused(UnknownNameError, "did you mean 'flip'", tmp_path, trained, test, views="flp")
    refused(InputError, "allows the views one, flip", tmp_path, trained, test, views="tencrop@48")
    refused(InputError, "feeds 40 px and this network takes 48 px", tmp_path, bundle, test, views="tencrop@40")
    refused(UnknownNameError, "no protocol is called", tmp_path, trained, test, protocol="fer2013/privat@1")
    refused(DataError, "is about the official fer2013", tmp_path, trained, test, protocol="fer2013/private@1")
    refused(DataError, "about the official ferplus", tmp_path, trained, test, protocol="ferplus/majority@1")
    refused(InputError, "cannot be evaluated; give a run, a bundle", tmp_path, 3, test)
    refused(InputError, r"open a run with mien\.Run\.open", tmp_path, trained.folder, test)
    unfinished = replace(trained, info={**trained.info, "status": "running"})
    refused(RunError, r"is unfinished \(stopped\)", tmp_path, unfinished, test)
    refused(InputError, "not about a part", tmp_path, trained, faces.selection.subset(np.arange(5)))
    opening = Ledger(tmp_path / "other" / "ledger.jsonl").open_split(
        "own/test@1", "test", "x", "run", "00", "00", "one", faces.fingerprint
    )
    refused(InputError, r"give data\.test as it is, sealed", tmp_path, trained, test.open(opening))


def test_labels_in_another_order_are_refused(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    subject = trained.subject()
    alphabetic = LabelSet("sorted", tuple(sorted(FER2013.labels)))
    refused(
        InputError,
        "the labels differ: compact tells angry, disgust",
        tmp_path,
        replace(subject, label_set=alphabetic),
        faces.test,
    )


def test_broken_networks_open_nothing(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    subject = replace(trained.subject(), logits=lambda images: np.full((len(images), 7), np.nan, np.float32))
    refused(RunError, "NaN or infinity on selection", tmp_path, subject, faces.test)

    def breaks(images: Any) -> Any:
        raise ValueError("no")

    refused(ValueError, "no", tmp_path, replace(subject, logits=breaks), faces.test)


def test_the_split_stays_sealed(faces: FaceSet) -> None:
    for name in ("images", "labels", "groups"):
        with pytest.raises(SealedSplitError):
            getattr(faces.test, name)


def test_training_on_another_copy_is_not_ranked(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a protocol about one face set, weights trained on something else than that set say so or are refused."""
    from mien.results import protocols

    own = protocols.get("own/test@1")
    ranked = protocols.Protocol(
        "own/test@1", "", None, "drawn", "train", "selection", "test", True, None, faces.fingerprint, own.views
    )
    monkeypatch.setattr(protocols, "get", lambda name: ranked)
    monkeypatch.setattr("mien.results.validation.protocols.get", lambda name: ranked)
    subject = Subject(
        "x", "run", faces.label_set, replace_spec(), lambda x: np.zeros((len(x), 7), np.float32), {}, "00", 0, "00",
        trained_on="ff" * 32,
    )  # fmt: skip
    refused(DataError, "was trained on another copy", tmp_path, subject, faces.test)
    # Extra data come on top of the protocol's training split; declaring some excuses nothing.
    declared = replace(subject, extra_data=("other faces",))
    refused(DataError, "was trained on another copy", tmp_path, declared, faces.test)
    nobody_knows = replace(subject, trained_on="")
    refused(DataError, "nothing says what x was trained on", tmp_path, nobody_knows, faces.test)
    # Whose data nobody knows is somebody else's network, and is measured as submitted.
    unknown = replace(nobody_knows, extra_data=("unknown",))
    refused(DataError, "--onnx FILE --adapter FILE, which declares its data", tmp_path, unknown, faces.test)
    right = replace(subject, trained_on=faces.fingerprint)
    evaluate(replace(right, train_rows=faces.train.rows_hash), faces.selection, results=tmp_path)
    part = replace(right, train_rows=faces.train.subset(np.arange(20)).rows_hash)
    refused(DataError, "a part of train only", tmp_path, part, faces.test)
    adapted = replace(right, adapted=True, extra_data=("40 labelled crops (adaptation)",))
    refused(DataError, "was adapted to crops", tmp_path, adapted, faces.test)
    # Neither do two parts make a whole.
    halves = [np.arange(len(faces.train)) % 2 == half for half in (0, 1)]
    folds = [
        replace(right, train_rows=faces.train.subset(rows).rows_hash, weights_sha256=f"{index:02d}")
        for index, rows in enumerate(halves)
    ]
    both = network_ensemble(folds, faces.selection)
    refused(DataError, "a part of train only", tmp_path, both, faces.test, views="members")


def replace_spec() -> Any:
    from mien.bundle import InputSpec

    return InputSpec(48, 1, "grey", (0.5,), (0.5,))


def test_subjects(trained: Run, bundle: Bundle) -> None:
    run = subject_of(trained)
    assert (run.kind, run.system, run.weights_sha256) == ("run", "compact", trained.info["weights_sha256"])
    assert subject_of(run) is run
    assert subject_of(bundle).label_set is FER2013
    notes = {**bundle.card.notes, "adaptation": {"crops": 40}}
    assert [subject_of(b).adapted for b in (bundle, replace(bundle, card=replace(bundle.card, notes=notes)))] == [
        False,
        True,
    ]


def test_scores_do_not_depend_on_the_batch(trained: Run, faces: FaceSet) -> None:
    subject = trained.subject()
    whole = score(faces.train.images, subject.input, subject.logits, "flip")
    for batch in (1, 37):
        parts = score(faces.train.images, subject.input, subject.logits, "flip", batch)
        np.testing.assert_allclose(parts, whole, atol=1e-5)
        assert (parts.argmax(1) == whole.argmax(1)).all()
    assert score(faces.train.images[:0], subject.input, subject.logits).shape[0] == 0


def test_evaluation_leaves_the_mode_of_a_network_alone(trained: Run, faces: FaceSet) -> None:
    from mien.evaluation.scorers import torch_logits

    module = trained.module().train()
    score(faces.selection.images, trained.recipe.input, torch_logits(module))
    assert module.training
