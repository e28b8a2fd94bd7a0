"""Which data set a verb works on where nothing names one: that of the run or bundle it was given."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.datasets import FaceSet

USUAL = "fer2013"
MOST = 100_000
"""Faces that are drawn because a run or bundle says so."""


def load(data: str | None, path: Path | None, *, of: Sequence[Any] = ()) -> FaceSet:
    """Open a data set for a verb.

    Args:
        data: its name; by default that of the first of ``of`` that knows its own, else FER2013.
        path: where it lies.
        of: runs and bundles.

    Raises:
        InputError: in the words of the command line.
    """
    from mien.datasets import DATASETS, load_dataset
    from mien.errors import InputError

    behind = next((found for each in of if (found := trained_on(each))["data"]), {})
    # Of drawn faces others are drawn with other options: those of the run are the ones to measure it on.
    options = behind.get("data_options", {}) if data in (None, behind.get("data")) else {}
    name = data or behind.get("data") or USUAL
    if name not in DATASETS:
        if data is not None:
            DATASETS[name]
        raise InputError(f"it was trained on {name!r}, which is no data set of mien; name one that fits with --data")
    if (make := DATASETS[name].make) is not None:
        if path is not None:
            raise InputError(f"{name} is made, not read: leave out --path")
        if int(options.get("count", 0)) > MOST:  # whoever wrote that file may be a stranger
            raise InputError(
                f"{options['count']:,} drawn faces are behind it; more than {MOST:,} are not drawn for that"
            )
        known = inspect.signature(make).parameters
        return load_dataset(name, **{key: value for key, value in options.items() if key in known})
    return load_dataset(name, path)


def trained_on(subject: Any) -> dict[str, Any]:
    """Name (``data``) and ``data_options`` of the data set behind a run or bundle; an empty name if it is not known."""
    info = getattr(subject, "info", None)
    if info is None:
        card = getattr(subject, "card", None)
        info = getattr(card, "notes", {}).get("training", {}) if card is not None else {}
    return {"data": str(info.get("data") or ""), "data_options": dict(info.get("data_options") or {})}
