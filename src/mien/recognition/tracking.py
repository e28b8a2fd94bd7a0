"""Which face of this frame is which face of the frames before: a Kalman filter per face, matched by overlap.

As in SORT (Bewley et al. 2016, "Simple Online and Realtime Tracking", section 3), with two changes for faces of one
shot: the filter works in seconds, so that frames may come at any distance, and a face that was hidden is looked for
around the place where it was lost for as long as `gap` says, since people who turn away rarely go far.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.faces.detect import intersection_over_union

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

_OVERLAP = 0.2
"""Least intersection over union of a prediction and the detection that continues it."""
_REACH = 1.0
"""A hidden face may come back this many of its own sides away, …"""
_GROWTH = 1.8
"""… and larger or smaller by this factor at most."""
_JITTER = 0.04
"""Standard deviation of a detector's box, in sides of the face."""
_PUSH = 4.0
"""Standard deviation of a head's acceleration, in sides per second²."""
_LIKENESS = 0.7
"""Correlation of two looks that make a face the same one across a cut or behind something that fills the picture."""
_FADE = 0.3
"""Seconds in which the speed of a face that is not seen falls to a third: it was hidden, not shot from a gun."""


class _Track:
    """Centre, width and height of one face, each with its speed: four independent filters of two states."""

    def __init__(self, number: int, box: NDArray[np.float64], time: float, look: NDArray[np.float32] | None) -> None:
        self.number = number
        self.look, self.doubtful = look, False
        self.place = _centred(box)  # (4,) cx cy w h
        self.speed = np.zeros(4)
        side = float(self.place[2:].mean())
        self.variance = np.array([(_JITTER * side) ** 2, 0.0, (2 * side) ** 2])  # place, covariance, speed
        self.time = self.seen = time

    def at(self, time: float) -> NDArray[np.float64]:
        """(4,) x1 y1 x2 y2, where the face should be."""
        step = time - self.time
        unseen = max(0.0, time - self.seen)
        travelled = _FADE * (1 - np.exp(-unseen / _FADE)) if unseen else step
        place = self.place + self.speed * min(step, travelled)
        half = np.maximum(place[2:], 1) / 2
        return np.concatenate([place[:2] - half, place[:2] + half])

    def correct(self, box: NDArray[np.float64], time: float, look: NDArray[np.float32] | None) -> None:
        self.look, self.doubtful = look, False
        step = max(time - self.time, 0.0)
        side = float(self.place[2:].mean())
        noise = (_PUSH * side) ** 2
        place, cross, speed = self.variance
        place = place + 2 * step * cross + step**2 * speed + noise * step**4 / 4
        cross = cross + step * speed + noise * step**3 / 2
        speed = speed + noise * step**2
        measured = _centred(box)
        error = (_JITTER * float(measured[2:].mean())) ** 2
        gain, pull = place / (place + error), cross / (place + error)
        predicted = self.place + step * self.speed
        self.place = predicted + gain * (measured - predicted)
        self.speed = self.speed + pull * (measured - predicted)
        self.variance = np.array([(1 - gain) * place, (1 - gain) * cross, speed - pull * cross])
        self.time = self.seen = time


class Tracker:
    """Gives each detected face a number that stays its own from frame to frame.

    Args:
        gap: seconds that a face may be hidden and still be the same one when it comes back.

    Raises:
        InputError: if ``gap`` is negative.

    Example:
        >>> tracker = Tracker()
        >>> tracker.update([[0, 0, 10, 10], [50, 50, 60, 60]], time=0.0).tolist()
        [1, 2]
        >>> tracker.update([[51, 50, 61, 60], [1, 0, 11, 10]], time=0.04).tolist()
        [2, 1]
        >>> tracker.update([[90, 0, 99, 9]], time=0.08).tolist()
        [3]
    """

    def __init__(self, gap: float = 1.0) -> None:
        if not gap >= 0:
            raise InputError(f"gap is the seconds that a face may be hidden, not {gap}")
        self.gap = float(gap)
        self._tracks: list[_Track] = []
        self._count = 0
        self._time = -np.inf

    def update(self, boxes: ArrayLike, time: float, looks: NDArray[np.float32] | None = None) -> NDArray[np.int64]:
        """Number the faces of the next frame.

        Args:
            boxes: (N, 4), x1 y1 x2 y2 in pixels.
            time: of the frame, in seconds; never before the last one's.
            looks: float32 (N, D), rows of mean 0 and length 1 that say what each face looks like; see `doubt`.

        Returns:
            int64 (N,), from 1; a face without a track gets the next number.

        Raises:
            InputError: if the time goes backwards.
        """
        if time < self._time:
            raise InputError(f"frames come in the order of their times: {time} s after {self._time} s")
        self._time = time
        found = np.asarray(boxes, np.float64).reshape(-1, 4)
        self._tracks = [track for track in self._tracks if time - track.seen <= self.gap + 1e-9]
        numbers = np.zeros(len(found), np.int64)
        for track, row in self._match(found, time, looks):
            track.correct(found[row], time, None if looks is None else looks[row])
            numbers[row] = track.number
        for row in np.flatnonzero(numbers == 0).tolist():
            self._count += 1
            look = None if looks is None else looks[row]
            self._tracks.append(_Track(self._count, found[row], time, look))
            numbers[row] = self._count
        return numbers

    def doubt(self) -> None:
        """The picture changed as a whole: a cut, or something in front of the camera.

        From now on a face of before has to look like it did to be taken for the same one; the place is not enough.
        """
        for track in self._tracks:
            track.doubtful = True

    @property
    def alive(self) -> set[int]:
        """Numbers that can still come back."""
        return {track.number for track in self._tracks}

    def _match(
        self, found: NDArray[np.float64], time: float, looks: NDArray[np.float32] | None
    ) -> list[tuple[_Track, int]]:
        """Best overlap first; then what was hidden, nearest first. Each track and each face once."""
        if not len(found) or not self._tracks:
            return []
        expected = np.stack([track.at(time) for track in self._tracks])
        alike = np.ones((len(self._tracks), len(found)), np.bool_)
        for row, track in enumerate(self._tracks):
            if track.doubtful:
                alike[row] = False if track.look is None or looks is None else looks @ track.look >= _LIKENESS
        overlap = np.asarray(intersection_over_union(expected, found), np.float64)
        pairs = _greedy(-overlap, (overlap >= _OVERLAP) & alike)
        taken_tracks, taken_faces = {pair[0] for pair in pairs}, {pair[1] for pair in pairs}
        a, b = _centred(expected), _centred(found)
        side = a[:, None, 2:].mean(axis=2)
        distance = np.linalg.norm(a[:, None, :2] - b[None, :, :2], axis=2) / side
        growth = np.abs(np.log(b[None, :, 2:].mean(axis=2) / side))
        possible = (distance <= _REACH) & (growth <= np.log(_GROWTH)) & alike
        possible[sorted(taken_tracks)] = False
        possible[:, sorted(taken_faces)] = False
        pairs += _greedy(distance, possible)
        return [(self._tracks[track], row) for track, row in pairs]


def _greedy(cost: NDArray[np.float64], possible: NDArray[np.bool_]) -> list[tuple[int, int]]:
    pairs: list[tuple[int, int]] = []
    rows, columns = np.nonzero(possible)
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for index in np.argsort(cost[rows, columns], kind="stable").tolist():
        row, column = int(rows[index]), int(columns[index])
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs


def _centred(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """(…, 4) x1 y1 x2 y2 → cx cy w h."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(low + high) / 2, np.maximum(high - low, 1.0)], axis=-1)


class Smoother:
    """Averages each face's probabilities over time, the recent ones most (exponentially).

    Args:
        seconds: time constant; 0 changes nothing.

    Raises:
        InputError: if ``seconds`` is negative.

    Example:
        >>> smoother = Smoother(seconds=1.0)
        >>> _ = smoother.update([1], [[1.0, 0.0]], time=0.0)
        >>> smoother.update([1], [[0.0, 1.0]], time=0.5).argmax(axis=1).tolist()
        [0]
    """

    def __init__(self, seconds: float = 0.3) -> None:
        if not seconds >= 0:
            raise InputError(f"smoothing is a time in seconds, not {seconds}")
        self.seconds = float(seconds)
        self._last: dict[int, tuple[float, NDArray[np.float32]]] = {}

    def update(self, track_ids: ArrayLike, probabilities: ArrayLike, time: float) -> NDArray[np.float32]:
        """The smoothed probabilities of the faces of one frame.

        Args:
            track_ids: int (N,).
            probabilities: float (N, C), rows sum to 1.
            time: of the frame in seconds.

        Returns:
            float32 (N, C), rows sum to 1.
        """
        out = np.array(probabilities, np.float32)
        if not self.seconds:
            return out
        for row, number in enumerate(np.asarray(track_ids, np.int64).tolist()):
            if number in self._last:
                before, mean = self._last[number]
                share = np.float32(1 - np.exp(-max(time - before, 0.0) / self.seconds))
                out[row] = mean + share * (out[row] - mean)
            self._last[number] = (time, out[row].copy())
        return out

    def keep(self, track_ids: set[int]) -> None:
        """Forget all other faces."""
        self._last = {number: state for number, state in self._last.items() if number in track_ids}
