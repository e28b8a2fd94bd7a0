"""Texts in tables that people open in a spreadsheet: a name from outside must not become a formula."""

from __future__ import annotations

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def text_cell(text: str) -> str:
    """A text that stays one: what a spreadsheet would take for a formula begins with an apostrophe.

    Example:
        >>> text_cell("=1+1"), text_cell("happy")
        ("'=1+1", 'happy')
    """
    return f"'{text}" if text.startswith(FORMULA) else text


def path_cell(path: str) -> str:
    """A path that stays one, and still leads to its file: what looks like a formula begins with ``./``.

    Example:
        >>> path_cell("=1+1.jpg"), path_cell("photos/=1.jpg")
        ('./=1+1.jpg', 'photos/=1.jpg')
    """
    return f"./{path}" if path.startswith(FORMULA) else path
