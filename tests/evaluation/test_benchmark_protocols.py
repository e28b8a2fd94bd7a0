"""The protocols of CK+, JAFFE, FERG-DB, RAF-DB, AffectNet and ExpW, and measuring across data sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.bundle import InputSpec
from mien.cli import main
from mien.datasets import FaceSet
from mien.datasets.disk import write_face_set
from mien.datasets.faceset import Attribute
from mien.datasets.relabel import ASIDE, relabelled
from mien.errors import DataError, InputError, SealedSplitError
from mien.evaluation import Subject, evaluate, parts
from mien.evaluation.across import OPEN, TEST, is_across
from mien.labels import (
    AFFECTNET,
    AFFECTNET7,
    CKPLUS,
    CKPLUS_PEAK,
    FER2013,
    JAFFE,
    LABEL_SETS,
    RAFDB,
    LabelSet,
    mapping,
)
from mien.results import Ledger, Result, protocols, verify


def pool(name: str, label_set: LabelSet, subjects: int, each: int = 2) -> FaceSet:
    """Every subject shows every expression; a face's first pixel is its label, its second the subject."""
    count = subjects * each * len(label_set)
    images = np.random.default_rng(0).integers(0, 256, (count, 8, 8)).astype(np.uint8)
    labels = (np.arange(count) % len(label_set)).astype(np.uint8)
    who = (np.arange(count) // (each * len(label_set))).astype(np.uint16)
    images[:, 0, 0], images[:, 0, 1] = labels, who
    attributes = {"subject": Attribute(tuple(f"S{i:03d}" for i in range(subjects)), who)}
    return FaceSet.from_arrays(
        name, label_set, images, labels, np.zeros(count, np.uint8), ("all",), ("train",), {"format": "x"}, attributes
    )


def split(name: str, label_set: LabelSet, test: str = "test", each: int = 6) -> FaceSet:
    count = each * len(label_set)
    images = np.random.default_rng(1).integers(0, 256, (count, 8, 8)).astype(np.uint8)
    labels = (np.arange(count) % len(label_set)).astype(np.uint8)
    images[:, 0, 0] = labels
    splits = np.sort(np.arange(count) % 3).astype(np.uint8)
    return FaceSet.from_arrays(
        name, label_set, images, labels, splits, ("train", "selection", test), ("train", "selection", "test"),
        {"format": "x"},
    )  # fmt: skip


def subject(label_set: LabelSet, trained_on: str, rows: str = "", hit: Any = None, data: str = "fer2013") -> Subject:
    """Tells the label that the first pixel says in the words of ``hit``, a label set."""
    table = [label_set.labels.index(label) if label in label_set.labels else 0 for label in (hit or label_set).labels]

    def logits(images: Any) -> Any:
        out = np.full((len(images), len(label_set)), -2.0, np.float32)
        said = np.rint((images[:, 0, 0, 0] * 0.5 + 0.5) * 255).astype(int)
        out[np.arange(len(images)), np.array(table)[said % len(table)]] = 2.0
        return out

    return Subject(
        "compact", "run", label_set, InputSpec(8, 1, "grey", (0.5,), (0.5,)), logits, {"epochs": 1}, "ab", 0, "cd",
        cost={"seconds": 1.0, "epochs": 1}, trained_on=trained_on, train_rows=rows, data=data,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("data", "protocol", "folds"),
    [
        (pool("jaffe", JAFFE, 10), "jaffe/subjects@1", 10),
        (pool("ckplus", CKPLUS_PEAK, 23), "ckplus/subjects@1", 10),
        (pool("ckplus", CKPLUS, 23, 1), "ckplus/neutral@1", 10),
        (pool("ckplus", CKPLUS, 23, 1), "ckplus/subjects@1", 10),
        (pool("ferg", protocols.get("ferg/characters@1").label_set or JAFFE, 6), "ferg/characters@1", 6),
    ],
)
def test_no_subject_is_in_two_parts_of_a_fold(data: FaceSet, protocol: str, folds: int) -> None:
    found = parts(data, protocol)
    assert len(found) == folds
    who = data.attributes["subject"].values
    tested: list[int] = []
    for part in found:
        rows = (part.train.rows, part.selection.rows, part.train.face_set.test.rows)
        people = [set(who[r].tolist()) for r in rows]
        assert not people[0] & people[1]
        assert not people[2] & (people[0] | people[1])
        assert all(people)
        with pytest.raises(SealedSplitError):
            _ = part.train.face_set.test.labels
        labels = [np.unique(part.train.face_set._labels[r]) for r in rows[:2]]
        assert all(np.array_equal(each, np.arange(len(part.train.label_set))) for each in labels)
        tested += [row for row in rows[2].tolist() if part.train.face_set._labels[row] != 255]
    # Every face with a label of the protocol is tested once.
    wanted = relabelled(data, found[0].train.label_set)
    assert sorted(tested) == wanted.train.rows.tolist()
    again = parts(data, protocol)
    assert [part.train.rows_hash for part in again] == [part.train.rows_hash for part in found]
    assert len({part.name for part in found}) == folds


def test_the_protocol_of_a_data_set_is_found() -> None:
    found = {
        "jaffe/subjects@1": pool("jaffe", JAFFE, 3),
        "ckplus/subjects@1": pool("ckplus", CKPLUS_PEAK, 3),
        "ckplus/neutral@1": pool("ckplus", CKPLUS, 3),
        "rafdb/basic@1": split("rafdb", RAFDB),
        "affectnet/8@1": split("affectnet", AFFECTNET, "validation"),
        "own/test@1": split("folder", FER2013),
    }
    assert {name: parts(data)[0].protocol for name, data in found.items()} == {name: name for name in found}
    assert parts(found["rafdb/basic@1"])[0].name == "rafdb-basic"
    assert parts(found["jaffe/subjects@1"])[2].name == "jaffe-subjects-fold2"


def test_what_cannot_be_split_by_subject_is_refused() -> None:
    data = pool("jaffe", JAFFE, 2)
    with pytest.raises(DataError, match="needs three or more; this copy of jaffe shows 2"):
        parts(data)
    with pytest.raises(DataError, match="does not say who is shown"):
        parts(replace(data, attributes={}))
    with pytest.raises(InputError, match="folds 0 to 2, not 3"):
        parts(pool("jaffe", JAFFE, 3), fold=3)
    with pytest.raises(DataError, match="is about ckplus, not about jaffe"):
        parts(data, "ckplus/subjects@1")
    with pytest.raises(DataError, match="has no faces labelled neutral"):
        parts(pool("ckplus", CKPLUS_PEAK, 3), "ckplus/neutral@1")


def test_the_runs_of_all_folds_are_one_result(tmp_path: Path) -> None:
    data = pool("ckplus", CKPLUS, 13, 1)
    found = parts(data, "ckplus/subjects@1")
    runs = [subject(CKPLUS_PEAK, part.train.fingerprint, part.train.rows_hash) for part in found]
    # The network of fold 1 is wrong about the faces that are angry.
    runs[1] = replace(runs[1], logits=lambda images: np.eye(7, dtype=np.float32)[np.ones(len(images), int)])
    result = evaluate(runs[::-1], data.train, protocol="ckplus/subjects@1")
    assert result.labels == CKPLUS_PEAK.labels
    assert result.metrics["faces"] == 13 * 7
    assert len(result.metrics["temperature"]) == 10
    path = result.save(tmp_path)
    loaded = Result.load(path)
    assert loaded.test is not None
    assert np.array_equal(loaded.test.folds, np.repeat(np.arange(13) % 10, 7))
    assert loaded.recompute() == (dict(result.metrics), result.confusion)
    assert verify(tmp_path).holds
    with pytest.raises(InputError, match="fold 0 is missing"):
        evaluate(runs[1:], data.train, protocol="ckplus/subjects@1")


def test_an_official_split_is_measured_behind_its_seal(tmp_path: Path) -> None:
    data = split("rafdb", RAFDB)
    good = subject(RAFDB, data.fingerprint, data.train.rows_hash)
    result = evaluate(good, data.test, results=tmp_path)
    assert (result.protocol, result.metrics["faces"]) == ("rafdb/basic@1", 14)
    assert "mean of classes" in str(result)
    assert [opening.protocol for opening in Ledger(tmp_path / "ledger.jsonl").openings()] == ["rafdb/basic@1"]
    result.save(tmp_path)
    assert verify(tmp_path).holds
    with pytest.raises(DataError, match=r"trained on another copy .* under the protocol cross/test@1"):
        evaluate(replace(good, trained_on="ff"), data.test, results=tmp_path, protocol="rafdb/basic@1")


def test_a_protocol_with_fewer_labels(tmp_path: Path) -> None:
    data = split("affectnet", AFFECTNET, "validation")
    (part,) = parts(data, "affectnet/7@1")
    assert (part.name, part.train.label_set, len(part.train)) == ("affectnet-7", AFFECTNET7, 14)
    # It was trained without contempt, so that is how it is measured.
    result = evaluate(subject(AFFECTNET7, part.train.fingerprint, part.train.rows_hash), data.selection)
    assert (result.protocol, result.labels) == ("affectnet/7@1", AFFECTNET7.labels)


def test_across_data_sets_the_labels_are_intersected(tmp_path: Path) -> None:
    data = pool("ckplus", CKPLUS_PEAK, 4)
    result = evaluate(subject(FER2013, "ee", hit=CKPLUS_PEAK), data.train)
    assert (result.protocol, result.opening) == (OPEN, None)
    assert result.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise")
    assert result.metrics["faces"] == 4 * 2 * 6
    assert result.metrics["accuracy"] == 1.0
    assert np.array(result.confusion).tolist() == (8 * np.eye(6, dtype=int)).tolist()
    assert "temperature" not in result.metrics
    assert result.test is not None
    assert len(np.unique(result.test.groups)) == 4  # subjects, for the interval
    result.save(tmp_path)
    assert verify(tmp_path).holds


def test_a_sealed_split_is_opened_across_data_sets_by_the_ledger_only(tmp_path: Path) -> None:
    data = split("rafdb", RAFDB)
    result = evaluate(subject(FER2013, "ee", hit=RAFDB), data.test, results=tmp_path)
    assert (result.protocol, result.metrics["faces"], result.metrics["accuracy"]) == (TEST, 14, 1.0)
    (opening,) = Ledger(tmp_path / "ledger.jsonl").openings()
    assert (opening.protocol, opening.split) == (TEST, "test")
    result.save(tmp_path)
    assert verify(tmp_path).holds
    chosen = evaluate(subject(FER2013, "ee", hit=RAFDB), data.selection, results=tmp_path)
    assert (chosen.protocol, chosen.metrics["faces"]) == (OPEN, 14)
    assert len(Ledger(tmp_path / "ledger.jsonl").openings()) == 1


def test_across_refuses_what_is_not_across(tmp_path: Path) -> None:
    data = split("rafdb", RAFDB)
    with pytest.raises(DataError, match="was trained on rafdb; measure it under"):
        evaluate(subject(RAFDB, data.fingerprint), data.selection, protocol=OPEN)
    with pytest.raises(InputError, match="keeps faces to test on"):
        evaluate(subject(FER2013, "ee"), data.train)
    with pytest.raises(InputError, match="does not fit the split 'selection'"):
        evaluate(subject(FER2013, "ee"), data.selection, protocol=TEST)
    with pytest.raises(InputError, match="no label"):
        evaluate(subject(LabelSet("moods", ("calm", "tense")), "ee"), data.selection)
    with pytest.raises(InputError, match="not about a part"):
        evaluate(subject(FER2013, "ee"), data.selection.subset([0, 1]))
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize("of", ["fer2013", "ferplus"])
def test_across_refuses_other_copies_and_what_nobody_knows(tmp_path: Path, of: str) -> None:
    data = split(of, FER2013)
    for made, message in (
        (subject(FER2013, "ff" * 32), "learnt from fer2013, another copy of these images"),
        (subject(FER2013, "ff" * 32, data="ferplus"), "learnt from ferplus, another copy of these images"),
        (replace(subject(FER2013, "ee", data="rafdb"), extra_data=("fer2013",)), "learnt from fer2013, another copy"),
        (replace(subject(FER2013, "ee", data="rafdb"), adapted=True), "was adapted to crops"),
        (subject(FER2013, "", data=""), "nothing says what compact was trained on"),
        (subject(FER2013, ""), "nothing says what compact was trained on"),
    ):
        for faces, protocol in ((data.test, TEST), (data.selection, OPEN)):
            with pytest.raises(DataError, match=message):
                evaluate(made, faces, protocol=protocol, results=tmp_path)
    assert not (tmp_path / "ledger.jsonl").exists()


@pytest.mark.parametrize(("of", "across"), [("fer2013", False), ("ferplus", False), ("rafdb", True)])
def test_the_same_labels_learnt_elsewhere_are_another_copy_only_of_fer2013(of: str, across: bool) -> None:
    assert is_across(subject(RAFDB, "ee", data="folder"), split(of, RAFDB)) is across


def test_probabilities_are_shared_out_anew() -> None:
    data = pool("ckplus", CKPLUS_PEAK, 3)

    def scores(faces: Any) -> Any:
        out = np.full((len(faces), 7), 0.1)
        out[:, 6] = 0.4  # neutral, which the data do not know
        out[0] = np.eye(7)[6]
        return out

    given = replace(subject(FER2013, "ee"), scores=scores, scores_kind="probabilities")
    result = evaluate(given, data.train)
    assert result.test_scores is not None
    assert np.allclose(result.test_scores.sum(axis=1), 1, atol=1e-3)


@pytest.mark.parametrize("source", LABEL_SETS)
@pytest.mark.parametrize("target", LABEL_SETS)
def test_every_mapping_is_total_and_keeps_words(source: str, target: str) -> None:
    one, other = LABEL_SETS[source], LABEL_SETS[target]
    for index, to in enumerate(mapping(one, other).ids()):
        assert (to is None) == (one[index] not in other.labels)
        assert to is None or other[to] == one[index]


def test_relabelling_sets_faces_aside() -> None:
    data = split("affectnet", AFFECTNET)
    told = relabelled(data, AFFECTNET7)
    assert told.split_names == ("train", "selection", "test", ASIDE)
    assert len(told.rows(ASIDE)) == 6
    assert told.test.name == "test"
    assert relabelled(told, AFFECTNET7) is told
    assert told._images is data._images
    assert relabelled(data, AFFECTNET7).fingerprint == told.fingerprint != data.fingerprint


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    return int(stop.value.code or 0)


def test_train_and_measure_by_command(
    mien_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = pool("jaffe", JAFFE, 3)
    large = FaceSet.from_arrays(
        "jaffe", JAFFE, data._images.repeat(6, 1).repeat(6, 2).copy(), data._labels, data.splits, ("all",), ("train",),
        {"format": "named pictures"}, data.attributes,
    )  # fmt: skip
    root = mien_cache / "datasets" / "jaffe"
    write_face_set(large, root / "x")
    (root / "sources.json").write_text(json.dumps({"layout": 1, "latest": "x", "sources": []}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    small = ("epochs=1", "compile=false", "system.widths=[4, 8]", "system.depths=[1, 1]", "ema=0")
    options = [word for assignment in small for word in ("--set", assignment)]
    assert run("train", "compact", "--protocol", "jaffe/subjects@1", *options, "--device", "cpu", "--json") == 0
    runs = [run["folder"] for run in json.loads(capsys.readouterr().out)]
    assert [folder[-5:] for folder in runs] == ["fold0", "fold1", "fold2"]
    assert run("evaluate", *runs, "--data", "jaffe", "--groups", "subject", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["protocol"], found["metrics"]["faces"]) == ("jaffe/subjects@1", 42)
    assert [group["value"] for group in found["groups"]] == ["S000", "S001", "S002"]
    assert [group["faces"] for group in found["groups"]] == [14, 14, 14]
    # The same network on other data: one fold's run, nothing of which was trained on them.
    other = replace(large, name="ckplus")
    write_face_set(other, mien_cache / "datasets" / "ckplus" / "x")
    (mien_cache / "datasets" / "ckplus" / "sources.json").write_text((root / "sources.json").read_text())
    different = json.loads((mien_cache / "datasets" / "ckplus" / "x" / "meta.json").read_text())
    different["fingerprint"], different["label_set"] = "0" * 64, "ckplus-peak"
    (mien_cache / "datasets" / "ckplus" / "x" / "meta.json").write_text(json.dumps(different))
    assert run("evaluate", runs[0], "--data", "ckplus", "--groups", "subject") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "measured on the 6 expressions that both tell: angry, disgust, fear, happy, sad, surprise" in out
    assert "faces labelled contempt are left out; scores for neutral are dropped" in out
    assert "S001" in out
    assert run("evaluate", runs[0], "--data", "ckplus", "--groups", "subjects") == 2
    assert "did you mean 'subject'" in capsys.readouterr().err
