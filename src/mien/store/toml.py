"""TOML of strangers: bounded before it is parsed."""

from __future__ import annotations

import tomllib
from typing import Any

MAX_BYTES = 1 << 16
_DOTS = 256


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises:
        ValueError: it is no TOML, larger than 64 KiB, or nested too deeply.

    Example:
        >>> parse_toml("a.b = 1")
        {'a': {'b': 1}}
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 10} KiB")
    # The time that a key takes grows with the square of its parts.
    if any(line.count(".") > _DOTS for line in text.splitlines()):
        raise ValueError(f"a line has more than {_DOTS} dots")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
