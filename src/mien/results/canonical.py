"""One way to write a value as JSON for hashing, and one strict way to read JSON."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from mien.errors import ResultError


def canonical_json(value: Any) -> str:
    """JSON with sorted keys, no spaces, no NaN: equal values give equal text.

    Example:
        >>> canonical_json({"b": 1, "a": [1.5, None]})
        '{"a":[1.5,null],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 of the canonical JSON, hexadecimal.

    Example:
        >>> content_hash({})[:8]
        '44136fa3'
    """
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def strict_json(text: str | bytes, where: str) -> Any:
    """Read JSON that holds no NaN or infinity and no key twice.

    Raises:
        ResultError: naming ``where``, and what is wrong.
    """

    def refuse(constant: str) -> Any:
        raise ResultError(f"{where} holds {constant}; a result consists of finite numbers")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in pairs}) != len(pairs):
            raise ResultError(f"{where} holds a key twice")
        return dict(pairs)

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{where} is no JSON ({error})") from None
