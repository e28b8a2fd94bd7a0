"""From claims, results and openings to boards: which result stands for a system, and beside which claim it stands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mien.results import Ledger, Result, protocols
from mien.results.comparison import Comparison, compare, group_by_system
from mien.site.board import MAIN, Board, Measured, Row, Speed, slug
from mien.systems.claims import Claim, claims
from mien.systems.described import described


def boards(results: Sequence[Result], ledger: Ledger, *, speeds: Iterable[Speed] = ()) -> list[Board]:
    """Every board there is something to show on: FER2013 first, then other data sets, then other protocols.

    Args:
        results: all recorded results; those on the selection split alone are left out, they are never ranked.
        ledger: of the openings.
        speeds: measured throughput.
    """
    tested = [result for result in results if result.test is not None]
    made = []
    datasets = list(dict.fromkeys(claim.dataset for claim in claims()))
    for dataset in datasets:
        protocol = MAIN.get(dataset) or _protocol_about(dataset)
        of_set = claims(dataset=dataset)
        for metric in dict.fromkeys(claim.metric for claim in of_set):
            stated = [claim for claim in of_set if claim.metric == metric]
            if metric != of_set[0].metric:
                continue
            made.append(_board(dataset, metric, stated, protocol, tested, ledger, speeds))
    shown = {board.protocol for board in made}
    for name in dict.fromkeys(result.protocol for result in tested):
        if name not in shown and protocols.get(name).face_set is not None:
            face_set = protocols.get(name).face_set
            made.append(_board(str(face_set), "accuracy", [], name, tested, ledger, speeds))
    return made


def other_claims(dataset: str) -> list[Claim]:
    """Claims about a data set by another metric than that of its board."""
    of_set = claims(dataset=dataset)
    return [claim for claim in of_set if claim.metric != of_set[0].metric]


def records(stated: Iterable[Claim]) -> list[Claim]:
    """The claims that were the highest of all dated ones when they were made, oldest first.

    Example:
        >>> [claim.model for claim in records(claims(dataset="fer2013"))][:1]
        ['Local Learning BOW']
    """
    found: list[Claim] = []
    dated = [claim for claim in stated if claim.date and claim.value is not None]
    for claim in sorted(dated, key=lambda c: (c.date, -(c.value or 0))):
        if not found or (claim.value or 0) > (found[-1].value or 0):
            found.append(claim)
    return found


def _protocol_about(dataset: str) -> str | None:
    # Claims are listed with the results of a protocol whose faces are known here; others get a board of their own.
    about = [name for name in protocols.names() if protocols.get(name).face_set == dataset]
    known = [name for name in about if protocols.get(name).answers is not None]
    return known[0] if known else None


def _board(
    dataset: str,
    metric: str,
    stated: list[Claim],
    protocol: str | None,
    tested: list[Result],
    ledger: Ledger,
    speeds: Iterable[Speed],
) -> Board:
    mine = [result for result in tested if result.protocol == protocol]
    groups = [_by_preference(members) for members in group_by_system(mine).values()]
    # Submitted predictions have rows of their own, whatever they are called.
    heads: dict[tuple[str, bool], list[Result]] = {}
    for members in groups:
        best = heads.get(_name(members))
        if best is None or _preference(members) > _preference(best):
            heads[_name(members)] = members
    comparison = compare([r for members in heads.values() for r in members], split="test") if heads else None
    counts = ledger.counts(protocol) if protocol else {}
    by_group = {(s.weights_sha256, s.views): s for s in speeds}
    measured = {
        tuple(r.id for r in members): _measured(
            members, comparison if heads[_name(members)] is members else None, counts, by_group
        )
        for members in groups
    }
    best_record = {(c.dataset, c.model) for c in records(stated)}
    own = [members for members in heads.values() if members[0].kind != "submitted"]
    preferred = max(own, key=_preference)[0].system if own else None
    rows = []
    for claim in stated:
        of_system = heads.get((claim.system or "", False)) if metric == "accuracy" else None
        found = measured[tuple(r.id for r in of_system)] if of_system else None
        rows.append(
            _row(claim.model, claim.system, claim, found, (claim.dataset, claim.model) in best_record, preferred)
        )
    claimed = {claim.system for claim in stated}
    for (system, submitted), members in heads.items():
        if submitted or system not in claimed:
            rows.append(
                _row(_title(members[0]), system, None, measured[tuple(r.id for r in members)], False, preferred)
            )
    further = [
        _row(_title(members[0]), members[0].system, None, measured[tuple(r.id for r in members)], False, None)
        for members in groups
        if heads[_name(members)] is not members
    ]
    names = {row.name: system for (system, _), members in heads.items() for row in _rows_of(comparison, members)}
    return Board(
        dataset=dataset,
        metric=metric,
        protocol=protocol,
        rows=_keyed(sorted(rows, key=_order)),
        further=_keyed(sorted(further, key=_order)),
        pairs=comparison.pairs if comparison else (),
        openings=sum(counts.values()),
        names=names,
    )


def _name(members: list[Result]) -> tuple[str, bool]:
    return members[0].system, members[0].kind == "submitted"


def _measured(
    members: list[Result],
    comparison: Comparison | None,
    counts: Mapping[str, int],
    speeds: Mapping[tuple[str, str], Speed],
) -> Measured:
    """The numbers of a group: from the comparison of all headlines where it takes part, else on its own."""
    first = members[0]
    row = _rows_of(comparison or compare(members, split="test"), members)[0]
    return Measured(
        results=tuple(members),
        accuracy=row.accuracy,
        spread=row.spread,
        rank=row.rank if comparison else None,
        clean=row.slices.get("clean@1"),
        recall=row.recall,
        metrics=row.metrics,
        openings=counts.get(first.system, 0),
        speed=speeds.get((first.weights_sha256, first.views)),
        headline=comparison is not None,
    )


def _rows_of(comparison: Comparison | None, members: list[Result]) -> list[Any]:
    ids = {result.id for result in members}
    return [row for row in (comparison.rows if comparison else ()) if set(row.ids) == ids]


def _row(
    name: str, system: str | None, claim: Claim | None, measured: Measured | None, record: bool, preferred: str | None
) -> Row:
    return Row(
        key=slug(system if claim is None and system else name),
        name=name,
        system=system,
        about=described().get(system or ""),
        claim=claim,
        measured=measured,
        record=record,
        preferred=preferred is not None and system == preferred and measured is not None,
    )


def _keyed(rows: Iterable[Row]) -> tuple[Row, ...]:
    """Rows whose keys are unique: a second one of a name gets a number."""
    seen: dict[str, int] = {}
    made = []
    for row in rows:
        seen[row.key] = seen.get(row.key, 0) + 1
        values = {**vars(row), "key": row.key if seen[row.key] == 1 else f"{row.key}-{seen[row.key]}"}
        made.append(Row(**values))
    return tuple(made)


def _title(result: Result) -> str:
    if result.submission is not None:
        return str(result.submission.get("title") or result.system)
    about = described().get(result.system)
    return about.title if about else result.system


def _order(row: Row) -> tuple[bool, float, float, str]:
    claimed = row.claim.value if row.claim and row.claim.value is not None else -1.0
    return row.measured is None, -(row.measured.accuracy.value if row.measured else 0.0), -claimed, row.name.lower()


def _by_preference(members: list[Result]) -> list[Result]:
    return sorted(members, key=lambda r: (-float(r.metrics.get("selection_accuracy", -1)), r.seed or 0, r.id))


def _preference(members: Sequence[Result]) -> float:
    return float(np.mean([result.metrics.get("selection_accuracy", -1.0) for result in members]))
