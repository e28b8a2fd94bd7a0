"""The templates' environment: everything that comes from outside is escaped, numbers are written one way."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from mien.results.tables import percent
from mien.site.plain import rank_text


@functools.cache
def environment() -> Environment:
    """The environment of all templates."""
    made = Environment(
        loader=PackageLoader("mien.site", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "percent": percent,
        "decimal": decimal,
        "large": large,
        "rank": rank_text,
        "ordinal": ordinal,
        "repository": repository,
        "inline": inline,
        "prose": prose,
    }
    return made


def render(template: str, **values: Any) -> str:
    """One page."""
    return environment().get_template(template).render(**values)


def script_json(value: Any) -> Markup:
    r"""JSON that may stand inside a script element: nothing in it can end the element or begin a comment.

    Example:
        >>> print(script_json({"a": "</script>&<!--"}))
        {"a":"\u003c/script\u003e\u0026\u003c!--"}
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Markup(text)


def decimal(value: float | None) -> str:
    """Three decimals.

    Example:
        >>> decimal(0.8271), decimal(None)
        ('0.827', '–')
    """
    return "–" if value is None else f"{value:.3f}"


def large(value: float | None) -> str:
    """A count, short.

    Example:
        >>> large(29890759), large(1501447), large(66877), large(None)
        ('29.9 M', '1.50 M', '66.9 k', '–')
    """
    if not value:
        return "–"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            short = value / size
            return (
                f"{short:.2f} {unit}" if short < 10 else f"{short:.1f} {unit}" if short < 100 else f"{short:.0f} {unit}"
            )
    return f"{value:,.0f}"


def ordinal(place: int) -> str:
    """A place in words' short form.

    Example:
        >>> [ordinal(n) for n in (1, 2, 3, 11, 17, 22)]
        ['1st', '2nd', '3rd', '11th', '17th', '22nd']
    """
    ending = "th" if 10 <= place % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th")
    return f"{place}{ending}"


def repository(url: str) -> str:
    """What is worth reading of a repository's address.

    Example:
        >>> repository("https://github.com/usef-kh/fer")
        'usef-kh/fer'
    """
    return re.sub(r"^https://(github\.com/)?", "", url).rstrip("/")


def inline(text: str) -> Markup:
    """Text with `code` in backticks; everything else is escaped.

    Example:
        >>> print(inline("a `b<c>` & d"))
        a <code>b&lt;c&gt;</code> &amp; d
    """
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def prose(text: str) -> Markup:
    r"""The plain text of a file's header: paragraphs, lists with hyphens, `code`.

    Example:
        >>> print(prose("One <b>.\n\n- two\n  lines\n- three"))
        <p>One &lt;b&gt;.</p><ul><li>two lines</li><li>three</li></ul>
    """
    made = []
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        items = re.split(r"(?:^|\n)- ", paragraph)
        if lead := " ".join(items[0].split()):
            made.append(f"<p>{inline(lead)}</p>")
        if listed := [inline(" ".join(item.split())) for item in items[1:]]:
            made.append("<ul>" + "".join(f"<li>{item}</li>" for item in listed) + "</ul>")
    return Markup("".join(made))
