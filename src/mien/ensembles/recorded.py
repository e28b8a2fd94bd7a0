"""Ensembles of recorded results: no network runs, the recorded scores are averaged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.ensembles.choose import choose
from mien.ensembles.members import (
    Member,
    check_name,
    check_together,
    cost_of,
    extra_data_of,
    member_of_result,
    probabilities_of,
    recipe_of,
    weights_hash,
)
from mien.errors import InputError
from mien.evaluation.environment import environment
from mien.evaluation.subjects import check_unsearched
from mien.labels import LabelSet
from mien.results import Ledger, Result, protocols
from mien.results.canonical import canonical_json
from mien.results.provenance import trained_together

if TYPE_CHECKING:
    from numpy.typing import NDArray


def ensemble_of_results(
    results: Sequence[Result],
    *,
    name: str = "ensemble",
    how: str = "all",
    test: bool = False,
    folder: str | Path = "results",
) -> Result:
    """Average recorded results and measure the outcome.

    Args:
        results: at least two of one protocol, with scores on its selection split.
        name: what the ensemble is called in results.
        how: see `mien.ensembles.choose`.
        test: also measure on the test split, which all members must have been measured on. The ledger in ``folder``
            notes the opening: a new number about the test split, even though no network sees it anew.
        folder: of the ledger.

    Returns:
        The result, of kind ``ensemble`` and views ``members``; not yet saved.

    Raises:
        SealedSplitError: a member is a trial of a search, and ``test`` was asked for.
        InputError: members of different protocols, fingerprints, splits or labels; a member without test scores.
    """
    first = _check(results, test)
    members = [member_of_result(result) for result in results]
    check_together(members)
    check_name(name, members)
    known = protocols.get(first.protocol)
    selection = first.selection
    assert selection is not None
    chosen = choose([member.selection for member in members], selection, known, how)
    recipe = recipe_of(name, how, members, chosen.weights)
    recipe_hash = hashlib.sha256(canonical_json(recipe).encode()).hexdigest()
    opening = None
    if test and known.sealed:
        opening = Ledger(Path(folder) / "ledger.jsonl").open_split(
            protocol=known.name,
            split=known.test_split,
            system=name,
            kind="ensemble",
            recipe_hash=recipe_hash,
            weights_sha256=weights_hash(members),
            views="members",
            data_fingerprint=first.data_fingerprint,
        )
    own = known.answers is None
    return Result.build(
        protocol=first.protocol,
        system=name,
        kind="ensemble",
        recipe=recipe,
        recipe_hash=recipe_hash,
        seed=None,
        views="members",
        extra_data=extra_data_of(members),
        data_fingerprint=first.data_fingerprint,
        weights_sha256=weights_hash(members),
        environment=environment("cpu", "fp64"),
        cost=cost_of(members, chosen.weights),
        trained=trained_together(member.trained for member in members),
        source=next((result.source for result in results if result.source is not None), None),
        scores_kind="logits",
        selection_scores=log_mean([member.selection for member in members], chosen.weights),
        test_scores=log_mean(_test(results, members), chosen.weights) if test else None,
        opening=opening,
        label_set=LabelSet("own", first.labels) if own else None,
        answers=(selection, first.test if test else None) if own else None,
    )


def log_mean(probabilities: Sequence[NDArray[np.float64]], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithms of the weighted mean of probabilities: logits whose softmax is that mean.

    Example:
        >>> one, other = np.array([[0.2, 0.8]]), np.array([[0.6, 0.4]])
        >>> np.exp(log_mean([one, other], np.array([0.5, 0.5]))).round(3).tolist()
        [[0.4, 0.6]]
    """
    mean = sum(weight * member for member, weight in zip(probabilities, weights, strict=True))
    logs: NDArray[np.float64] = np.log(np.maximum(mean, 1e-12))
    return logs


def _check(results: Sequence[Result], test: bool) -> Result:
    if len(results) < 2:
        raise InputError("an ensemble has at least 2 members; give more results")
    first = results[0]
    for other in results:
        what = f"{other.system} ({other.id})"
        if other.protocol != first.protocol:
            raise InputError(f"{what} was measured under {other.protocol}, {first.id} under {first.protocol}")
        if other.data_fingerprint != first.data_fingerprint:
            raise InputError(
                f"{what} was measured on other data than {first.id}: their fingerprints differ, so their rows are not "
                "the same faces"
            )
        ours, theirs = first.selection, other.selection
        if ours is not None and theirs is not None and not np.array_equal(ours.rows, theirs.rows):
            raise InputError(f"{what} and {first.id} are about different faces of the selection split")
        searched = other.recipe.get("searched", {})
        if test and searched.get("seed") == other.seed:
            check_unsearched(what, searched.get("study", ""), other.system, other.seed)
        if test and other.test_scores is None:
            raise InputError(
                f"{what} was not measured on the test split; measure it first (`mien evaluate --split test`), or leave "
                "out --split test"
            )
    return first


def _test(results: Sequence[Result], members: Sequence[Member]) -> list[NDArray[np.float64]]:
    found = []
    for result, member in zip(results, members, strict=True):
        answers, scores = result.test, result.test_scores
        assert answers is not None
        assert scores is not None
        found.append(probabilities_of(result.scores, scores, answers, member.name, member.temperature)[0])
    return found
