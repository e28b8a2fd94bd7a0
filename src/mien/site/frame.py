"""What all pages share: where their values come from, the boards, and the frame that every page is put in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import mien
from mien.results import Ledger, Result
from mien.site.audited import AuditTable
from mien.site.board import Board, Row, Speed
from mien.site.board_rows import boards
from mien.site.datasets import datasets
from mien.site.plain import system_rows
from mien.site.rendering import render
from mien.systems.claims import Claim, claims
from mien.systems.described import described

if TYPE_CHECKING:
    from mien.datasets import FaceSet


@dataclass(frozen=True)
class Source:
    """What the pages are made from.

    Args:
        results: all recorded results.
        ledger: of the openings.
        speeds: measured throughput.
        logs: per recipe hash and seed, the epochs of a run and the epoch that was kept.
        audit: tables of an audit of FER2013.
        faces: FER2013, where it is at hand and pictures are wanted.
        url: where the site will lie, for badges; empty makes their links relative.
    """

    results: Sequence[Result]
    ledger: Ledger
    speeds: Sequence[Speed] = ()
    logs: Mapping[tuple[str, int], tuple[list[dict[str, Any]], int | None]] = field(default_factory=dict)
    audit: Sequence[AuditTable] = ()
    faces: FaceSet | None = None
    url: str = ""


class Frame:
    """The boards made from a source, and pages with the head and foot that they share.

    Args:
        source: what the pages are made from.
        made: the boards, where they are there already.
    """

    def __init__(self, source: Source, made: Sequence[Board] | None = None) -> None:
        self.source = source
        self.boards = boards(source.results, source.ledger, speeds=source.speeds) if made is None else list(made)
        self.by_system = system_rows(self.boards)
        self.systems = list(dict.fromkeys([*described(), *(c.system for c in claims() if c.system), *self.by_system]))
        self.titles = {name: data.title for name, data in datasets().items()}
        self._common = {
            "version": mien.__version__,
            "ledger_lines": len(source.ledger.openings()),
            "ledger_head": source.ledger.head() if source.ledger.path.exists() else "",
            "titles": self.titles,
        }

    def page(self, template: str, root: str, current: str, title: str, description: str, **values: Any) -> bytes:
        """One page.

        Args:
            template: its file.
            root: the way from the page to the first one, empty or ``../``.
            current: the entry of the menu that it belongs to.
            title: in the browser's tab.
            description: for search engines.
            values: what else the template wants.
        """
        given = {"root": root, "current": current, "title": title, "description": description}
        return render(template, **given, **self._common, **values).encode()

    def listing(self, current: str, title: str, description: str, groups: Sequence[Any]) -> bytes:
        """A page of cards: (heading, items) each."""
        return self.page("list.html.j2", "../", current, title, description, groups=groups)

    def path(self, board: Board) -> str:
        """Where a board lies in the site."""
        return "index.html" if board is self.boards[0] else f"boards/{board.slug}.html"

    def row_of(self, claim: Claim) -> Row | None:
        """The row of a claim on its board."""
        rows = itertools.chain.from_iterable(board.rows for board in self.boards)
        return next((row for row in rows if row.claim is claim), None)

    def head(self, system: str) -> Row | None:
        """The headline measurement of a system on FER2013."""
        return next((row for row in self.boards[0].of_system(system) if row.measured), None)

    def teaser(self, board: Board, root: str) -> dict[str, Any]:
        """What the card of a board says."""
        data = datasets()[board.dataset]
        protocol = f": {board.protocol}" if board.slug != board.dataset else ""
        return {
            "href": root + self.path(board),
            "title": data.title + protocol,
            "name": board.protocol or f"{data.title}, {board.metric}",
            "modality": data.modality,
            "claims": len(board.claimed),
            "measured": len(board.measured),
        }
