"""Which members, with which weights: decided on the selection split, and on nothing else.

Published ensembles of this field were searched on test predictions. Here the function that chooses takes the rows it
chooses on, and refuses those that the protocol does not give for choosing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError, SealedSplitError
from mien.registry import suggestion
from mien.results.calibration import FLOOR

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.results import Answers, Protocol

CHOICES = ("all", "greedy", "weights")
"""``all``: every member counts the same. ``greedy``: members are added one by one. ``weights``: likelihood decides."""

_ROUNDS = 50
_STEPS = 500


@dataclass(frozen=True, eq=False)
class Chosen:
    """The outcome of a choice.

    Attributes:
        weights: float64 (members,), from 0, they sum to 1; a member of weight 0 was not taken.
        nll: negative log-likelihood of the mean on the faces that the choice was made on.
        faces: how many these were.
    """

    weights: NDArray[np.float64]
    nll: float
    faces: int


def choose(
    probabilities: Sequence[NDArray[np.float64]],
    answers: Answers,
    protocol: Protocol,
    how: str = "all",
) -> Chosen:
    """Choose members or weights by the likelihood of the selection split's labels.

    Args:
        probabilities: of each member, (n, classes).
        answers: of the faces they are about: the selection split's. Copies of training faces (``~answers.fit``) decide
            nothing, as whoever memorised most would win.
        protocol: that they belong to.
        how: one of `CHOICES`. ``greedy`` adds the member that helps most, again and again, also one that is in already
            (Caruana et al., "Ensemble selection from libraries of models", ICML 2004); ``weights`` finds the mixture
            of highest likelihood by expectation maximisation.

    Raises:
        SealedSplitError: the rows are not those of the protocol's selection split.
        InputError: an unknown way to choose, arrays that do not fit, no face to choose on.
    """
    if how not in CHOICES:
        raise InputError(f"an ensemble is chosen by {', '.join(CHOICES)}, not {how!r}; {suggestion(how, CHOICES)}")
    _check_rows(answers, protocol)
    if len(probabilities) < 2:
        raise InputError("an ensemble has at least 2 members")
    for member in probabilities:
        if member.shape != probabilities[0].shape or len(member) != len(answers):
            raise InputError("the members' probabilities are about different faces or expressions")
    if not answers.fit.any():
        raise InputError("every selection face is a copy of a training face: there is nothing to choose on")
    right = np.stack([member[answers.fit, answers.labels[answers.fit]] for member in probabilities])
    find = {"all": _equal, "greedy": _greedy, "weights": _mixture}[how]
    weights = find(right)
    return Chosen(weights, _nll(weights @ right), right.shape[1])


def _check_rows(answers: Answers, protocol: Protocol) -> None:
    if protocol.answers is None:
        if answers.split == protocol.test_split:
            raise SealedSplitError(f"members are chosen on {protocol.selection_split}, never on {answers.split}")
        return
    wanted = protocol.selection
    if wanted is None:
        raise InputError(f"{protocol.name} has no split to choose members on; average all of them")
    if not np.array_equal(answers.rows, wanted.rows):
        raise SealedSplitError(
            f"members and weights are chosen on {protocol.selection_split} of {protocol.name}, all of it and nothing "
            f"else; these are rows of {answers.split}"
        )


def _equal(right: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.full(len(right), 1 / len(right))


def _greedy(right: NDArray[np.float64]) -> NDArray[np.float64]:
    """Right: probability of the label, (members, n)."""
    counts = np.zeros(len(right))
    total, best = np.zeros(right.shape[1]), np.inf
    for taken in range(1, _ROUNDS + 1):
        losses = [_nll((total + member) / taken) for member in right]
        index = int(np.argmin(losses))
        if losses[index] >= best - 1e-9:
            break
        best = losses[index]
        counts[index] += 1
        total += right[index]
    weights: NDArray[np.float64] = counts / counts.sum()
    return weights


def _mixture(right: NDArray[np.float64]) -> NDArray[np.float64]:
    weights = np.full(len(right), 1 / len(right))
    safe = np.maximum(right, FLOOR)
    for _ in range(_STEPS):
        shares = weights[:, None] * safe
        renewed = (shares / shares.sum(axis=0)).mean(axis=1)
        if np.abs(renewed - weights).max() < 1e-7:
            break
        weights = renewed
    weights = np.where(weights < 1e-3, 0, weights)
    weights = np.round(weights / weights.sum(), 6)
    found: NDArray[np.float64] = weights / weights.sum()
    return found


def _nll(right: NDArray[np.float64]) -> float:
    return float(-np.log(np.maximum(right, FLOOR)).mean())
