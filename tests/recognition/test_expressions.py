from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError, MissingExtraError
from mien.labels import FER2013, FERPLUS
from mien.recognition import Expressions, Face


def make(count: int = 4, seed: int = 0, **changes: object) -> Expressions:
    draw = np.random.default_rng(seed)
    logits = draw.normal(size=(count, 7)) * 2
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    corner = draw.uniform(0, 50, (count, 2))
    fields: dict[str, object] = {
        "threshold": 0.5,
        "boxes": np.concatenate([corner, corner + draw.uniform(5, 40, (count, 2))], 1),
        "scores": draw.uniform(0.5, 1, count),
        "landmarks": draw.uniform(0, 90, (count, 5, 2)),
        "size": (100, 100),
    }
    return Expressions(probabilities, FER2013, **{**fields, **changes})  # type: ignore[arg-type]


def test_derived_columns_follow_from_the_probabilities() -> None:
    faces = make(50)
    order = np.argsort(-faces.probabilities, axis=1)
    assert faces.ids.tolist() == order[:, 0].tolist()
    assert faces.labels == [FER2013[i] for i in order[:, 0]]
    assert faces.runner_up == [FER2013[i] for i in order[:, 1]]
    np.testing.assert_array_equal(faces.confidence, faces.probabilities.max(1))
    assert faces.decided.tolist() == [p >= 0.5 for p in faces.probabilities.max(1)]
    assert 0 < faces.decided.sum() < 50
    assert faces.probabilities.dtype == faces.confidence.dtype == faces.boxes.dtype == np.float32


def test_a_confidence_equal_to_the_threshold_is_decided() -> None:
    assert Expressions([[0, 0.3, 0, 0.7, 0, 0, 0]], threshold=0.7).decided.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": np.ones((3, 4))}, "4 faces need"),
        ({"boxes": np.array([[10, 10, 20, 20]] * 3 + [[10, 10, 5, 20]])}, "width height"),
        ({"boxes": np.full((4, 4), np.nan)}, "NaN"),
        ({"scores": np.ones(3)}, "scores"),
        ({"landmarks": np.ones((4, 2, 5))}, "landmarks"),
        ({"track_ids": np.ones((4, 1), int)}, "track_ids"),
        ({"threshold": 1.5}, "threshold"),
    ],
)
def test_inconsistent_fields_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make(**changes)


@pytest.mark.parametrize(
    "probabilities",
    [np.ones((2, 7)), np.full((2, 8), 1 / 8), np.full(7, 1 / 7), [[np.nan] * 7], [[2, -1, 0, 0, 0, 0, 0]]],
)
def test_rows_that_are_no_probabilities_are_refused(probabilities: object) -> None:
    with pytest.raises(InputError):
        Expressions(probabilities, FER2013)  # type: ignore[arg-type]


def test_arrays_are_copies_and_read_only() -> None:
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    faces = Expressions([[1, 0, 0, 0, 0, 0, 0]], FER2013, boxes=boxes)
    boxes[:] = 7
    assert faces.boxes.tolist() == [[0, 0, 10, 10]]
    for array in (faces.probabilities, faces.boxes, faces.ids, faces.confidence, faces.decided):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        faces.threshold = 0.1  # type: ignore[misc]


def test_slicing_keeps_rows_together() -> None:
    faces = make(6, track_ids=np.arange(6))
    for rows in (slice(1, 5, 2), [4, 0], np.array([True, False, True, False, False, True]), faces.confidence > 0.6, []):
        part = faces[rows]
        index = (
            np.arange(6)[np.asarray(rows, int) if rows == [] else rows]
            if isinstance(rows, list)
            else np.arange(6)[rows]
        )
        assert isinstance(part, Expressions)
        assert part.track_ids.tolist() == index.tolist()
        np.testing.assert_array_equal(part.probabilities, faces.probabilities[index])
        np.testing.assert_array_equal(part.boxes, faces.boxes[index])
        np.testing.assert_array_equal(part.landmarks, faces.landmarks[index])
        assert (part.threshold, part.size) == (faces.threshold, faces.size)


def test_one_integer_gives_a_face_and_iteration_gives_all() -> None:
    faces = make(3)
    face = faces[-1]
    assert isinstance(face, Face)
    assert face == faces[np.int64(2)] == list(faces)[2]
    assert (face.label, face.runner_up) == (faces.labels[2], faces.runner_up[2])
    assert face.probabilities[face.label] == face.confidence
    assert list(face.probabilities) == list(FER2013.labels)
    assert face.box == tuple(faces.boxes[2].tolist())
    with pytest.raises(IndexError):
        faces[3]
    with pytest.raises(IndexError):
        faces[[True, False]]
    with pytest.raises(IndexError):
        faces[0.5]  # type: ignore[call-overload]


def test_empty_behaves_like_any_other() -> None:
    none = Expressions.empty(FER2013, boxes=np.zeros((0, 4)))
    assert len(none) == len(none.labels) == len(none.runner_up) == len(list(none)) == len(none.to_dicts()) == 0
    assert none.confidence.shape == none.decided.shape == (0,)
    assert len(none[none.confidence > 0.5]) == len(none[:]) == 0
    assert not none
    assert repr(none) == "Expressions: no face, fer2013"


def test_merge_joins_what_slices_parted() -> None:
    faces = make(5)
    assert Expressions.merge([faces[:2], faces[2:2], faces[2:]]) == faces
    assert Expressions.merge([Expressions.empty(threshold=0.5, size=(100, 100)), faces]) == faces
    assert Expressions.merge([faces, make(2, size=(50, 50))]).size is None


@pytest.mark.parametrize(
    "other",
    [
        Expressions(np.full((1, 8), 1 / 8), FERPLUS, 0.5),
        make(1, threshold=0.4),
        make(1, boxes=None),
    ],
)
def test_merge_refuses_what_does_not_belong_together(other: Expressions) -> None:
    with pytest.raises(InputError):
        Expressions.merge([make(2), other])
    with pytest.raises(InputError):
        Expressions.merge([])


def test_equality_compares_every_field_but_the_image() -> None:
    assert make() == make(image=np.zeros((100, 100, 3), np.uint8))
    for changes in ({"threshold": 0.4}, {"boxes": None}, {"scores": np.zeros(4)}, {"size": (1, 1)}, {"seed": 1}):
        assert make() != make(**changes)  # type: ignore[arg-type]
    assert make() != "faces"
    with pytest.raises(TypeError):
        hash(make())


def test_repr_reads_well() -> None:
    text = repr(make(12))
    assert text.startswith("Expressions: 12 faces, fer2013\n  0  ")
    assert text.endswith("… and 2 more")
    assert " ? " in text


def test_dicts_have_the_documented_shape() -> None:
    (entry,) = make(1).to_dicts()
    assert list(entry) == ["box", "score", "label", "confidence", "decided", "probabilities", "landmarks"]
    assert len(entry["box"]) == 4
    assert np.shape(entry["landmarks"]) == (5, 2)
    assert sum(entry["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    bare = Expressions([[1, 0, 0, 0, 0, 0, 0]]).to_dicts()[0]
    assert bare["box"] is bare["score"] is bare["landmarks"] is None
    assert make(1, track_ids=[7]).to_dicts()[0]["track_id"] == 7


def test_pandas_table() -> None:
    pd = pytest.importorskip("pandas")
    faces = make(3, track_ids=[4, 5, 6])
    table = faces.to_pandas()
    assert isinstance(table, pd.DataFrame)
    assert table["label"].tolist() == faces.labels
    assert table["x2"].tolist() == faces.boxes[:, 2].tolist()
    assert [c for c in table if c.startswith("p_")] == [f"p_{label}" for label in FER2013.labels]
    assert len(Expressions.empty().to_pandas()) == 0


def test_without_pandas_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"mien\[table\]"):
        make().to_pandas()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 20), st.integers(0, 2**32 - 1), st.data())
def test_any_selection_agrees_with_numpy(count: int, seed: int, data: st.DataObject) -> None:
    faces = make(count, seed)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)), bool)
    assert faces[mask].labels == [label for label, keep in zip(faces.labels, mask, strict=True) if keep]
    assert (
        Expressions.merge([faces[mask], faces[~mask]])[np.argsort(np.r_[np.flatnonzero(mask), np.flatnonzero(~mask)])]
        == faces
    )
