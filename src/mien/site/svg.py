"""SVG by hand: elements whose texts and attributes are escaped, axes, and labels that do not lie on each other.

Colours come from the page's style sheet through classes, so one drawing serves light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

Box = tuple[float, float, float, float]
CHARACTER = 0.55
"""Width of an average character as a share of the font size; sans-serif digits are about 0.55 wide."""


def element(name: str, *children: str, **attributes: object) -> str:
    """One element; ``class_`` becomes ``class`` and ``_`` a hyphen. Children are SVG already, see `text`.

    Example:
        >>> element("circle", cx=1.25, cy=2, class_="dot")
        '<circle cx="1.25" cy="2" class="dot"/>'
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(number(value) if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{given}>{''.join(children)}</{name}>" if children else f"<{name}{given}/>"


def text(content: str, **attributes: object) -> str:
    """A text element; what could be markup is escaped.

    Example:
        >>> text("<b>", x=1)
        '<text x="1">&lt;b&gt;</text>'
    """
    return element("text", escape(content), **attributes)


def title(content: str) -> str:
    """What a pointer shows over the element that holds it."""
    return element("title", escape(content))


def link(href: str, *children: str) -> str:
    """A link around a mark, reachable by keyboard; a `title` among its children is its name for screen readers."""
    return element("a", *children, href=href)


def drawing(width: float, height: float, *children: str, label: str, class_: str, role: str = "group") -> str:
    """The whole picture. ``label`` says what it shows; ``role`` is ``img`` where nothing in it can be reached."""
    return element(
        "svg", *children, viewBox=f"0 0 {number(width)} {number(height)}", width=number(width), height=number(height),
        role=role, aria_label=label, class_=class_,
    )  # fmt: skip


def number(value: float) -> str:
    """Short decimal text: two decimals at most.

    Example:
        >>> number(3.0), number(0.256), number(-0.001)
        ('3', '0.26', '0')
    """
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short == "-0" else short


def polyline(points: Iterable[tuple[float, float]], **attributes: object) -> str:
    """A line through points."""
    return element("polyline", points=" ".join(f"{number(x)},{number(y)}" for x, y in points), **attributes)


@dataclass(frozen=True)
class Axis:
    """Values to pixels.

    Args:
        low: value at ``start``.
        high: value at ``end``.
        start: pixel.
        end: pixel; below ``start`` on a vertical axis.
        log: equal ratios are equally long.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values beyond the ends lie at them."""
        low, high, at = (
            (math.log10(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        )
        share = 0.5 if high == low else (at - low) / (high - low)
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)

    def ticks(self, about: int = 6) -> list[float]:
        """Round values along the axis, ``about`` so many.

        Example:
            >>> Axis(61, 84, 0, 100).ticks(5)
            [65, 70, 75, 80]
            >>> Axis(3e5, 2e9, 0, 1, log=True).ticks()
            [1000000.0, 10000000.0, 100000000.0, 1000000000.0]
        """
        if self.log:
            decades = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**decade for decade in decades]
        raw = (self.high - self.low) / max(1, about)
        power = 10 ** math.floor(math.log10(raw)) if raw > 0 else 1
        step = next((k * power for k in (1, 2, 5, 10) if k * power >= raw), power)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(k * step, 9) for k in range(first, last + 1)]


def place(
    wanted: Sequence[tuple[float, float, str]], taken: Sequence[Box], inside: Box, size: float = 12
) -> list[tuple[float, float, str, str] | None]:
    """Where labels may stand beside their marks without covering marks, each other or the border.

    Args:
        wanted: (x, y, label) per mark, the most important first.
        taken: boxes (x1, y1, x2, y2) that stay free.
        inside: box that labels stay in.
        size: font size in pixels.

    Returns:
        (x, y, anchor, label) per mark, or None where nothing fits.
    """
    busy = list(taken)
    found: list[tuple[float, float, str, str] | None] = []
    for x, y, label in wanted:
        wide = CHARACTER * size * len(label)
        options = [
            (x + 9, y + 0.35 * size, "start"),
            (x - 9, y + 0.35 * size, "end"),
            (x - 4, y - 10, "end"),
            (x + 4, y - 10, "start"),
            (x, y - 11, "middle"),
            (x, y + 11 + 0.8 * size, "middle"),
            (x + 6, y + 9 + 0.8 * size, "start"),
            (x - 6, y + 9 + 0.8 * size, "end"),
        ]
        spot: tuple[float, float, str, str] | None = None
        for at_x, at_y, anchor in options:
            left = at_x - {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
            box = (left, at_y - 0.8 * size, left + wide, at_y + 0.25 * size)
            within = box[0] >= inside[0] and box[1] >= inside[1] and box[2] <= inside[2] and box[3] <= inside[3]
            if within and not any(_overlap(box, other) for other in busy):
                busy.append(box)
                spot = (at_x, at_y, anchor, label)
                break
        found.append(spot)
    return found


def around(x: float, y: float, radius: float) -> Box:
    """The box of a round mark."""
    return (x - radius, y - radius, x + radius, y + radius)


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
