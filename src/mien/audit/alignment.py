"""How alike two faces are once one is laid on the other: the proof that a candidate is a copy.

The place is found by Gauss–Newton steps on the correlation of the two faces (Evangelidis and Psarakis 2008,
"Parametric Image Alignment Using Enhanced Correlation Coefficient Maximization"), for many pairs at once, with an
affine map: turned, shifted, cropped and slightly stretched copies fit, another face does not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien.audit.embedding import SIDE
from mien.audit.geometry import Float, corners_of, grid, round_window

_CHUNK = 64
_COARSE_STEPS, _FINE_STEPS = 8, 3
_HOPELESS = 0.9  # a pair that correlates less at half size, after all steps, is not looked at in full size
_LARGEST_STEP = 0.15
_OVERLAP = 0.6  # share of the window that both faces must cover


def aligned_correlation(faces: NDArray[np.uint8], references: NDArray[np.uint8], places: Float) -> Float:
    """The correlation of each face with its reference, where the two fit best.

    Args:
        faces: uint8 (N, 48, 48), grey.
        references: uint8 (N, 48, 48), grey.
        places: float32 (N, 2, 3), where each face lies in its reference, roughly (see `placement`).

    Returns:
        float32 (N,), −1 to 1; −1 where the faces hardly overlap or only fit when bent out of shape. Values under 0.9
        come from the faces at half size.

    Example:
        >>> from mien.audit.geometry import placement
        >>> face = (np.random.default_rng(0).random((1, 6, 6)).repeat(8, 1).repeat(8, 2) * 255).astype(np.uint8)
        >>> moved = np.roll(face, 2, axis=2)
        >>> bool(aligned_correlation(moved, face, placement()[None])[0] > 0.97)
        True
    """
    scores = np.empty(len(faces), np.float32)
    place = np.empty((len(faces), 2, 3), np.float32)
    for start in range(0, len(faces), _CHUNK):
        rows = slice(start, start + _CHUNK)
        face, reference = _halved(_scaled(faces[rows])), _halved(_scaled(references[rows]))
        place[rows], scores[rows] = _fit(face, reference, places[rows].astype(np.float32), _COARSE_STEPS)
    promising = np.flatnonzero(scores >= _HOPELESS)
    for start in range(0, len(promising), _CHUNK):
        chosen = promising[start : start + _CHUNK]
        face, reference = _smooth(_scaled(faces[chosen])), _smooth(_scaled(references[chosen]))
        place[chosen], scores[chosen] = _fit(face, reference, place[chosen], _FINE_STEPS)
        unclipped = (faces[chosen] > 2) & (faces[chosen] < 253)
        again = _where_unclipped(face, reference, place[chosen], unclipped.reshape(len(chosen), -1))
        scores[chosen] = np.maximum(scores[chosen], again)
    scores[~_moderate(place, places)] = -1
    return scores


def _fit(face: Float, reference: Float, place: Float, steps: int) -> tuple[Float, Float]:
    """The best place seen in that many steps, float32 (n, 2, 3), and its correlation, float32 (n,).

    The face is the fixed one, so slopes and normal equations are computed once (the inverse compositional form of
    Baker and Matthews 2004, "Lucas-Kanade 20 Years On", section 3.2).
    """
    count, side = len(face), face.shape[1]
    x, y = grid(side)
    window = round_window(side)
    kept = window > 0
    x, y, window = x[kept], y[kept], window[kept]
    points = np.stack([x, y, np.ones_like(x)])
    root = np.sqrt(window)
    flat_face = face.reshape(count, -1)[:, kept]
    flat_reference = np.ascontiguousarray(reference.reshape(count, -1))
    offsets = (np.arange(count) * side * side)[:, None]

    wanted = _centred(flat_face, window)
    length = np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-6)
    wanted /= length
    slope_x, slope_y = (slope[:, kept] for slope in _slopes(face))
    jacobian = np.concatenate([slope_x[:, None] * points, slope_y[:, None] * points], axis=1)  # (n, 6, pixels)
    jacobian -= (jacobian @ (window / window.sum()))[:, :, None]
    jacobian *= root / length[:, None]
    # A change of contrast is no movement.
    jacobian -= (jacobian @ wanted[:, :, None]) * wanted[:, None]
    normal = jacobian @ jacobian.transpose(0, 2, 1)
    damping = 1e-3 * np.trace(normal, axis1=1, axis2=2)[:, None, None] / 6 + 1e-6
    solver = np.linalg.inv(normal + damping * np.eye(6, dtype=np.float32)) @ jacobian

    place = place.copy()
    best, best_score = place.copy(), np.full(count, -1, np.float32)
    for step in range(steps + 1):
        there = place @ points  # (n, 2, pixels)
        inside = _within(there)
        where, shares = corners_of(there[:, 0], there[:, 1], side)
        moved = np.zeros_like(flat_face)
        for spot, share in zip(where, shares, strict=True):
            moved += flat_reference.take(spot + offsets) * share
        whole = inside.all(axis=1)
        seen = _centred(moved, window)
        seen /= np.maximum(np.linalg.norm(seen, axis=1, keepdims=True), 1e-6)
        score = np.einsum("np,np->n", seen, wanted)
        if not whole.all():
            part = np.flatnonzero(~whole)
            score[part] = _partial(moved[part], flat_face[part], window * inside[part], float(window.sum()))
        better = score > best_score
        best[better], best_score[better] = place[better], score[better]
        if step == steps:
            break
        wrong = np.where(inside, seen - wanted, 0)
        change = (solver @ wrong[:, :, None])[:, :, 0]
        size = np.abs(change).max(axis=1, keepdims=True)
        change *= np.minimum(1, _LARGEST_STEP / np.maximum(size, 1e-9))
        place = _after(place, change)
    return best, best_score


def _after(place: Float, change: Float) -> Float:
    """``place`` following the inverse of the small affine map 1 + ``change``."""
    linear = np.eye(2, dtype=np.float32) + change.reshape(-1, 2, 3)[:, :, :2]
    shift = change.reshape(-1, 2, 3)[:, :, 2:]
    inverse = np.linalg.inv(linear)
    result = np.concatenate([place[:, :, :2] @ inverse, place[:, :, 2:] - place[:, :, :2] @ (inverse @ shift)], axis=2)
    return np.asarray(result, np.float32)


def _partial(seen: Float, wanted: Float, weight: Float, all_of_it: float) -> Float:
    """Correlation where both faces are known, float32 (n,); −1 where that is too little."""
    total = np.maximum(weight.sum(axis=1, keepdims=True), 1e-6)
    parts = []
    for values in (seen, wanted):
        centred = (values - (values * weight).sum(axis=1, keepdims=True) / total) * np.sqrt(weight)
        parts.append(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-6))
    score = np.einsum("np,np->n", *parts)
    score[total[:, 0] < _OVERLAP * all_of_it] = -1
    return np.asarray(score, np.float32)


def _where_unclipped(face: Float, reference: Float, place: Float, unclipped: NDArray[np.bool_]) -> Float:
    """The correlation where the face is neither black nor white: a brightened copy has lost the rest."""
    side = face.shape[1]
    x, y = grid(side)
    there = place @ np.stack([x, y, np.ones_like(x)])
    inside = _within(there)
    where, shares = corners_of(there[:, 0], there[:, 1], side)
    offsets = (np.arange(len(face)) * side * side)[:, None]
    moved = sum(np.take(reference, spot + offsets) * share for spot, share in zip(where, shares, strict=True))
    window = round_window(side)
    return _partial(
        np.asarray(moved, np.float32),
        face.reshape(len(face), -1),
        (window * inside * unclipped).astype(np.float32),
        float(window.sum()),
    )


def _within(there: Float) -> NDArray[np.bool_]:
    """Which points (n, 2, pixels) lie on the image, bool (n, pixels)."""
    return np.asarray((np.abs(there) <= 1).all(axis=1), np.bool_)


def _centred(values: Float, window: Float) -> Float:
    mean = values @ (window / window.sum())
    return np.asarray((values - mean[:, None]) * np.sqrt(window), np.float32)


def _scaled(images: NDArray[np.uint8]) -> Float:
    return images.astype(np.float32) / np.float32(255)


def _slopes(images: Float) -> tuple[Float, Float]:
    """Derivative along x and y in units of the coordinates, float32 (n, pixels) each."""
    scale = np.float32(images.shape[1] / 2)
    down, right = np.gradient(images, axis=(1, 2))
    return (right * scale).reshape(len(images), -1), (down * scale).reshape(len(images), -1)


def _halved(images: Float) -> Float:
    half = SIDE // 2
    return _smooth(np.asarray(images.reshape(-1, half, 2, half, 2).mean(axis=(2, 4)), np.float32))


def _smooth(images: Float) -> Float:
    """A binomial blur (1 2 1)/4 along both sides, edges repeated."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = (padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]) / 4
    return np.asarray((rows[:, :, :-2] + 2 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 4, np.float32)


def _moderate(place: Float, start: Float) -> NDArray[np.bool_]:
    """Whether the fit stayed near its start: another face could be bent until it fits."""
    size = np.abs(np.linalg.det(place[:, :, :2]))
    near = np.abs(place - start).max(axis=(1, 2)) < 0.35
    return np.asarray(near & (size > 0.45) & (size < 1.6), np.bool_)
