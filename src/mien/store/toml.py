"""TOML: that of strangers, bounded before it is parsed, and our own."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
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


def toml_lines(tree: Mapping[str, Any], prefix: str = "") -> Iterable[str]:
    """Plain values as lines of TOML.

    Args:
        tree: text, numbers, booleans, lists, and mappings of them or lists of mappings, which come last.
        prefix: of the names of groups.

    Example:
        >>> list(toml_lines({"optim": {"lr": 0.1}, "epochs": 2}))
        ['epochs = 2', '', '[optim]', 'lr = 0.1']
    """
    groups: list[tuple[str, Any]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping) or (isinstance(value, list) and value and isinstance(value[0], Mapping)):
            groups.append((key, value))
        else:
            # JSON's strings, numbers, booleans and arrays are TOML's as well.
            yield f"{key} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in groups:
        for item in value if isinstance(value, list) else [value]:
            yield ""
            yield f"[[{prefix}{key}]]" if isinstance(value, list) else f"[{prefix}{key}]"
            yield from toml_lines(item, f"{prefix}{key}.")
