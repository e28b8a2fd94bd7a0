"""What the pages in a browser share: the frame around them, their looks, and how faces are drawn and listed there."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path
from string import Template

FOLDER = Path(__file__).with_name("pages")
"""Holds ``style.css``; ``faces.js`` (boxes on a canvas, cards with bars); ``image.js`` (an image is dropped, pasted or
chosen and handed to a function ``ask`` of the page that uses it)."""


def page(
    title: str,
    main: str,
    *,
    styles: str,
    scripts: str,
    links: Mapping[str, str] | None = None,
    here: str = "",
    head: str = "",
) -> str:
    """A whole page.

    Args:
        title: after the name of the project.
        main: HTML of its content.
        styles: HTML of its style sheets.
        scripts: HTML of its scripts.
        links: address → text of the pages beside it.
        here: the address of this one among them.
        head: further HTML of the head.

    Example:
        >>> "<title>mien · a &amp; b</title>" in page("a & b", "<p>hello</p>", styles="", scripts="")
        True
    """
    nav = "".join(
        f'<a href="{escape(address)}"{" aria-current=page" if address == here else ""}>{escape(text)}</a>'
        for address, text in (links or {}).items()
    )
    return Template(read("frame.html")).substitute(
        title=escape(title),
        main=main.strip("\n"),
        styles=styles,
        scripts=scripts,
        head=f"\n{head}" if head else "",
        nav=f'\n  <nav aria-label="Pages">{nav}</nav>' if nav else "",
    )


def image_content(promise: str, buttons: str = "") -> str:
    """The content of a page to try an image, for ``image.js``.

    Args:
        promise: what becomes of the image; plain text.
        buttons: further HTML beside the one that chooses another image.
    """
    return Template(read("image.html")).substitute(
        promise=escape(promise), buttons=f"\n    {buttons}" if buttons else ""
    )


def read(name: str) -> str:
    """One of the files in `FOLDER`."""
    return (FOLDER / name).read_text(encoding="utf-8")
