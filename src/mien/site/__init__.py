"""Claims and results as pages: the leaderboard, one page per system, paper and data set, and reports of single runs.

Pages are static, need no network and no server; building them needs the extra ``site``, reading them nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mien.errors import MissingExtraError

if TYPE_CHECKING:
    from mien.site.board import Board, Measured, Row, Speed
    from mien.site.board_rows import boards
    from mien.site.build import Built, build_site, recorded_speeds, stale_tables, write_report

# Looked up when they are asked for: what of this part needs no templates works without the extra.
_HOME = {
    **dict.fromkeys(("Board", "Measured", "Row", "Speed"), "mien.site.board"),
    "boards": "mien.site.board_rows",
    **dict.fromkeys(("Built", "build_site", "recorded_speeds", "stale_tables", "write_report"), "mien.site.build"),
}

__all__ = [
    "Board",
    "Built",
    "Measured",
    "Row",
    "Speed",
    "boards",
    "build_site",
    "recorded_speeds",
    "stale_tables",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("jinja2", "markupsafe"):
            raise MissingExtraError("building pages", "site") from error
        raise
