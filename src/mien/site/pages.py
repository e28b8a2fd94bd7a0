"""All pages of the site as path → content; nothing is read but what is handed in and what the package carries."""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mien
from mien.errors import InputError
from mien.results import Ledger, Result, protocols
from mien.results.tables import percent
from mien.site import charts
from mien.site.badge import badge, badge_text, badge_width
from mien.site.board import Board, Row, Speed, boards, other_claims
from mien.site.datasets import class_counts, datasets, findings
from mien.site.mistakes import mistakes
from mien.site.plain import csv_text, script_values, system_rows
from mien.site.rendering import decimal, large, render, script_json
from mien.systems.claims import Claim, claims, publications
from mien.systems.described import Described, described

if TYPE_CHECKING:
    from mien.datasets import FaceSet

QUALITY = (
    ("clean@1", "accuracy on the test faces that are no exact copy of one in the other splits"),
    ("balanced", "mean of the recalls: as if every expression were equally frequent"),
    ("macro-F1", "hits against misses and false alarms, every expression alike"),
    ("NLL", "negative log-likelihood of the calibrated probabilities, less is better"),
    ("Brier", "squared error of the calibrated probabilities, less is better"),
    ("ECE", "how far the stated confidence is off on average, less is better"),
    ("noise", "the ECE that a perfectly calibrated system stays under 95 % of the time"),
    ("view", "the views of a face whose scores are averaged"),
    ("seeds", "trainings whose mean is shown"),
    ("openings", "how often the test split was opened for this system"),
)
COLUMNS = (
    ("Claimed", "What the paper or the leaderboard states, with its place on the leaderboard of FER2013 there."),
    ("Measured", "Accuracy on PrivateTest with its 95 % interval, by resampling groups of equal images; ± is the "
     "standard deviation over seeds."),
    ("Rank", "The places a system may truly have among all measured here: 95 % for the whole table at once (pairwise "
     "tests, Holm). Two systems whose ranks overlap cannot be told apart by these faces."),
    ("SOTA", "The claim was the highest of all dated ones when it was made. Claims without a day take no part."),
    ("Extra data", "Everything beyond the Training split. For a measured row: what was used here; else what the claim "
     "is known to use. “unknown” stands for what is not disclosed."),
    ("View", "The views of a face whose scores are averaged: one (the face), flip (and its mirror image), ten crops."),
    ("MACs", "Multiply-accumulates of convolutions and linear layers for one face. Not the same as time."),
    ("Faces per second", "Measured with the same weights, precision and view as the accuracy beside it, or empty."),
    ("Openings", "How often the test split was opened for the system. Every look at a test split makes it a little "
     "less of one."),
)  # fmt: skip


@dataclass(frozen=True)
class AuditTable:
    """A table that an audit recorded.

    Args:
        title: what it shows.
        columns: headings.
        rows: as many texts each.
        note: what to know about it.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


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


def pages(source: Source, folder: str | Path | None = None) -> dict[str, bytes]:
    """Every file of the site.

    Args:
        source: what it is made from.
        folder: of the results: their files are offered for download. None leaves them out.
    """
    return _Site(source).files(Path(folder) if folder is not None else None)


class _Site:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.boards = boards(source.results, source.ledger, speeds=source.speeds)
        self.by_system = system_rows(self.boards)
        self.systems = list(dict.fromkeys([*described(), *(c.system for c in claims() if c.system), *self.by_system]))
        self.titles = {name: data.title for name, data in datasets().items()}
        self.common = {
            "version": mien.__version__,
            "ledger_lines": len(source.ledger.openings()),
            "ledger_head": source.ledger.head() if source.ledger.path.exists() else "",
            "titles": self.titles,
        }

    def files(self, folder: Path | None) -> dict[str, bytes]:
        made: dict[str, bytes] = {}
        for board in self.boards:
            main = board is self.boards[0]
            path = "index.html" if main else f"boards/{board.slug}.html"
            made[path] = self._board(board, main).encode()
            made[f"data/{board.slug}.csv"] = b"\xef\xbb\xbf" + csv_text(board).encode()
        for system in self.systems:
            made[f"systems/{system}.html"] = self._system(system).encode()
            if head := self._head(system):
                made[f"badges/{system}.svg"] = badge(badge_text(head, len(self.boards[0].measured))).encode()
        for paper in publications():
            made[f"papers/{paper.id}.html"] = self._paper(paper.id).encode()
        for dataset in datasets():
            made[f"datasets/{dataset}.html"] = self._dataset(dataset).encode()
        made["systems/index.html"] = self._systems().encode()
        made["papers/index.html"] = self._papers().encode()
        made["datasets/index.html"] = self._datasets().encode()
        made["about.html"] = self._page(
            "about.html.j2", "", "about", "How to read this", "What is claimed, what is measured, and by which rules",
            columns=COLUMNS,
        ).encode()  # fmt: skip
        for name in ("site.css", "site.js"):
            made[f"assets/{name}"] = files("mien.site").joinpath("assets", name).read_bytes()
        if folder is not None:
            made |= self._downloads(folder)
        return made

    def _page(self, template: str, root: str, current: str, title: str, description: str, **values: Any) -> str:
        return render(
            template, root=root, current=current, title=title, description=description, **self.common, **values
        )

    # The board

    def _board(self, board: Board, main: bool) -> str:
        root = "" if main else "../"
        low, high = charts.shared_range(board)
        payload = script_values(board)
        key_at = payload["fields"].index("key") if payload["rows"] else 0
        keys = [values[key_at] for values in payload["rows"]]
        rows = [
            self._row(row, key, root, (low, high), further=at >= len(board.rows))
            for at, (row, key) in enumerate(zip((*board.rows, *board.further), keys, strict=True))
        ]

        def href(row: Row) -> str:
            return f"{root}systems/{row.system}.html" if row.system else f"#row-{row.key}"

        data = datasets()[board.dataset]
        years = sorted({row.year for row in board.rows if row.year}, reverse=True)
        views = list(dict.fromkeys(row.measured.first.views for row in (*board.rows, *board.further) if row.measured))
        measured = [row for row in board.rows if row.measured]
        title = f"{data.title}: claimed and measured"
        description = (
            f"{len(board.claimed)} claims and {len(measured)} measured systems on {data.title}, side by side with "
            "intervals, ranks, calibration and cost."
        )
        protocol = protocols.get(board.protocol) if board.protocol else None
        return self._page(
            "board.html.j2",
            root,
            "board",
            title,
            description,
            board=board,
            main=main,
            data=data,
            protocol_title=protocol.title if protocol and not board.claimed else "",
            rows=rows,
            noted=sum(bool(row.claim and row.claim.notes) for row in board.claimed),
            best=next((row for row in measured if row.preferred), None),
            time=self._both(lambda **size: charts.over_time(board, href, **size)),
            costs=[
                {"key": cost.key, "short": cost.short, **self._both(_scatter(board, cost, href))}
                for cost in charts.COSTS
            ],
            low=low,
            high=high,
            strip_base=charts.strip_base(low, high),
            labels=board.labels,
            quality=QUALITY,
            costs_named=("Parameters", "MACs per face", "Faces per second", "Input", "Training", "Measured on"),
            years=years,
            views=views,
            protocols=[
                (other.protocol, root + ("index.html" if other is self.boards[0] else f"boards/{other.slug}.html"))
                for other in self.boards
                if other.dataset == board.dataset and other.protocol
            ],
            file=board.slug,
            payload=script_json(payload),
            others=other_claims(board.dataset) if board.claimed else [],
            boards=[self._teaser(other, root) | {"slug": other.slug} for other in self.boards],
        )

    def _both(self, draw: Callable[..., Any]) -> dict[str, Any]:
        """A chart for wide and for narrow screens; the style sheet shows one of them."""
        wide, narrow = draw(width=760, height=432), draw(width=380, height=400)
        return {
            "wide": type(wide)(str(wide).replace('class="chart"', 'class="chart wide"', 1)),
            "narrow": type(narrow)(str(narrow).replace('class="chart"', 'class="chart narrow"', 1)),
        }

    def _row(self, row: Row, key: str, root: str, ends: tuple[float, float], *, further: bool) -> dict[str, Any]:
        claim, it = row.claim, row.measured
        authors = claim.authors if claim else ()
        by = f"{authors[0].split()[-1]}{' et al.' if len(authors) > 2 else ''}" if authors else ""
        if len(authors) == 2:
            by = " & ".join(name.split()[-1] for name in authors)
        if it is not None and it.first.submission is not None:
            by = "submitted by " + ", ".join(map(str, it.first.submission.get("authors", ())))
        elif claim is None:
            by = "measured here, no claim"
        metrics = it.metrics if it else {}
        return {
            **{
                name: getattr(row, name)
                for name in ("name", "claim", "measured", "record", "preferred", "date", "year")
            },
            "key": key,
            "further": further,
            "page": f"{root}systems/{row.system}.html" if row.system else "",
            "byline": ", ".join(part for part in (by, str(row.year or "") if claim else "") if part),
            "extra_data": row.extra_data,
            "paper": claim.paper if claim else None,
            "code": claim.code if claim else (),
            "strip": charts.strip(row, *ends),
            "quality": [
                percent(it.clean.value if it.clean else None),
                percent(metrics.get("balanced_accuracy")),
                percent(metrics.get("macro_f1")),
                decimal(metrics.get("nll")),
                decimal(metrics.get("brier")),
                percent(metrics.get("ece")),
                percent(metrics.get("ece_noise_floor")),
                it.first.views,
                str(len(it.results)),
                str(it.openings),
            ]
            if it
            else ["–"] * len(QUALITY),
            "cost": [
                large(row.parameters),
                large(row.macs if it else row.claimed_macs or row.macs),
                large(it.speed.faces_per_second) if it and it.speed else "–",
                _input(row),
                _duration(it.cost.get("seconds")) if it else "–",
                it.device if it else "–",
            ],
        }

    def _teaser(self, board: Board, root: str) -> dict[str, Any]:
        data = datasets()[board.dataset]
        protocol = f": {board.protocol}" if board.slug != board.dataset else ""
        return {
            "href": root + ("index.html" if board is self.boards[0] else f"boards/{board.slug}.html"),
            "title": data.title + protocol,
            "name": board.protocol or f"{data.title}, {board.metric}",
            "modality": data.modality,
            "claims": len(board.claimed),
            "measured": len(board.measured),
        }

    # Systems

    def _head(self, system: str) -> Row | None:
        rows = [row for row in self.boards[0].of_system(system) if row.measured]
        return rows[0] if rows else None

    def _system(self, system: str) -> str:
        about = described().get(system)
        of_system = claims(system=system)
        on_board = [claim for claim in of_system if claim.dataset == "fer2013"]
        claim = on_board[0] if on_board else (of_system[0] if of_system else None)
        head = self._head(system)
        rows = [row for row in self.boards[0].of_system(system) if row.measured]
        any_row = next(iter(self.by_system.get(system, ())), None)
        name = about.title if about else claim.model if claim else head.name if head else system
        result = head.measured.first if head and head.measured else None
        log = self.source.logs.get((result.recipe_hash, result.seed or 0)) if result else None
        said = badge_text(head, len(self.boards[0].measured)) if head else ""
        return self._page(
            "system.html.j2",
            "../",
            "systems",
            name,
            f"{name}: what is claimed, what is measured, how it is built, predictions, recipe and BibTeX.",
            id=system,
            name=name,
            about=about,
            claim=claim if claim and claim.dataset == "fer2013" else None,
            claims=of_system,
            paper=(claim.further_papers[0] if claim.further_papers else claim.paper) if claim else None,
            code=claim.code if claim else (),
            head=head,
            rows=rows,
            ranked=len(self.boards[0].measured),
            parameters=any_row.parameters if any_row else about.parameters if about else None,
            macs=any_row.macs if any_row else about.macs if about else None,
            extra=any_row.extra_data if any_row else about.extra_data if about else (),
            reliability=charts.reliability(result) if result else "",
            training=charts.training(log[0], log[1]) if log else "",
            mistakes=mistakes(result, self.source.faces) if result and self.source.faces is not None else [],
            commands=_commands(system, about, result),
            badge=said,
            badge_width=badge_width(said) if said else 0,
            base=self.source.url.rstrip("/") + "/" if self.source.url else "",
        )

    def _systems(self) -> str:
        measured: list[dict[str, str]] = []
        built: list[dict[str, str]] = []
        claimed: list[dict[str, str]] = []
        for system in self.systems:
            row = next(iter(self.boards[0].of_system(system)), None)
            about = described().get(system)
            name = about.title if about else row.name if row else system
            it = row.measured if row else None
            value = row.claim.value if row and row.claim else None
            size = large(about.parameters) + " parameters" if about and about.parameters else ""
            item = {
                "href": f"{system}.html",
                "title": name,
                "text": size or (row.claim.paper.title if row and row.claim and row.claim.paper else ""),
                "claimed": f"{value:.2f} %" if value is not None else "–",
                "measured": percent(it.accuracy.value) if it else "–",
            }
            (measured if it else built if about else claimed).append(item)
        groups = [("Measured", measured), ("Built, not measured yet", built), ("Claimed, not built here", claimed)]
        return self._page(
            "list.html.j2", "../", "systems", "Systems",
            "Everything the board ranks: architecture, input, recipe, and what its source leaves open.", groups=groups,
        )  # fmt: skip

    # Papers

    def _paper(self, name: str) -> str:
        paper = next(paper for paper in publications() if paper.id == name)
        stated = [c for c in claims() if c.paper is paper or paper in c.further_papers]
        return self._page(
            "paper.html.j2", "../", "papers", paper.title,
            f"What {paper.title} claims, and what was measured here.",
            paper=paper, rows=[(claim, self._row_of(claim)) for claim in stated],
        )  # fmt: skip

    def _papers(self) -> str:
        newest = sorted(publications(), key=lambda p: p.date or str(p.year or ""), reverse=True)
        items = []
        for paper in newest:
            stated = [c for c in claims() if c.paper is paper or paper in c.further_papers]
            sets = dict.fromkeys(self.titles[c.dataset] for c in stated)
            who = paper.authors[0] + (" and others" if len(paper.authors) > 1 else "") if paper.authors else ""
            when = paper.date or str(paper.year or "")
            items.append(
                {
                    "href": f"{paper.id}.html",
                    "title": paper.title,
                    "text": " · ".join(part for part in (who, when, paper.venue) if part),
                    "row": ", ".join(sets),
                }
            )
        return self._page(
            "list.html.j2", "../", "papers", "Papers", "Every paper with a claim on a board, newest first.",
            groups=[("", items)],
        )  # fmt: skip

    # Data sets

    def _dataset(self, name: str) -> str:
        data = datasets()[name]
        fer2013 = name == "fer2013"
        stated = claims(dataset=name) if any(c.dataset == name for c in claims()) else ()
        newest = sorted(stated, key=lambda c: c.date or str(c.year or ""), reverse=True)
        paper = next((paper for paper in publications() if paper.id == data.paper), None)
        return self._page(
            "dataset.html.j2", "../", "datasets", data.title, f"{data.title}: {data.about}",
            data=data,
            paper=paper,
            counts=class_counts() if fer2013 else None,
            findings=findings() if fer2013 else [],
            audit=self.source.audit if fer2013 else [],
            boards=[self._teaser(board, "../") for board in self.boards if board.dataset == name],
            latest=[(claim, self._row_of(claim)) for claim in newest],
        )  # fmt: skip

    def _datasets(self) -> str:
        items = []
        for name, data in datasets().items():
            stated = sum(claim.dataset == name for claim in claims())
            text = ", ".join(part for part in (data.long, data.modality, str(data.year or "")) if part)
            row = f"{stated} {'claim' if stated == 1 else 'claims'}" if stated else ""
            items.append({"href": f"{name}.html", "title": data.title, "text": text, "row": row})
        return self._page(
            "list.html.j2", "../", "datasets", "Data sets",
            "What the numbers are about, how to get it, and where its usual description errs.", groups=[("", items)],
        )  # fmt: skip

    def _row_of(self, claim: Claim) -> Row | None:
        rows = itertools.chain.from_iterable(board.rows for board in self.boards)
        return next((row for row in rows if row.claim is claim), None)

    def _downloads(self, folder: Path) -> dict[str, bytes]:
        made = {}
        for row in itertools.chain.from_iterable((*board.rows, *board.further) for board in self.boards):
            for result in row.measured.results if row.measured else ():
                path = result.path(folder)
                made[f"data/{result.id}.json"] = path.read_bytes()
                made[f"data/{result.id}.npz"] = path.with_suffix(".npz").read_bytes()
        return made


def audit_tables(path: str | Path) -> list[AuditTable]:
    """The tables of a recorded audit of FER2013.

    Raises:
        InputError: the file is no such record.
    """
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["tables"].values()
        return [
            AuditTable(
                entry["title"],
                tuple(entry["columns"]),
                tuple(tuple(map(_audit_cell, row)) for row in entry["rows"]),
                entry.get("note", ""),
            )
            for entry in entries
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{path} is no recorded audit; `mien data audit fer2013` makes one") from None


def _audit_cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else percent(value) if isinstance(value, float) else str(value)


def _commands(system: str, about: Described | None, result: Result | None) -> str:
    """What makes the headline result again, up to the test split; without one, what the source reports."""
    if about is None:
        return ""
    network = bool(about.input)
    views = result.views if result else about.views[0] if about.views else "one"
    recipe = str(result.recipe.get("name", "mien")) if result and result.recipe else "mien"
    named = f" --recipe {recipe}" if recipe != "mien" and recipe in about.recipes else ""
    seed = result.seed if result and result.seed is not None else 0
    folder = f"runs/{system}-{recipe}-*-s{seed}"
    lines = [f"mien train {system}{named} --seed {seed}"]
    if result and result.kind == "bundle" and network:
        precision = str(result.environment.get("precision", "fp32"))
        flag = f" --{precision}" if precision != "fp32" else ""
        lines.append(f"mien export {folder} --onnx {system}.onnx{flag}")
        folder = f"{system}.onnx"
    return "\n".join([*lines, f"mien evaluate {folder} --views {views}"])


def _scatter(board: Board, cost: charts.Cost, href: Callable[[Row], str]) -> Callable[..., Any]:
    return lambda **size: charts.against_cost(board, cost, href, **size)


def _input(row: Row) -> str:
    """As measured; for a claim alone that of the source's recipe, at which its MACs are counted too."""
    given = row.measured.cost.get("input") if row.measured else None
    if given:
        return " × ".join(map(str, given))
    if row.about is None or row.about.input is None:
        return "–"
    recipe = row.about.recipes.get("faithful", {}).get("toml", "")
    takes = {**row.about.input, **tomllib.loads(recipe).get("input", {})}
    return f"{takes['channels']} × {takes['size']} × {takes['size']}"


def _duration(seconds: float | None) -> str:
    if not seconds:
        return "–"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
