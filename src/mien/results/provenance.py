"""Which source a result was made with."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


@functools.cache
def source_state() -> tuple[str | None, bool | None]:
    """The commit of the checkout this package runs from, and whether its source differs from that commit.

    Returns:
        ``(None, None)`` for an installed package, or where git is not there. Whoever sends a checkout without its
        history to another machine can name the commit in the environment variable ``MIEN_COMMIT``; whether the source
        differs from it stays unknown (None).
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "src" / "mien").is_dir():
        return os.environ.get("MIEN_COMMIT") or None, None
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", "src", "pyproject.toml")
    if commit is None or changed is None:
        return None, None
    return commit, bool(changed)


def source_stamp() -> dict[str, Any]:
    """`source_state` as the two fields ``commit`` and ``dirty`` of a record."""
    return dict(zip(("commit", "dirty"), source_state(), strict=True))


def source_words(record: Mapping[str, Any] | None) -> str:
    """The source that a record names by ``commit`` and ``dirty``, in words; what is unknown is said to be unknown.

    Example:
        >>> source_words({"commit": "0123456789abcdef", "dirty": False})
        'commit 0123456789ab'
        >>> source_words({"commit": "0123456789abcdef", "dirty": True})
        'commit 0123456789ab with changes'
        >>> source_words({"commit": "0123456789abcdef", "dirty": None})
        'commit 0123456789ab, changes unknown'
        >>> source_words({"date": "2026-01-31"})
        'source not recorded'
    """
    commit = (record or {}).get("commit")
    if not commit:
        return "source not recorded"
    dirty = (record or {}).get("dirty")
    return f"commit {commit[:12]}" + (", changes unknown" if dirty is None else " with changes" if dirty else "")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
