"""Numbers of faces over time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.errors import InputError
from mien.recognition.tracking import Smoother, Tracker


def square(x: float, y: float, side: float = 40) -> list[float]:
    return [x, y, x + side, y + side]


def test_faces_keep_their_numbers_whatever_order_they_come_in() -> None:
    tracker, rng = Tracker(), np.random.default_rng(0)
    for step in range(40):
        boxes = np.array([square(10 + 3 * step, 20), square(400 - 2 * step, 30), square(200, 200 + step)], float)
        boxes += rng.normal(0, 1, boxes.shape)
        order = rng.permutation(3) if step else np.arange(3)
        assert tracker.update(boxes[order], step / 25).tolist() == (order + 1).tolist()


def test_two_faces_that_pass_each_other_keep_their_numbers() -> None:
    tracker = Tracker()
    for step in range(30):
        left, right = square(8 * step, 100), square(240 - 8 * step, 125)
        numbers = tracker.update([left, right], step / 25)
        assert numbers.tolist() == [1, 2], step


@pytest.mark.parametrize(("hidden", "same"), [(0.4, True), (0.9, True), (1.3, False)])
def test_a_hidden_face_is_the_same_within_the_gap(hidden: float, same: bool) -> None:
    tracker = Tracker(gap=1.0)
    for step in range(20):
        tracker.update([square(100 + 2 * step, 50)], step / 25)
    tracker.update([], 0.8)
    back = tracker.update([square(150, 55)], 19 / 25 + hidden)
    assert (back.tolist() == [1]) is same


def test_a_face_elsewhere_is_another_one() -> None:
    tracker = Tracker()
    tracker.update([square(0, 0)], 0.0)
    assert tracker.update([square(300, 0)], 0.2).tolist() == [2]
    assert tracker.update([square(302, 0, 200)], 0.4).tolist() == [3]


def test_frames_at_uneven_times_do_not_shake_the_prediction() -> None:
    tracker = Tracker()
    rng = np.random.default_rng(1)
    time = 0.0
    for _ in range(60):
        time += float(rng.uniform(0.01, 0.25))
        assert tracker.update([square(150 * time, 10)], time).tolist() == [1]


def test_after_a_cut_only_the_same_look_is_the_same_face() -> None:
    looks = np.array([[0.6, -0.8, 0.2, 0.0], [-0.5, 0.5, -0.5, 0.5]], np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    tracker = Tracker()
    tracker.update([square(0, 0), square(100, 0)], 0.0, looks)
    tracker.doubt()
    assert tracker.update([square(0, 0), square(100, 0)], 0.1, looks[[1, 1]]).tolist() == [3, 2]
    tracker.doubt()
    assert tracker.update([square(0, 0)], 0.2).tolist() == [4]  # without looks nobody is known again
    assert tracker.alive == {1, 2, 3, 4}


def test_time_does_not_run_backwards() -> None:
    tracker = Tracker()
    tracker.update([], 1.0)
    with pytest.raises(InputError, match="order of their times"):
        tracker.update([], 0.5)
    with pytest.raises(InputError, match="gap"):
        Tracker(gap=-1)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(1, 90)), max_size=6), max_size=8)
)
def test_numbers_are_unique_in_a_frame_and_never_reused(frames: list[list[tuple[int, int, int]]]) -> None:
    tracker, highest = Tracker(), 0
    for index, faces in enumerate(frames):
        boxes = [square(x, y, side) for x, y, side in faces]
        numbers = tracker.update(boxes, index / 10).tolist()
        assert len(set(numbers)) == len(numbers) == len(faces)
        new = [number for number in numbers if number > highest]
        assert new == list(range(highest + 1, highest + 1 + len(new)))
        highest += len(new)


def test_smoothing_follows_slowly_and_stays_a_distribution() -> None:
    smoother = Smoother(seconds=0.3)
    smoother.update([7], [[1.0, 0.0]], 0.0)
    out = [smoother.update([7], [[0.0, 1.0]], t / 25)[0] for t in range(1, 40)]
    first = [float(p[1]) for p in out]
    assert first == sorted(first)
    assert first[0] == pytest.approx(1 - np.exp(-0.04 / 0.3), abs=1e-5)
    assert first[-1] > 0.99
    assert all(abs(p.sum() - 1) < 1e-5 for p in out)


def test_smoothing_off_and_forgetting() -> None:
    assert Smoother(0).update([1], [[0.2, 0.8]], 0.0).tolist() == [[pytest.approx(0.2), pytest.approx(0.8)]]
    smoother = Smoother(10)
    smoother.update([1, 2], [[1, 0], [1, 0]], 0.0)
    smoother.keep({2})
    again = smoother.update([1, 2], [[0, 1], [0, 1]], 0.1)
    assert again[0].tolist() == [0, 1]
    assert again[1][0] > 0.9
    with pytest.raises(InputError, match="smoothing"):
        Smoother(-1)
