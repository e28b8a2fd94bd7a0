"""What a board shows: the claims about a data set beside the results of one protocol, never in one field.

Everything a page shows of a row is here in plain values; templates only format it. `mien.site.board_rows` makes them.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.results import Result
from mien.results.comparison import Pair, Share
from mien.results.documents import DEFAULT_PROTOCOL
from mien.site.listing import trained_as
from mien.systems.claims import Claim
from mien.systems.described import Described


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
    def trained_as(self) -> str:
        """Recipe, epochs and input in a few words."""
        return trained_as(self.first)

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
        """Multiply-accumulates per face, as measured, else as published."""
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


def slug(text: str) -> str:
    """A name that is safe in paths, ids and links.

    Example:
        >>> slug("VGG (Pramerdorfer & Kampel)"), slug("fer2013/folds@1")
        ('vgg-pramerdorfer-kampel', 'fer2013-folds-1')
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"


def day(date: str) -> float:
    """A date as a year with its fraction.

    Example:
        >>> day("2024-07-01")
        2024.497
    """
    at = datetime.date.fromisoformat(date)
    start = datetime.date(at.year, 1, 1)
    return round(at.year + (at - start).days / ((datetime.date(at.year + 1, 1, 1) - start).days), 3)
