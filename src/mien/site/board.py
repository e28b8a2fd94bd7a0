"""A board: the claims about a data set beside the results of one protocol, never in one field.

Everything a page shows of a row is here in plain values; templates only format it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mien.results import Ledger, Result, protocols
from mien.results.comparison import Comparison, Pair, Share, compare, group_by_system
from mien.results.documents import DEFAULT_PROTOCOL
from mien.systems.claims import Claim, claims
from mien.systems.described import Described, described


@dataclass(frozen=True)
class Speed:
    """How many faces per second a bundle classifies, measured with the very weights and view of a result.

    Args:
        weights_sha256: of the weights.
        views: name of the view.
        faces_per_second: throughput.
        device: on what.
    """

    weights_sha256: str
    views: str
    faces_per_second: float
    device: str


@dataclass(frozen=True)
class Measured:
    """What was measured of one system under one view: one result, or several that differ in their seed.

    Args:
        results: the results, best-preferred first.
        accuracy: on the test split.
        spread: standard deviation over seeds; None with one.
        rank: lowest and highest place it may truly have among the systems of the board; None where it is not ranked.
        clean: accuracy on the faces without a copy in the other splits; None where the protocol has no such slice.
        recall: of each expression.
        metrics: macro_f1, balanced_accuracy, nll, brier, ece, ece_noise_floor, …: mean over seeds.
        openings: how often the test split was opened for this system.
        speed: faces per second; None where it was not measured with these weights and this view.
        headline: the one that the selection split prefers among all of its system.
    """

    results: tuple[Result, ...]
    accuracy: Share
    spread: float | None
    rank: tuple[int, int] | None
    clean: Share | None
    recall: Mapping[str, Share]
    metrics: Mapping[str, float]
    openings: int
    speed: Speed | None
    headline: bool

    @property
    def first(self) -> Result:
        """The result that stands for the group."""
        return self.results[0]

    @property
    def cost(self) -> Mapping[str, Any]:
        """Parameters, MACs, seconds, … of that result."""
        return self.first.cost

    @property
    def trained(self) -> str:
        """The source it was trained with in a few letters, marked unless that is a commit without changes."""
        return ", ".join(dict.fromkeys(result.training_words for result in self.results))

    @property
    def device(self) -> str:
        """What measured it, with its precision."""
        about = self.first.environment
        return ", ".join(str(about[key]) for key in ("device", "precision") if about.get(key))


@dataclass(frozen=True)
class Row:
    """One row of a board: a claim, a measurement, or both.

    Args:
        key: unique on the board, safe in ids and links.
        name: of the system.
        system: its id in mien, or None.
        about: what mien knows of it, or None.
        claim: what is stated, or None.
        measured: what was measured, or None.
        record: the claim was the highest of all dated ones when it was made.
        preferred: the system that the selection split prefers among all: the headline of the board.
    """

    key: str
    name: str
    system: str | None
    about: Described | None
    claim: Claim | None
    measured: Measured | None
    record: bool = False
    preferred: bool = False

    @property
    def extra_data(self) -> tuple[str, ...]:
        """Of the measurement if there is one (it says what was really used here), else of the claim."""
        return self.measured.first.extra_data if self.measured else self.claim.extra_data if self.claim else ()

    @property
    def parameters(self) -> int | None:
        """As measured, else as the card says."""
        counted = self.measured.cost.get("params") if self.measured else None
        return counted or (self.about.parameters if self.about else None)

    @property
    def macs(self) -> int | None:
        """Multiply-accumulates per face, as measured, else as the card says."""
        counted = self.measured.cost.get("macs") if self.measured else None
        return counted or (self.about.macs if self.about else None)

    @property
    def claimed_macs(self) -> int | None:
        """What the source's own recipe costs per face, at the source's input; None where it is not built here."""
        recipe = self.about.recipes.get("faithful") if self.about else None
        found: int | None = recipe.get("macs") if recipe else None
        return found

    @property
    def gap(self) -> float | None:
        """Measured minus claimed accuracy in points; None unless both are there and about the same expressions."""
        if self.measured is None or self.claim is None or self.claim.value is None:
            return None
        return 100 * self.measured.accuracy.value - self.claim.value

    @property
    def year(self) -> int | None:
        """Of the claim, else of the measurement's creation for a system that claims nothing."""
        if self.claim is not None:
            return self.claim.year
        return int(self.measured.first.created[:4]) if self.measured else None

    @property
    def date(self) -> str:
        """Day of the claim; of the first result for a system that claims nothing."""
        if self.claim is not None:
            return self.claim.date
        return min(result.created for result in self.measured.results)[:10] if self.measured else ""


@dataclass(frozen=True)
class Board:
    """The rows of one data set under one protocol.

    Args:
        dataset: id of the data set.
        metric: what is ranked.
        protocol: name of the protocol, or None where nothing can be measured here.
        rows: headline rows first in order of measured, then of claimed accuracy.
        further: measurements that are not their system's headline, as rows without a claim.
        pairs: every two headline measurements, compared.
        openings: all openings of the test split.
    """

    dataset: str
    metric: str
    protocol: str | None
    rows: tuple[Row, ...]
    further: tuple[Row, ...] = ()
    pairs: tuple[Pair, ...] = ()
    openings: int = 0
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def measured(self) -> list[Row]:
        """Rows with a measurement."""
        return [row for row in self.rows if row.measured is not None]

    @property
    def claimed(self) -> list[Row]:
        """Rows with a claimed value."""
        return [row for row in self.rows if row.claim is not None and row.claim.value is not None]

    @property
    def labels(self) -> tuple[str, ...]:
        """The expressions of the results."""
        return self.measured[0].measured.first.labels if self.measured else ()  # type: ignore[union-attr]

    def of_system(self, system: str) -> list[Row]:
        """All rows of a system, the headline first."""
        return [row for row in (*self.rows, *self.further) if row.system == system]

    @property
    def slug(self) -> str:
        """Its name in paths."""
        if self.protocol in (None, MAIN.get(self.dataset)):
            return self.dataset
        return slug(str(self.protocol))


MAIN = {"fer2013": DEFAULT_PROTOCOL, "ferplus": "ferplus/majority@1"}
"""Data set → the protocol whose results stand beside its claims."""


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


def slug(text: str) -> str:
    """A name that is safe in paths, ids and links.

    Example:
        >>> slug("VGG (Pramerdorfer & Kampel)"), slug("fer2013/folds@1")
        ('vgg-pramerdorfer-kampel', 'fer2013-folds-1')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"


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


def day(date: str) -> float:
    """A date as a year with its fraction.

    Example:
        >>> day("2024-07-01")
        2024.497
    """
    at = datetime.date.fromisoformat(date)
    start = datetime.date(at.year, 1, 1)
    return round(at.year + (at - start).days / ((datetime.date(at.year + 1, 1, 1) - start).days), 3)


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
