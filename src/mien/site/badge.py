"""A badge for a README: place and accuracy of a system, as one small SVG without any request."""

from __future__ import annotations

from mien.site.board import Row
from mien.site.plain import rank_text
from mien.site.svg import element, number, text, title

_CHARACTER = 6.6
_HEIGHT = 20


def badge_text(row: Row, of: int) -> str:
    """What the badge says. A place needs somebody to be compared with: alone, it is left out.

    Args:
        row: of the system.
        of: how many systems are measured on its board.

    Example:
        >>> from mien.systems.claims import claims
        >>> badge_text(Row("vggnet", "VGGNet", "vggnet", None, claims(system="vggnet")[0], None), of=3)
        'not measured yet'
    """
    if row.measured is None:
        return "not measured yet"
    said = f"{100 * row.measured.accuracy.value:.1f} %"
    return f"#{rank_text(row.measured.rank)} of {of} · {said}" if row.measured.rank and of > 1 else said


def badge_width(said: str, label: str = "FER2013") -> int:
    """Width in pixels."""
    return round(_CHARACTER * len(label) + 14) + round(_CHARACTER * len(said) + 14)


def badge(said: str, label: str = "FER2013") -> str:
    """The SVG.

    Args:
        said: right half.
        label: left half.
    """
    left = round(_CHARACTER * len(label) + 14)
    width = badge_width(said, label)
    font = "Verdana,DejaVu Sans,Geneva,sans-serif"
    colour = "#0a6c5d" if any(letter.isdigit() for letter in said) else "#635f57"
    halves = [
        element("rect", width=width, height=_HEIGHT, fill="#2a2825"),
        element("rect", x=left, width=width - left, height=_HEIGHT, fill=colour),
    ]
    clip = element("clipPath", element("rect", width=width, height=_HEIGHT, rx=4), id="round")
    words = [
        text(word, x=number(x), y=14, fill="#fff", font_family=font, font_size=11, text_anchor="middle",
             textLength=number(_CHARACTER * len(word)))
        for word, x in ((label, left / 2), (said, left + (width - left) / 2))
    ]  # fmt: skip
    return element(
        "svg",
        title(f"{label}: {said}"),
        clip,
        element("g", *halves, clip_path="url(#round)"),
        *words,
        xmlns="http://www.w3.org/2000/svg",
        width=width,
        height=_HEIGHT,
        role="img",
        aria_label=f"{label}: {said}",
    )
