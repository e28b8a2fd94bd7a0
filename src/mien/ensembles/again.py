"""A recorded ensemble once more: from the recorded results of its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mien.ensembles.recorded import ensemble_of_results
from mien.errors import InputError
from mien.results import Result
from mien.results.finding import load_recorded
from mien.results.folders import folders


def rebuild(recorded: Result, folder: str | Path = "results") -> Result:
    """Average the members of an ensemble again, with weights and temperatures found anew.

    Members that are recorded results are found by their id; bundles and runs by their weights and view.

    Args:
        recorded: a result of kind ``ensemble``.
        folder: of its members, which are looked up in ``results`` and ``my-results``, too, and of the ledger, which
            notes it where the test split is opened once more.

    Raises:
        InputError: members are not among the recorded results, which are named; or no ensemble.
    """
    members = recorded.recipe.get("members")
    if recorded.kind != "ensemble" or not members:
        raise InputError(f"{recorded.id} does not say which members it has, so it cannot be put together again")
    known = [result for result in load_recorded(folder, *folders()) if result.protocol == recorded.protocol]
    found = [_find(member, known, test=recorded.opening is not None) for member in members]
    if missing := [_name(member) for member, result in zip(members, found, strict=True) if result is None]:
        raise InputError(
            f"{recorded.id} is made of {', '.join(missing)}, which is not recorded in "
            f"{', '.join(map(str, dict.fromkeys([Path(folder), *folders()])))}; record "
            f"{'it' if len(missing) == 1 else 'them'} first"
        )
    return ensemble_of_results(
        [result for result in found if result is not None],
        name=recorded.system,
        how=str(recorded.recipe["choose"]),
        test=recorded.opening is not None,
        folder=folder,
    )


def _find(member: Mapping[str, Any], known: Sequence[Result], *, test: bool) -> Result | None:
    if "result" in member:
        return next((result for result in known if result.id == member["result"]), None)
    alike = (
        result
        for result in known
        if (result.weights_sha256, result.views) == (member["weights_sha256"], member["views"])
        and result.selection_scores is not None
        and (result.test_scores is not None or not test)
    )
    return next(alike, None)


def _name(member: Mapping[str, Any]) -> str:
    if "result" in member:
        return f"{member['system']} ({member['result']})"
    return f"{member['system']} (weights {str(member['weights_sha256'])[:12]}…, view {member['views']})"
