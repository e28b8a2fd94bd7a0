"""Export: a run → a bundle, with a parity report, quantisation and calibration; a bundle → a page for the browser.

The former needs the extra ``train``; each name is imported when it is first used, so that the latter does not.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.export.bundling import Export, add_results, export_run
    from mien.export.group_notes import add_groups
    from mien.export.web import WebPage, export_web

_HOME = {
    "Export": "bundling",
    "add_groups": "group_notes",
    "add_results": "bundling",
    "export_run": "bundling",
    "WebPage": "web",
    "export_web": "web",
}

__all__ = ["Export", "WebPage", "add_groups", "add_results", "export_run", "export_web"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"mien.export.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mien.export' has no attribute {name!r}")
