"""Which source a result was measured with, which its network was trained with, and where its system comes from."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mien.errors import DataError

TRAININGS = "trainings.toml"
UNKNOWN: Mapping[str, Any] = {"commit": None, "dirty": None}
_FIELDS = {"commit", "dirty"}
_LETTERS = 1000


@functools.cache
def source_state() -> tuple[str | None, bool | None]:
    """The commit of the checkout this package runs from, and whether its source differs from that commit.

    Returns:
        ``(None, None)`` for an installed package, or where git is not there or refuses. Whoever sends a checkout
        without its history to another machine can name the commit in the environment variable ``MIEN_COMMIT``; whether
        the source differs from it stays unknown (None).
    """
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or not (root / "src" / "mien").is_dir():
        return os.environ.get("MIEN_COMMIT") or None, None
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", "src", "pyproject.toml")
    if commit is None or changed is None:
        return commit or os.environ.get("MIEN_COMMIT") or None, None
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


def trained_with(info: Mapping[str, Any]) -> dict[str, Any]:
    """The field ``trained`` of a result, from what a run or the card of a bundle says of its training."""
    return {name: info.get(name) for name in ("commit", "dirty")}


def trained_together(members: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    """The field ``trained`` of a result of several networks: that of each, in order; of nested ones those inside.

    Example:
        >>> trained_together([{"commit": "a1", "dirty": False}, None])["members"][1]
        {'commit': None, 'dirty': None}
    """
    return {"members": [dict(source) for trained in members for source in trainings(trained)]}


def trainings(trained: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """Commit and dirty of each training behind a field ``trained``; one of unknown source where there is none."""
    if not trained:
        return [UNKNOWN]
    return list(trained["members"]) if "members" in trained else [trained]


def check_trained(trained: Any) -> bool:
    """Whether a value is a field ``trained``: commit and dirty, or a list of them as ``members``."""
    if not isinstance(trained, dict):
        return False
    members = trained.get("members", [trained])
    if "members" in trained and (set(trained) != {"members"} or not isinstance(members, list) or not members):
        return False
    return all(
        isinstance(source, dict)
        and set(source) == _FIELDS
        and isinstance(source["commit"], str | None)
        and isinstance(source["dirty"], bool | None)
        for source in members
    )


def brought_from(source: Any) -> dict[str, str] | None:
    """The field ``source`` of a result, from what is known of a system that somebody brought along, or None.

    Example:
        >>> brought_from({"file": "/home/me/tiny.py", "sha256": "0" * 64})["sha256"] == "0" * 64
        True
        >>> brought_from({"class": "notebook.Tiny"}), brought_from({})
        ({'class': 'notebook.Tiny'}, None)
    """
    known = source if isinstance(source, Mapping) else {}
    said = ({name: known[name]} for name in ("sha256", "class") if name in known)
    return next(filter(check_brought_from, said), None)


def check_brought_from(source: Any) -> bool:
    """Whether a value is a field ``source``: the SHA-256 of the system's file, or the name of its class."""
    if not isinstance(source, dict) or len(source) != 1:
        return False
    ((name, value),) = source.items()
    if not isinstance(value, str):
        return False
    if name == "sha256":
        return re.fullmatch(r"[0-9a-f]{64}", value) is not None
    return name == "class" and value.isprintable() and 0 < len(value) <= _LETTERS


def is_clean(trained: Mapping[str, Any] | None) -> bool:
    """Whether every training is known to have run from a commit without changes."""
    return all(source["commit"] and source["dirty"] is False for source in trainings(trained))


def training_words(trained: Mapping[str, Any] | None) -> str:
    """The source of the training in a few letters, marked where it cannot be checked out again as it was.

    Example:
        >>> training_words({"commit": "0123456789abcdef", "dirty": False})
        '0123456'
        >>> training_words({"commit": "0123456789abcdef", "dirty": True})
        '⚠ 0123456 with changes'
        >>> training_words(None)
        '⚠ unknown'
    """
    said = dict.fromkeys(_short(source) for source in trainings(trained))
    return f"{'' if is_clean(trained) else '⚠ '}{', '.join(said)}"


def noted_trainings(folder: str | Path) -> dict[str, dict[str, Any]]:
    """What ``trainings.toml`` in a folder of results says: hash of the weights → the field ``trained``.

    Results that were recorded before the field existed keep their content and with it their id; what their runs and
    bundles say of the training stands in that file.

    Raises:
        DataError: a file that is no such table.
    """
    path = Path(folder) / TRAININGS
    if not path.is_file():
        return {}
    try:
        read = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"is no TOML ({error})", file=path) from None
    found = {}
    for weights, about in read.items():
        if not check_trained(about):
            raise DataError(f"{weights[:16]}: a training has a commit and dirty = true or false", file=path)
        found[weights] = about
    return found


def _short(source: Mapping[str, Any]) -> str:
    if not source["commit"]:
        return "unknown"
    state = {True: " with changes", False: "", None: ", changes unknown"}
    return f"{source['commit'][:7]}{state[source['dirty']]}"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
