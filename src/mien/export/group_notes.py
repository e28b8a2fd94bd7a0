"""How a bundle differs between groups of faces, written into its card, where whoever uses it finds it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mien.bundle import Bundle, read_bundle, write_bundle
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.evaluation.groups import Group
    from mien.results import Result


def add_groups(path: str | Path, result: Result, groups: Sequence[Group]) -> Bundle:
    """Write how a result of a bundle differs between groups of faces into its card, beside the result's id.

    Raises:
        InputError: the result is not of this bundle, or so many groups make its card too long; the bundle stays as it
            is.
    """
    bundle = read_bundle(path)
    if result.weights_sha256 != bundle.card.sha256:
        raise InputError(f"result {result.id} is not of {path}; evaluate this bundle")
    across = {} if result.across is None else dict(result.across)
    entry = {
        "protocol": result.protocol,
        **across,
        "labels": list(result.labels),
        "groups": [group.to_json() for group in groups],
    }
    notes = {**bundle.card.notes, "groups": {**bundle.card.notes.get("groups", {}), result.id: entry}}
    return write_bundle(path, bundle.model, replace(bundle.card, notes=notes))
