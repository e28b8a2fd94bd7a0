"""The charts of the pages, drawn when the site is built: no library in the browser, nothing moves while it loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from mien.results import Result
from mien.results import metrics as m
from mien.site.board import Board, Row, day
from mien.site.marks import Marks
from mien.site.svg import Axis, Box, around, drawing, element, number, place, polyline, text, title


@dataclass(frozen=True)
class Cost:
    """Something that a system costs, as the horizontal axis of a scatter.

    Args:
        key: its name in ids.
        name: what stands at the axis.
        short: what stands on the button that chooses it.
        of: its value for the measurement of a row, or None.
        claimed: its value for the claim of a row: what the source's own recipe costs, or None.
        more_is_better: faces per second are good, MACs are not.
    """

    key: str
    name: str
    short: str
    of: Callable[[Row], float | None]
    claimed: Callable[[Row], float | None]
    more_is_better: bool = False


COSTS = (
    Cost(
        "macs",
        "multiply-accumulates per face",
        "MACs",
        lambda row: row.macs if row.measured else None,
        lambda row: row.claimed_macs,
    ),
    Cost(
        "parameters",
        "parameters",
        "Parameters",
        lambda row: row.parameters if row.measured else None,
        lambda row: row.about.parameters if row.about else None,
    ),
    Cost(
        "speed",
        "faces per second",
        "Faces/s",
        lambda row: row.measured.speed.faces_per_second if row.measured and row.measured.speed else None,
        lambda row: None,
        more_is_better=True,
    ),
)


LABELS = 24
"""Names in a chart at most."""


def over_time(
    board: Board, href: Callable[[Row], str] | None, *, width: int, height: int, class_: str = "chart"
) -> Markup:
    """Claims and measurements by date, with the line of the highest claim so far; without ``href`` a plain picture."""
    rows = [(row, at) for row in board.rows if (at := _when(row)) is not None]
    values = _values(board)
    if not rows or not values:
        return Markup()
    left, right, top, bottom = 34.0, 12.0, 12.0, 28.0
    years = [at for _, at in rows]
    x = Axis(math.floor(min(years)), math.ceil(max(years) + 0.05), left, width - right)
    y = Axis(*_span(values), height - bottom, top)
    parts = [_grid_y(y, left, width - right), _years(x, height - bottom, width)]
    marks: list[Box] = []
    labels: list[tuple[float, float, str]] = []
    record = [
        (x(at), y(row.claim.value)) for row, at in sorted(rows, key=lambda r: r[1])
        if row.record and row.claim and row.claim.value is not None
    ]  # fmt: skip
    parts.append(_steps(record, width - right))
    marks += _step_boxes(record, width - right)
    drawn = Marks(href)
    for row, at in sorted(rows, key=lambda r: (r[0].measured is not None, r[0].record)):
        where, claimed = x(at), row.claim.value if row.claim else None
        if claimed is not None:
            style = "record" if row.record else "" if row.claim and row.claim.date else "loose"
            drawn.claim(where, y(claimed), style, gap=(where, y(_percent(row))) if row.measured else None)
            marks.append(around(where, y(claimed), 6))
            if row.record:
                labels.append((where, y(claimed), f"{row.name} {claimed:.1f}"))
        if row.measured is not None:
            drawn.dot(row, where, y)
            marks.append(around(where, y(_percent(row)), 6))
            if row.preferred or row.claim is None:
                labels.append((where, y(_percent(row)), f"{row.name} {_percent(row):.1f}"))
        drawn.end(row, describe(row))
    # Records and the headline before the many; a chart full of names shows none.
    parts += [*drawn.parts(), *_labels(labels[::-1][:LABELS], marks, (left, 2, width - 4, height - bottom))]
    about = f"Accuracy over time: {len(board.claimed)} claims, {len(board.measured)} measured systems"
    return Markup(drawing(width, height, *parts, label=about, class_=class_, role="group" if href else "img"))


def against_cost(
    board: Board, cost: Cost, href: Callable[[Row], str] | None, *, width: int, height: int, class_: str = "chart"
) -> Markup:
    """Accuracy against cost: measured systems solid with their frontier, claims as rings."""
    done = [(row, float(cost.of(row) or 0)) for row in board.measured if cost.of(row)]
    stated = [(row, float(cost.claimed(row) or 0)) for row in board.claimed if cost.claimed(row)]
    if not done and not stated:
        return Markup()
    left, right, top, bottom = 34.0, 14.0, 12.0, 40.0
    costs = [value for _, value in (*done, *stated)]
    x = Axis(min(costs) / 1.5, max(costs) * 1.5, left, width - right, log=True)
    y = Axis(*_span(_values(board)), height - bottom, top)
    parts = [_grid_y(y, left, width - right)]
    for tick in x.ticks():
        parts.append(element("line", x1=x(tick), x2=x(tick), y1=top, y2=height - bottom, class_="grid"))
        parts.append(text(_short(tick), x=x(tick), y=height - bottom + 17, class_="tick", text_anchor="middle"))
    better = "→ faster" if cost.more_is_better else "← cheaper"
    parts.append(text(cost.name, x=left, y=height - 6, class_="axis"))
    parts.append(text(better, x=width - right, y=height - 6, class_="axis", text_anchor="end"))
    front = frontier([(value, _percent(row)) for row, value in done], more_is_better=cost.more_is_better)
    if len(front) > 1:
        parts.append(polyline([(x(a), y(b)) for a, b in front], class_="frontier"))
    marks: list[Box] = []
    labels: list[tuple[float, float, str]] = []
    at = {row.key: value for row, value in done}
    drawn = Marks(href)
    for row, value in stated:
        where, up = x(value), y(row.claim.value if row.claim and row.claim.value is not None else math.nan)
        own = (x(at[row.key]), y(_percent(row))) if row.key in at else None
        if own is None:
            labels.append((where, up, row.name))
        drawn.claim(where, up, gap=own)
        marks.append(around(where, up, 6))
        drawn.end(row, f"{row.name}, claimed")
    ends_of_front = {value for value, _ in front}
    for row, value in done:
        marks.append(around(x(value), y(_percent(row)), 6))
        if value in ends_of_front:
            labels.insert(0, (x(value), y(_percent(row)), row.name))
        drawn.dot(row, x(value), y)
        drawn.end(row, f"{row.name}, {_percent(row):.1f} % measured")
    parts += drawn.parts()
    parts += _labels(labels[:LABELS], marks, (left, 2, width - 4, height - bottom), size=11)
    about = f"Accuracy against {cost.name}: {len(done)} measured systems, {len(stated)} claims"
    return Markup(drawing(width, height, *parts, label=about, class_=class_, role="group" if href else "img"))


def frontier(points: Sequence[tuple[float, float]], *, more_is_better: bool = False) -> list[tuple[float, float]]:
    """The points that no other beats in both cost and accuracy, in order of cost.

    Example:
        >>> frontier([(1, 70), (2, 69), (3, 73)])
        [(1, 70), (3, 73)]
        >>> frontier([(1, 70), (2, 69), (3, 73)], more_is_better=True)
        [(3, 73)]
    """
    found: list[tuple[float, float]] = []
    for cost, accuracy in sorted(points, key=lambda p: (-p[0] if more_is_better else p[0], -p[1])):
        if not found or accuracy > found[-1][1]:
            found.append((cost, accuracy))
    return sorted(found)


def strip(row: Row, low: float, high: float) -> str:
    """Claim and measurement of one row on a line that all rows share, as values that the style sheet draws.

    A drawing per row would be most of the page, and the cells beside it say the same in figures.

    Args:
        row: of the board.
        low: left end of the line, per cent.
        high: its right end.

    Returns:
        Places on the line from 0 to 100: ``--c`` of the claim, ``--m`` measured, ``--l`` and ``--h`` its interval.
    """
    at = Axis(low, high, 0, 100)
    places = {"c": row.claim.value} if row.claim and row.claim.value is not None else {}
    if row.measured is not None:
        share = row.measured.accuracy
        places |= {"m": 100 * share.value, "l": 100 * share.low, "h": 100 * share.high}
    return ";".join(f"--{name}:{at(value):.1f}" for name, value in places.items())


def reliability(result: Result, *, width: int = 380, height: int = 380) -> Markup:
    """Stated confidence against the share that is right, in fifteen bins of equal size; empty without probabilities."""
    calibrated, test = result.probabilities(), result.test
    if calibrated is None or test is None:
        return Markup()
    left, bottom, top, right = 38.0, 40.0, 10.0, 10.0
    x, y = Axis(0, 100, left, width - right), Axis(0, 100, height - bottom, top)
    parts = [_grid_y(y, left, width - right, about=5)]
    parts += _ticks_x(x, (0, 20, 40, 60, 80, 100), height - bottom)
    parts.append(text("stated confidence, %", x=left, y=height - 6, class_="axis"))
    parts.append(element("line", x1=x(0), y1=y(0), x2=x(100), y2=y(100), class_="perfect"))
    for probabilities, style in ((calibrated.raw, "raw"), (calibrated.probabilities, "measured")):
        confidence, right_share, sizes = m.reliability(probabilities, test.labels)
        points = [(x(100 * a), y(100 * b)) for a, b in zip(confidence, right_share, strict=True)]
        parts.append(polyline(points, class_=f"line {style}"))
        if style == "measured":
            for (at_x, at_y), a, b, size in zip(points, confidence, right_share, sizes, strict=True):
                said = f"{size} faces: stated {100 * a:.0f} %, right {100 * b:.0f} %"
                parts.append(element("circle", title(said), cx=at_x, cy=at_y, r=4.5, class_="measured"))
    label = "Reliability: share of right answers against stated confidence"
    return Markup(drawing(width, height, *parts, label=label, class_="chart small"))


def training(log: Sequence[dict[str, Any]], best: int | None, *, width: int = 540, height: int = 250) -> Markup:
    """Accuracy on the selection split by epoch, the kept epoch marked."""
    points = [
        (int(e["epoch"]) + 1, 100 * e["selection_accuracy"]) for e in log if e.get("selection_accuracy") is not None
    ]
    if len(points) < 2:
        return Markup()
    left, right, top, bottom = 38.0, 14.0, 12.0, 40.0
    x = Axis(1, max(e for e, _ in points), left, width - right)
    y = Axis(*_span([a for _, a in points]), height - bottom, top)
    parts = [_grid_y(y, left, width - right)]
    parts += _ticks_x(x, x.ticks(8), height - bottom)
    parts.append(text("epoch", x=left, y=height - 6, class_="axis"))
    parts.append(polyline([(x(e), y(a)) for e, a in points], class_="line measured"))
    kept = next(((e, a) for e, a in points if best is not None and e == best + 1), None)
    if kept:
        parts.append(element("circle", cx=x(kept[0]), cy=y(kept[1]), r=5, class_="measured"))
        found = place(
            [(x(kept[0]), y(kept[1]), f"kept: epoch {kept[0]}, {kept[1]:.1f} %")], [], (left, 0, width, height)
        )
        parts += [text(t, x=a, y=b, text_anchor=c, class_="label") for a, b, c, t in filter(None, found)]
    return Markup(drawing(width, height, *parts, label="Accuracy on the selection split by epoch", class_="chart"))


def losses(log: Sequence[dict[str, Any]], *, width: int = 540, height: int = 250) -> Markup:
    """Training loss and the NLL on the selection split by epoch."""
    lines = {}
    for name, style in (("loss", "measured"), ("selection_nll", "raw")):
        points = [(int(e["epoch"]) + 1, float(e[name])) for e in log if isinstance(e.get(name), int | float)]
        if len(points) > 1:
            lines[style] = points
    if not lines:
        return Markup()
    left, right, top, bottom = 44.0, 14.0, 12.0, 40.0
    every = [point for points in lines.values() for point in points]
    low, high = min(v for _, v in every), max(v for _, v in every)
    x = Axis(1, max(e for e, _ in every), left, width - right)
    y = Axis(max(0.0, low - 0.05 * (high - low)), high + 0.05 * (high - low), height - bottom, top)
    parts = [_grid_y(y, left, width - right), *_ticks_x(x, x.ticks(8), height - bottom)]
    parts.append(text("epoch", x=left, y=height - 6, class_="axis"))
    parts += [polyline([(x(e), y(v)) for e, v in points], class_=f"line {style}") for style, points in lines.items()]
    return Markup(drawing(width, height, *parts, label="Loss by epoch", class_="chart"))


def describe(row: Row) -> str:
    """A row in one line: what is claimed, what is measured."""
    said = [row.name]
    if row.claim is not None and row.claim.value is not None:
        said.append(f"claimed {row.claim.value:g} %")
    if row.measured is not None:
        share = row.measured.accuracy
        said.append(f"measured {100 * share.value:.1f} % [{100 * share.low:.1f}, {100 * share.high:.1f}]")
    when = row.date or str(row.year or "")
    return " · ".join([*said, *([when] if when else [])])


def shared_range(board: Board) -> tuple[float, float]:
    """Both ends of the line that the strips of a board share, multiples of five."""
    values = _values(board)
    if not values:
        return 0.0, 100.0
    # A few very low values would squeeze all the others together; they lie at the left end, and their cells say more.
    low = max(min(values), float(np.quantile(values, 0.08)))
    return max(0.0, 5.0 * math.floor((low - 1) / 5)), min(100.0, 5.0 * math.ceil((max(values) + 0.5) / 5))


def _when(row: Row) -> float | None:
    if row.date:
        return day(row.date)
    return row.year + 0.5 if row.year else None


def _values(board: Board) -> list[float]:
    values = [row.claim.value for row in board.claimed if row.claim and row.claim.value is not None]
    for row in board.measured:
        if row.measured is not None:
            values += [100 * row.measured.accuracy.low, 100 * row.measured.accuracy.high]
    return values


def _percent(row: Row) -> float:
    return 100 * row.measured.accuracy.value if row.measured else math.nan


def _span(values: Sequence[float]) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    room = max(1.5, 0.07 * (high - low))
    return max(0.0, low - room), min(100.0, high + room)


def _grid_y(y: Axis, left: float, right: float, about: int = 5) -> str:
    parts = []
    for tick in y.ticks(about):
        parts.append(element("line", x1=left, x2=right, y1=y(tick), y2=y(tick), class_="grid"))
        parts.append(text(number(tick), x=left - 8, y=y(tick) + 4, class_="tick", text_anchor="end"))
    return "".join(parts)


def _ticks_x(x: Axis, values: Sequence[float], bottom: float) -> list[str]:
    return [text(number(value), x=x(value), y=bottom + 17, class_="tick", text_anchor="middle") for value in values]


def _years(x: Axis, y: float, width: int) -> str:
    every = 1 if width > 700 else 2 if width > 480 else 4
    years = [year for year in range(int(x.low), int(x.high) + 1) if (year - int(x.low)) % every == 0]
    return "".join(text(str(year), x=x(year), y=y + 18, class_="tick", text_anchor="middle") for year in years)


def _steps(points: Sequence[tuple[float, float]], end: float) -> str:
    """The line of records: level until the next one, which is reached at once."""
    if not points:
        return ""
    path = f"M{number(points[0][0])} {number(points[0][1])}"
    path += "".join(f"H{number(x)}V{number(y)}" for x, y in points[1:]) + f"H{number(end)}"
    return element("path", d=path, class_="record-line")


def _step_boxes(points: Sequence[tuple[float, float]], end: float) -> list[Box]:
    """Where that line runs, so that no label lies on it."""
    boxes: list[Box] = []
    for at, (x, y) in enumerate(points):
        next_x, next_y = points[at + 1] if at + 1 < len(points) else (end, y)
        boxes.append((x + 7, y - 1, next_x, y + 1))
        boxes.append((next_x - 1, min(y, next_y) + 7, next_x + 1, max(y, next_y) - 7))
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]


def _labels(wanted: list[tuple[float, float, str]], marks: list[Box], inside: Box, size: float = 12) -> list[str]:
    return [
        text(label, x=x, y=y, text_anchor=anchor, class_="label", font_size=size)
        for x, y, anchor, label in filter(None, place(wanted, marks, inside, size))
    ]


def _short(value: float) -> str:
    for size, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{number(value / size)}{unit}"
    return number(value)
