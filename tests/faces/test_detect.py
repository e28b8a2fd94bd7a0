from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mien.errors import InputError
from mien.faces import Detections, Detector, open_detector
from mien.faces.detect import MAX_FACES, assemble, intersection_over_union, suppress

BLANK = np.zeros((60, 80, 3), np.uint8)
BOXES = [[10, 10, 30, 34], [50, 10, 74, 38]]


def test_detections_are_brought_into_shape() -> None:
    found = Detections(BOXES)
    assert found.boxes.dtype == found.scores.dtype == np.float32
    assert found.scores.tolist() == [1, 1]
    assert found.landmarks is None
    assert found[1].boxes.tolist() == [BOXES[1]]
    assert found[[False, True]].boxes.tolist() == [BOXES[1]]
    assert found[:0].boxes.shape == (0, 4)
    assert Detections([]).boxes.shape == (0, 4)
    empty = Detections.empty()
    assert (empty.scores.shape, empty.landmarks.shape) == ((0,), (0, 5, 2))


@pytest.mark.parametrize(
    ("boxes", "scores", "landmarks", "said"),
    [
        ([1, 2, 3, 4], None, None, "shape"),
        ([[1, 2, 3]], None, None, "shape"),
        ([["a", 2, 3, 4]], None, None, "numbers"),
        ([[1, 2, np.nan, 4]], None, None, "finite"),
        ([[5, 2, 3, 4]], None, None, "no area"),
        ([[1, 2, 1, 4]], None, None, "no area"),
        ([[1, 2, 3, 4]], [1.5], None, "0–1"),
        ([[1, 2, 3, 4]], [0.5, 0.5], None, "one row"),
        ([[1, 2, 3, 4]], [0.5], np.zeros((1, 4, 2)), "shape"),
        ([[1, 2, 3, 4]], [0.5], np.zeros((2, 5, 2)), "one row"),
        ([[1, 2, 3, 4]] * (MAX_FACES + 1), None, None, "at most"),
    ],
)
def test_absurd_detections_are_refused(boxes: object, scores: object, landmarks: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        Detections(boxes, scores, landmarks)


def test_any_callable_is_a_detector() -> None:
    landmarks = np.zeros((2, 5, 2))
    for answer in (
        BOXES,
        np.array(BOXES),
        Detections(BOXES),
        (BOXES,),
        (BOXES, [0.5, 0.6]),
        (BOXES, [0.5, 0.6], landmarks),
    ):
        detector = open_detector(lambda image, answer=answer: answer)
        assert isinstance(detector, Detector)
        assert detector.detect(BLANK).boxes.tolist() == BOXES
    assert len(open_detector(lambda image: []).detect(BLANK)) == 0
    for answer in (None, 3, [[1, 2]], (BOXES, 1, 2, 3), "centerface"):
        with pytest.raises(InputError, match="the detector returned"):
            open_detector(lambda image, answer=answer: answer).detect(BLANK)


def test_an_object_with_detect_is_a_detector() -> None:
    class Mine:
        def detect(self, image: np.ndarray) -> Detections:
            return Detections.empty()

    mine = Mine()
    assert open_detector(mine) is mine


def test_unknown_detectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="did you mean 'centerface'"):
        open_detector("centreface")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="not on this machine yet: mien fetch yunet"):
        open_detector("yunet")
    with pytest.raises(InputError, match="does not exist"):
        open_detector("yunet:/nowhere.onnx")
    with pytest.raises(InputError, match="no detector"):
        open_detector(7)


def test_overlap() -> None:
    assert intersection_over_union([], []).shape == (0, 0)
    assert intersection_over_union([[0, 0, 4, 4]], [[0, 0, 4, 4], [2, 0, 6, 4], [4, 0, 8, 4]]).round(4).tolist() == [
        [1.0, pytest.approx(1 / 3, abs=1e-4), 0.0]
    ]


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(0, 30), st.just(6)), elements=st.floats(0, 100, width=32)))
def test_suppression_keeps_one_box_per_place(raw: np.ndarray) -> None:
    boxes = np.concatenate([raw[:, :2], raw[:, :2] + raw[:, 2:4] + 1], 1)
    scores = raw[:, 4] / 100
    kept = suppress(boxes, scores, 0.3)
    overlaps = intersection_over_union(boxes[kept], boxes[kept]) - np.eye(len(kept))
    assert (overlaps <= 0.3 + 1e-6).all()
    assert (np.diff(scores[kept]) <= 0).all()
    # Whatever went has a better neighbour that stayed.
    gone = np.setdiff1d(np.arange(len(boxes)), kept)
    for index in gone:
        near = kept[intersection_over_union(boxes[index : index + 1], boxes[kept])[0] > 0.3]
        assert scores[near].max() >= scores[index]


def test_assemble_drops_what_cannot_be() -> None:
    boxes = np.array(
        [[-5, -5, 20, 20], [70, 50, 95, 75], [np.nan, 0, 9, 9], [79.5, 0, 90, 9], [200, 0, 210, 9]], np.float32
    )
    found = assemble(boxes, np.linspace(0.5, 0.9, 5), np.zeros((5, 5, 2), np.float32), width=80, height=60, overlap=0.3)
    assert found.boxes.tolist() == [[70, 50, 80, 60], [0, 0, 20, 20]]
