"""The page of a board: charts, the table with all its columns, and what its script reads."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from mien.results import protocols
from mien.results.tables import percent
from mien.site import charts
from mien.site.board import Board, Row
from mien.site.board_rows import other_claims
from mien.site.datasets import datasets
from mien.site.frame import Frame
from mien.site.plain import script_values
from mien.site.rendering import decimal, large, script_json

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


def board_page(frame: Frame, board: Board) -> bytes:
    """The page of a board. The first board is the front page of the site."""
    main = board is frame.boards[0]
    root = "" if main else "../"
    low, high = charts.shared_range(board)
    payload = script_values(board)
    key_at = payload["fields"].index("key") if payload["rows"] else 0
    keys = [values[key_at] for values in payload["rows"]]
    rows = [
        _row(row, key, root, (low, high), further=at >= len(board.rows))
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
    return frame.page(
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
        time=_both(partial(charts.over_time, board), href),
        costs=[
            {"key": cost.key, "short": cost.short, **_both(partial(charts.against_cost, board, cost), href)}
            for cost in charts.COSTS
        ],
        low=low,
        high=high,
        labels=board.labels,
        quality=QUALITY,
        costs_named=(
            "Parameters",
            "MACs per face",
            "Faces per second",
            "Input",
            "Training",
            "Measured on",
            "Trained with",
        ),
        years=years,
        views=views,
        protocols=[
            (other.protocol, root + frame.path(other))
            for other in frame.boards
            if other.dataset == board.dataset and other.protocol
        ],
        file=board.slug,
        payload=script_json(payload),
        others=other_claims(board.dataset) if board.claimed else [],
        boards=[frame.teaser(other, root) | {"slug": other.slug} for other in frame.boards],
    )


def _both(draw: Callable[..., Any], href: Callable[[Row], str]) -> dict[str, Any]:
    """A chart for wide and for narrow screens; the style sheet shows one of them.

    On a narrow screen marks are too small for fingers: that chart is a picture, and the table below has the links.
    """
    return {
        "wide": draw(href=href, width=760, height=432, class_="chart wide"),
        "narrow": draw(href=None, width=380, height=400, class_="chart narrow"),
    }


def _row(row: Row, key: str, root: str, ends: tuple[float, float], *, further: bool) -> dict[str, Any]:
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
        **{name: getattr(row, name) for name in ("name", "claim", "measured", "record", "preferred", "date", "year")},
        "key": key,
        "further": further,
        "page": f"{root}systems/{row.system}.html" if row.system else "",
        "byline": ", ".join(part for part in (by, str(row.year or "") if claim else "") if part),
        "extra_data": row.extra_data,
        "paper": claim.paper if claim else None,
        "code": claim.code if claim else (),
        "strip": charts.strip(row, *ends),
        "quality": _cells(
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
        )
        if it
        else [""] * len(QUALITY),
        "cost": _cells(
            large(row.parameters),
            large(row.macs if it else row.claimed_macs or row.macs),
            large(it.speed.faces_per_second) if it and it.speed else "–",
            _input(row),
            _duration(it.cost.get("seconds")) if it else "–",
            it.device if it else "–",
            it.trained if it else "–",
        ),
    }


def _cells(*texts: str) -> list[str]:
    """What is not known is an empty cell: the style sheet draws its dash, and leaves it out on a phone."""
    return ["" if text == "–" else text for text in texts]


def _input(row: Row) -> str:
    """As measured; for a claim alone that of the source's recipe, at which its MACs are counted too."""
    given = row.measured.cost.get("input") if row.measured else None
    if given:
        return " × ".join(map(str, given))
    takes = row.about.takes if row.about else None
    return f"{takes['channels']} × {takes['size']} × {takes['size']}" if takes else "–"


def _duration(seconds: float | None) -> str:
    if not seconds:
        return "–"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
