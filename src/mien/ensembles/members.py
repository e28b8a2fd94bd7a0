"""A member: something measured whose probabilities enter an average."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError
from mien.results import metrics
from mien.systems import names
from mien.systems.named_ensembles import CARDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.results import Answers, Result


@dataclass(frozen=True, eq=False)
class Member:
    """What an ensemble knows of one of its members.

    Attributes:
        name: for messages.
        about: what the ensemble's recipe says of it: system, kind, seed, views, hashes, and the result's id.
        labels: names of the columns.
        selection: probabilities on the selection split, calibrated, float64 (n, classes).
        temperature: what its logits or margins are divided by; None where it has none.
        extra_data: data beyond the training split.
        cost: seconds, params, macs, …
        trained: commit and dirty of its training; None where that is unknown.
    """

    name: str
    about: Mapping[str, Any]
    labels: tuple[str, ...]
    selection: NDArray[np.float64]
    temperature: float | None
    extra_data: tuple[str, ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Any] | None = None


def member_of_result(result: Result) -> Member:
    """A recorded result as a member, calibrated on the selection split without its copies of training faces.

    Raises:
        InputError: its scores are no probabilities, or it has none on the selection split.
    """
    name = f"{result.system} ({result.id})"
    answers, scores = result.selection, result.selection_scores
    if answers is None or scores is None:
        raise InputError(f"{name} has no scores on the selection split, so it cannot be weighed against others")
    probabilities, temperature = probabilities_of(result.scores, scores, answers, name)
    about = {
        "result": result.id,
        "system": result.system,
        "kind": result.kind,
        "seed": result.seed,
        "views": result.views,
        "recipe_hash": result.recipe_hash,
        "weights_sha256": result.weights_sha256,
    }
    about_it = (name, about, result.labels, probabilities, temperature, result.extra_data, result.cost)
    return Member(*about_it, trained=result.training)


def probabilities_of(
    kind: str, scores: NDArray[np.floating[Any]], answers: Answers, name: str, temperature: float | None = None
) -> tuple[NDArray[np.float64], float | None]:
    """Calibrated probabilities of scores, and the temperature, fitted on ``answers`` where it is not given.

    Margins are no logits, but a softmax of them over a fitted temperature is as good a use of them as any with one
    number per member; without it the systems that give them could not be averaged with networks at all.
    """
    if kind == "probabilities":
        raw = scores.astype(np.float64)
        return raw / raw.sum(axis=1, keepdims=True), None
    if kind not in ("logits", "margins"):
        raise InputError(f"{name} gives {kind}, no probabilities: they cannot be averaged with those of others")
    if temperature is None:
        if not answers.fit.any():
            raise InputError(f"{name}: every selection face is a copy of a training face; there is nothing to fit on")
        temperature = metrics.fit_temperature(scores[answers.fit], answers.labels[answers.fit])
    return metrics.softmax(scores, temperature), temperature


def recipe_of(name: str, how: str, members: Sequence[Member], weights: NDArray[np.float64]) -> dict[str, Any]:
    """What an ensemble's result says of how it was made: its members with temperature and weight."""
    return {
        "name": name,
        "average": "probabilities",
        "choose": how,
        "chosen_on": "selection",
        "members": [
            {**member.about, "temperature": member.temperature, "weight": round(float(weight), 6)}
            for member, weight in zip(members, weights, strict=True)
        ],
    }


def weights_hash(members: Sequence[Member]) -> str:
    """SHA-256 (hex) over the hashes of the members' weights, in order."""
    return hashlib.sha256("\n".join(str(m.about["weights_sha256"]) for m in members).encode()).hexdigest()


def extra_data_of(members: Sequence[Member]) -> tuple[str, ...]:
    """The data of all members, each named once."""
    return tuple(dict.fromkeys(name for member in members for name in member.extra_data))


def cost_of(members: Sequence[Member], weights: NDArray[np.float64]) -> dict[str, Any]:
    """What the members that were taken cost together; only what is known of all of them."""
    taken = [member for member, weight in zip(members, weights, strict=True) if weight > 0]
    cost: dict[str, Any] = {"members": len(taken)}
    for key in ("seconds", "epochs", "params", "macs", "bytes"):
        values = [member.cost.get(key) for member in taken]
        if all(isinstance(value, int | float) for value in values):
            cost[key] = round(sum(value for value in values if value is not None), 1)
    return cost


def check_name(name: str, members: Sequence[Member]) -> None:
    """Refuse the name of a system (`InputError`), unless it is a named ensemble's and these are its members."""
    if name not in names():
        return
    found = sorted(f"{member.about['system']}:{member.about['seed']}" for member in members)
    if name not in CARDS or found != sorted(CARDS[name].options["members"]):
        raise InputError(f"{name} is the name of a system, and this ensemble is not it; choose another name")


def check_together(members: Sequence[Member]) -> None:
    """Refuse too few members, the same one twice, submitted ones, and different expressions (`InputError`)."""
    if len(members) < 2:
        raise InputError("an ensemble has at least 2 members; give more results, bundles or runs")
    seen: dict[tuple[Any, Any], str] = {}
    for member in members:
        if member.about["kind"] == "submitted":
            # The mean would be a number of ours about predictions whose origin nobody has seen.
            raise InputError(f"{member.name} is submitted; an ensemble consists of what was measured here")
        key = (member.about["weights_sha256"], member.about["views"])
        if key in seen:
            raise InputError(f"{member.name} and {seen[key]} are the same network under the same view; give it once")
        seen[key] = member.name
        if member.labels != members[0].labels:
            raise InputError(
                f"{member.name} tells {', '.join(member.labels)}; "
                f"{members[0].name} tells {', '.join(members[0].labels)}"
            )
