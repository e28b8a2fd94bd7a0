"""Groups of faces: accuracy, intervals and gaps of recalls."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_benchmark_protocols import split, subject

from mien.datasets.faceset import Attribute
from mien.errors import InputError
from mien.evaluation import evaluate
from mien.evaluation.groups import by_attribute
from mien.labels import RAFDB


def test_groups_are_told_apart(tmp_path: Path) -> None:
    data = split("rafdb", RAFDB, each=30)
    good = subject(RAFDB, data.fingerprint, data.train.rows_hash)
    result = evaluate(good, data.test, results=tmp_path)
    assert result.test is not None
    rows, labels = data.test.rows, result.test.labels
    # Make the network wrong about the faces labelled fear of one group by telling another label of them.
    gender = np.zeros(len(data), np.uint16)
    gender[rows[::2]] = 1
    data.attributes["gender"] = Attribute(("male", "female", "unsure"), gender)  # type: ignore[index]
    scores = np.array(result.test_scores, np.float32)
    wrong = (gender[rows] == 1) & (labels == RAFDB.id("fear"))
    assert wrong.any()
    scores[wrong] = scores[wrong][:, ::-1]
    scores[wrong, 1] = scores.min() - 1
    object.__setattr__(result, "arrays", {**result.arrays, "test_scores": scores})
    male, female = by_attribute(result, data, "gender")
    assert (male.value, male.faces, male.accuracy, male.recall_gap) == ("male", 35, 1.0, (1.0, "fear"))
    assert female.accuracy == pytest.approx(1 - wrong.sum() / 35)
    assert female.recall_gap == (-1.0, "fear")
    assert female.recall[1] == 0.0
    assert female.class_mean == pytest.approx(6 / 7)
    assert female.accuracy_ci95[0] < female.accuracy < female.accuracy_ci95[1]
    assert not female.small
    assert female.to_json()["value"] == "female"
    with pytest.raises(InputError, match="did you mean 'gender'"):
        by_attribute(result, data, "gendr")
    with pytest.raises(InputError, match="stayed sealed"):
        by_attribute(evaluate(good, data.selection), data, "gender")


def test_of_a_few_faces_that_are_all_wrong_much_is_still_possible(tmp_path: Path) -> None:
    data = split("rafdb", RAFDB, each=30)
    result = evaluate(subject(RAFDB, data.fingerprint, data.train.rows_hash), data.test, results=tmp_path)
    assert result.test is not None
    group = np.zeros(len(data), np.uint16)
    group[data.test.rows[:5]] = 1
    data.attributes["age"] = Attribute(("grown", "old"), group)  # type: ignore[index]
    scores = np.array(result.test_scores, np.float32)
    scores[:5] = np.eye(7, dtype=np.float32)[(result.test.labels[:5] + 1) % 7]
    object.__setattr__(result, "arrays", {**result.arrays, "test_scores": scores})
    grown, old = by_attribute(result, data, "age")
    assert (old.accuracy, old.small, grown.small) == (0, True, False)
    assert old.accuracy_ci95 == (0, pytest.approx(0.434, abs=1e-3))
    assert grown.accuracy_ci95 == (pytest.approx(0.944, abs=1e-3), 1), (
        "nor is it certain of sixty-five that are all right"
    )
