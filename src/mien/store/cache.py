"""The one folder that mien writes to without being told a path."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_dir(*parts: str) -> Path:
    """The cache folder, or a path below it. Nothing is created.

    ``MIEN_CACHE`` overrides the platform's default (``$XDG_CACHE_HOME/mien`` or ``~/.cache/mien``,
    ``~/Library/Caches/mien``, ``%LOCALAPPDATA%/mien``).
    """
    if override := os.environ.get("MIEN_CACHE"):
        root = Path(override)
    elif sys.platform == "darwin":
        root = Path.home() / "Library" / "Caches" / "mien"
    elif sys.platform == "win32":
        root = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "mien"
    else:
        root = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mien"
    return root.joinpath(*parts)
