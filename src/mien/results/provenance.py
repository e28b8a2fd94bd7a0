"""Which source a result was made with."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path


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


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
