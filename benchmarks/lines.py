"""JSON of recorded figures with a line for each entry and, of longer entries, each row: short, and a change is seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def in_lines(record: Mapping[str, Any]) -> str:
    """The text of a file of records.

    Example:
        >>> print(in_lines({"mien": "0.1.0", "rows": [{"faces": 1}, {"faces": 2}]}), end="")
        {
         "mien": "0.1.0",
         "rows": [
          {"faces":1},
          {"faces":2}
         ]
        }
    """
    return "{\n " + ",\n ".join(f"{_json(key)}: {_entry(value)}" for key, value in record.items()) + "\n}\n"


def _entry(value: Any) -> str:
    if isinstance(value, list) and any(isinstance(row, list | dict) for row in value):
        return "[\n  " + ",\n  ".join(map(_json, value)) + "\n ]"
    if isinstance(value, dict) and any(isinstance(row, list | dict) for row in value.values()):
        return "{\n  " + ",\n  ".join(f"{_json(key)}: {_json(row)}" for key, row in value.items()) + "\n }"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
