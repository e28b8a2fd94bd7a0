"""Ensembles that the leaderboard ranks: which trained systems they consist of, and which of them are still missing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from mien.errors import InputError, UnknownNameError
from mien.registry import suggestion
from mien.systems.named_ensembles import CARDS

if TYPE_CHECKING:
    from mien.results import Result

RECIPE = "mien"


def named_members(
    name: str, results: Iterable[Result], *, views: str = "", test: bool = False, protocol: str = "fer2013/private@1"
) -> list[Result]:
    """The recorded results of a named ensemble's members.

    Args:
        name: ``pramerdorfer-eight`` or ``residual-masking-seven``.
        results: what is recorded.
        views: the members' view; the source's by default.
        test: only results with scores on the test split.
        protocol: that they were measured under.

    Raises:
        UnknownNameError: no ensemble has that name.
        InputError: members are missing; all of them are named, with what makes them.
    """
    if name not in CARDS:
        raise UnknownNameError(f"no ensemble is called {name!r}; {suggestion(name, CARDS)}")
    card = CARDS[name]
    view = views or card.views[0]
    recorded = list(results)
    found, missing = [], []
    for member in card.options["members"]:
        system, _, seed = member.partition(":")
        fitting = [
            result
            for result in recorded
            if (result.protocol, result.system, result.kind, result.seed, result.views)
            == (protocol, system, "run", int(seed), view)
            and (result.test_scores is not None or not test)
        ]
        if fitting:
            # Of several recipes, the one that the selection split prefers.
            found.append(max(fitting, key=lambda result: (result.metrics["selection_accuracy"], result.id)))
        else:
            missing.append((system, int(seed)))
    if missing:
        raise InputError(_missing(name, missing, len(card.options["members"]), view, test))
    return found


def _missing(name: str, missing: Sequence[tuple[str, int]], members: int, view: str, test: bool) -> str:
    named = ", ".join(f"{system} seed {seed}" for system, seed in missing)
    split = " --split test" if test else ""
    system, seed = missing[0]
    return (
        f"{name} lacks {len(missing)} of its {members} members under view {view}: {named}. For each: "
        f"`mien train {system} --seed {seed}`, then `mien evaluate runs/{system}-{RECIPE}-* --views {view}{split}`"
    )
