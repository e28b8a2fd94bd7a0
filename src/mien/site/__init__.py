"""Claims and results as pages: the leaderboard, one page per system, paper and data set, and reports of single runs.

Pages are static, need no network and no server; building them needs the extra ``site``, reading them nothing.
"""

from __future__ import annotations

from mien.errors import MissingExtraError

try:
    from mien.site.board import Board, Measured, Row, Speed, boards
    from mien.site.build import Built, build_site, recorded_speeds, stale_tables, write_report
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in ("jinja2", "markupsafe"):
        raise MissingExtraError("building pages", "site") from error
    raise

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
