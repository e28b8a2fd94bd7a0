"""Is an ensemble the average of the recorded results that its recipe names?"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from mien.errors import ResultError
from mien.results import metrics
from mien.results.schema import Result
from mien.results.validation import steps

TOLERANCE = 1e-3
"""Of a logit, beyond the step it is recorded in: half precision, and weights of six decimals."""


def check_average(ensemble: Result, recorded: Mapping[str, Result]) -> None:
    """Recompute an ensemble of recorded results from its members; one of networks names no results.

    Args:
        ensemble: of kind ``ensemble``.
        recorded: all results that hold, by id.

    Raises:
        ResultError: a member is not recorded, submitted, or under another protocol; its extra data are not named; the
            scores are not the mean of the members'.
    """
    try:
        _check_mean(ensemble, recorded)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultError(f"its recipe does not say what an ensemble consists of ({error!r:.80})") from None


def check_members(ensemble: Result, wanted: Collection[str] | None) -> None:
    """Refuse the name of a system for an ensemble, unless its members are those of the named ensemble.

    Args:
        ensemble: of kind ``ensemble``, called like a system.
        wanted: members of the named ensemble, ``system:seed``; None where that system is no ensemble.
    """
    try:
        found = [f"{entry['system']}:{entry['seed']}" for entry in ensemble.recipe.get("members", ())]
    except (KeyError, TypeError):
        found = []
    if wanted is None or sorted(found) != sorted(wanted):
        raise ResultError(f"is an ensemble called like the system {ensemble.system}, and is not it")


def _check_mean(ensemble: Result, recorded: Mapping[str, Result]) -> None:
    entries = [entry for entry in ensemble.recipe.get("members", ()) if "result" in entry]
    if not entries:
        return
    members = [_member(ensemble, entry, recorded) for entry in entries]
    for side in ("selection", "test"):
        recorded_scores = getattr(ensemble, f"{side}_scores")
        if recorded_scores is None:
            continue
        mean = sum(
            entry["weight"] * _probabilities(member, entry, side)
            for member, entry in zip(members, entries, strict=True)
        )
        logits = np.log(np.maximum(mean, 1e-12))
        logits -= logits.max(axis=1, keepdims=True)
        kept = recorded_scores.astype(np.float64)
        kept -= kept.max(axis=1, keepdims=True)
        if (np.abs(kept - logits) > steps(logits) + TOLERANCE).any():
            raise ResultError(f"its {side} scores are not the mean of its members' probabilities")


def _member(ensemble: Result, entry: Mapping[str, Any], recorded: Mapping[str, Result]) -> Result:
    member = recorded.get(str(entry["result"]))
    if member is None:
        raise ResultError(f"its member {entry['result']} is not among the results that hold, so nothing proves it")
    if member.kind == "submitted":
        raise ResultError(f"its member {member.id} is submitted; an ensemble consists of what was measured here")
    said = {key: getattr(member, key) for key in ("system", "kind", "seed", "views", "weights_sha256")}
    if member.protocol != ensemble.protocol or any(entry.get(key) != value for key, value in said.items()):
        raise ResultError(f"its recipe says of its member {member.id} what that result does not say")
    if hidden := [name for name in member.extra_data if name not in ensemble.extra_data]:
        raise ResultError(f"its member {member.id} learnt from {hidden[0]}, which its extra_data does not name")
    return member


def _probabilities(member: Result, entry: Mapping[str, Any], side: str) -> Any:
    scores = getattr(member, f"{side}_scores")
    if scores is None:
        raise ResultError(f"its member {member.id} has no {side} scores")
    if member.scores == "probabilities":
        raw = scores.astype(np.float64)
        return raw / raw.sum(axis=1, keepdims=True)
    fitted = _temperature(member)
    if fitted is not None and abs(float(entry["temperature"]) - fitted) > 1e-3 * fitted:
        raise ResultError(f"the temperature of its member {member.id} is not the one that its selection scores give")
    return metrics.softmax(scores, float(entry["temperature"]))


def _temperature(member: Result) -> float | None:
    """As recorded, or fitted anew: a result of margins, or without a test split, names none."""
    recorded = member.metrics.get("temperature")
    if isinstance(recorded, float):
        return recorded
    answers, scores = member.selection, member.selection_scores
    if answers is None or scores is None or not answers.fit.any():
        return None
    return metrics.fit_temperature(scores[answers.fit], answers.labels[answers.fit])
