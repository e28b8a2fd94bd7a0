"""The marks of rows in a chart: rings for claims, dots with whiskers for what was measured."""

from __future__ import annotations

from collections.abc import Callable

from mien.site.board import Row
from mien.site.svg import Axis, element, link, title


class Marks:
    """Marks of rows: links that can be reached one by one, or, without ``href``, one path for all of a kind.

    What a mark looks like is in the style sheet, its radius too: with a hundred systems that is half of a chart.
    """

    def __init__(self, href: Callable[[Row], str] | None) -> None:
        self._href = href
        self._one: list[str] = []
        self._links: list[str] = []
        self._paths: dict[str, str] = {
            "gap": "",
            "rings": "",
            "rings record": "",
            "rings in": "",
            "whisker": "",
            "dots": "",
        }

    def claim(self, x: float, y: float, style: str = "", gap: tuple[float, float] | None = None) -> None:
        """A ring, and a line to what was measured."""
        if gap is not None:
            self._path("gap", _line(x, y, *gap))
        if self._href is None:
            self._paths["rings record" if style == "record" else "rings"] += _spot(x, y)
            self._paths["rings in"] += _spot(x, y)
        else:
            self._one.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" class="claim{style and " " + style}"/>')

    def dot(self, row: Row, x: float, y: Axis) -> None:
        """What was measured, with its interval."""
        assert row.measured is not None
        share = row.measured.accuracy
        self._path("whisker", _line(x, y(100 * share.low), x, y(100 * share.high)))
        if self._href is None:
            self._paths["dots"] += _spot(x, y(100 * share.value))
        else:
            self._one.append(f'<circle cx="{x:.1f}" cy="{y(100 * share.value):.1f}"/>')

    def end(self, row: Row, said: str) -> None:
        """All of a row is there."""
        if self._href is not None and self._one:
            self._links.append(link(self._href(row), title(said), *self._one))
        self._one = []

    def parts(self) -> list[str]:
        """What was drawn."""
        return [*self._links, *(element("path", d=d, class_=kind) for kind, d in self._paths.items() if d)]

    def _path(self, kind: str, d: str) -> None:
        if self._href is None:
            self._paths[kind] += d
        else:
            self._one.append(f'<path d="{d}"/>' if kind == "whisker" else f'<path d="{d}" class="{kind}"/>')


def _spot(x: float, y: float) -> str:
    return f"M{x:.0f} {y:.0f}h0"


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f"M{x1:.1f} {y1:.1f}" + (f"V{y2:.1f}" if x1 == x2 else f"L{x2:.1f} {y2:.1f}")
