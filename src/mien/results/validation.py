"""What a result has to be: every field, every array, and what they say of each other."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.errors import ResultError
from mien.results import protocols
from mien.results.arrays import Array
from mien.results.ledger import Opening
from mien.results.protocols import Answers, Protocol
from mien.results.provenance import check_brought_from, check_trained
from mien.results.scoring import SCORES, Scores

SCHEMA = "mien-result@1"
KINDS = ("run", "bundle", "ensemble", "classical", "clustering", "submitted")
FIELDS = {
    "schema", "protocol", "system", "kind", "recipe", "recipe_hash", "seed", "views", "extra_data", "data_fingerprint",
    "weights_sha256", "commit", "dirty", "environment", "cost", "labels", "scores", "metrics", "confusion", "created",
    "opening", "submission", "predictions_sha256",
}  # fmt: skip
"""Fields of the json, besides the id."""

OPTIONAL = {"across", "source", "trained"}
"""Fields that not all results have: of cross results the data that were learnt from and measured on; where a system
comes from that is not in the registry; since results say so, the source that their networks were trained with."""

ARRAYS = ("rows", "scores", "labels", "groups", "fit")
"""Arrays of each split; labels, groups and fit only for own data. The npz leaves out rows that the protocol knows."""

NAMES = tuple(f"{side}_{array}" for side in ("selection", "test") for array in ARRAYS)
"""Names of all arrays that an npz may hold."""

NAME = re.compile(r"[a-z0-9](?:[a-z0-9_+-]|\.(?!\.)){0,79}")
_HEX = re.compile(r"[0-9a-f]{0,128}")
STEP = 1 / 32
"""Logits are recorded at least this far below the highest, see `steps`."""

_TEXT_FIELDS = ("protocol", "system", "kind", "views", "scores", "created")
_HASH_FIELDS = ("recipe_hash", "data_fingerprint", "weights_sha256", "predictions_sha256")


def check_opening(content: Mapping[str, Any], opening: Opening) -> None:
    """Refuse an opening that was noted for something else than what the result says of itself."""
    for name in ("protocol", "system", "kind", "recipe_hash", "weights_sha256", "views", "data_fingerprint"):
        if content[name] != getattr(opening, name):
            raise ResultError(
                f"the test split was opened for {name} {getattr(opening, name)!r}, the result says {content[name]!r}"
            )
    protocol = protocols.get(content["protocol"])
    if protocol.face_set is not None and opening.split != protocol.test_split:
        raise ResultError(f"the opening is of {opening.split}, the result is about {protocol.test_split}")


def expected(protocol: Protocol, side: str, answers: tuple[Answers | None, Answers | None] | None) -> Answers:
    """The faces of ``side`` (selection or test), from the protocol or, for own data, as they were given."""
    if protocol.answers is None:
        own = answers[side == "test"] if answers else None
    else:
        if answers is not None:
            raise ResultError(f"{protocol.name} has its own labels: give no answers")
        own = protocol.selection if side == "selection" else protocol.test
    if own is None:
        raise ResultError(f"{protocol.name} has no {side} faces here, so there can be no scores of them")
    return own


def storable(given: ArrayLike, kind: str, faces: int, classes: int, side: str) -> Scores:
    """Scores as float16 where that keeps every decision, else float32.

    Logits in `steps` (decisions 0007 and 0010); margins in steps of about a hundredth of their spread; of clusters the
    decided one alone, since nothing else is made of them.
    """
    scores = np.asarray(given, dtype=np.float64)
    if scores.shape != (faces, classes):
        raise ResultError(f"the {side} scores are {scores.shape}; the protocol's faces need ({faces}, {classes})")
    if not np.isfinite(scores).all():
        raise ResultError(
            f"the {side} scores hold NaN or infinity in row {int(np.argwhere(~np.isfinite(scores))[0][0])}"
        )
    if kind == "probabilities":
        _check_probabilities(scores, f"the {side} scores")
    # The decision is that of the scores as they were given.
    decided = np.asarray(given).argmax(axis=1)
    if kind == "logits":
        scores = scores - scores.max(axis=1, keepdims=True)
        # The highest stays at 0, all others at least one step below it.
        others = np.arange(classes) != decided[:, None]
        step = steps(scores)
        scores = np.where(others, np.minimum(np.round(scores / step) * step, -STEP), 0.0)
    elif kind == "margins" and scores.std() > 0:
        one = 2 ** np.floor(np.log2(scores.std())) / 64
        scores = np.round(scores / one) * one
        highest = np.take_along_axis(scores, decided[:, None], axis=1)
        others = np.arange(classes) != decided[:, None]
        scores = np.where(others, np.minimum(scores, highest - one), highest)
    elif kind == "clusters":
        scores = (np.arange(classes) == decided[:, None]).astype(np.float64)
    with np.errstate(over="ignore", under="ignore"):
        half = scores.astype(np.float16)
    if np.isfinite(half).all() and (half.argmax(axis=1) == decided).all():
        return half
    return scores.astype(np.float32)


def steps(logits: ArrayLike) -> Scores:
    """The step in which a logit is recorded that lies so far below the highest: `STEP`, from a distance of 1 five bits.

    Args:
        logits: minus the distance; any shape.

    Example:
        >>> steps([0.0, -0.99, -1.0, -2.5, -4.0]) * 32
        array([1., 1., 2., 4., 8.])
    """
    distance = np.maximum(np.abs(np.asarray(logits, dtype=np.float64)), 0.5)
    found: Scores = np.maximum(STEP, np.exp2(np.floor(np.log2(distance)) - 4))
    return found


def _check_probabilities(scores: NDArray[np.float64], where: str) -> None:
    if scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > 0.01:
        raise ResultError(f"{where} are no probabilities: a row is negative somewhere or does not sum to 1")


def check_fields(content: dict[str, Any], where: str, *, has_id: bool = False) -> None:
    """Refuse fields that are unknown, missing, of the wrong type or not allowed by the protocol."""
    names = FIELDS | {"id"} if has_id else FIELDS
    if content.get("schema") != SCHEMA:
        raise ResultError(f"{where} is no result of schema {SCHEMA!r}; a newer mien may read it")
    if unknown := sorted(set(content) - names - OPTIONAL):
        raise ResultError(f"{where} has unknown fields: {', '.join(map(repr, unknown[:5]))}")
    if missing := sorted(names - set(content)):
        raise ResultError(f"{where} lacks fields: {', '.join(missing)}")
    for name in _TEXT_FIELDS:
        if not isinstance(content[name], str):
            raise ResultError(f"{where}: {name} is text, not {content[name]!r:.60}")
    for name in _HASH_FIELDS:
        if not isinstance(content[name], str) or not _HEX.fullmatch(content[name]):
            raise ResultError(f"{where}: {name} is a hexadecimal hash, not {content[name]!r:.60}")
    if not NAME.fullmatch(content["system"]):
        raise ResultError(
            f"{where}: a system is named with a-z, 0-9, '-', '_', '+', '.', not {content['system']!r:.60}"
        )
    protocol = protocols.get(content["protocol"])
    if "across" in content:
        _check_across(content["across"], protocol, where)
    if content["kind"] not in KINDS:
        raise ResultError(f"{where}: kind is one of {', '.join(KINDS)}, not {content['kind']!r:.60}")
    if content["views"] not in protocol.views:
        raise ResultError(
            f"{where}: {protocol.name} allows the views {', '.join(protocol.views)}, not {content['views']!r:.60}"
        )
    if content["scores"] not in SCORES:
        raise ResultError(f"{where}: scores are one of {', '.join(SCORES)}, not {content['scores']!r:.60}")
    for name in ("recipe", "environment", "cost", "metrics"):
        if not isinstance(content[name], dict):
            raise ResultError(f"{where}: {name} is an object, not {content[name]!r:.60}")
    for name in ("extra_data", "labels"):
        if not isinstance(content[name], list) or not all(isinstance(item, str) for item in content[name]):
            raise ResultError(f"{where}: {name} is a list of text")
    if protocol.label_set is not None and tuple(content["labels"]) != protocol.label_set.labels:
        raise ResultError(
            f"{where}: the labels of {protocol.name} are {', '.join(protocol.label_set.labels)}, in this order"
        )
    if protocol.data_fingerprint is not None and content["data_fingerprint"] != protocol.data_fingerprint:
        raise ResultError(
            f"{where} was measured on other data: its fingerprint is not that of the official {protocol.face_set}"
        )
    if not isinstance(content["seed"], int | None) or isinstance(content["seed"], bool):
        raise ResultError(f"{where}: seed is a whole number or null")
    if not isinstance(content["commit"], str | None) or not isinstance(content["dirty"], bool | None):
        raise ResultError(f"{where}: commit is text or null, dirty is true, false or null")
    if "trained" in content and not check_trained(content["trained"]):
        raise ResultError(f"{where}: trained holds commit and dirty of the training, or of each of its members")
    if "source" in content and not check_brought_from(content["source"]):
        raise ResultError(f"{where}: source holds the sha256 of the system's file, or the name of its class")
    if not isinstance(content["opening"], str | None):
        raise ResultError(f"{where}: opening is a hash or null")
    if (content["submission"] is not None) != (content["kind"] == "submitted") or not isinstance(
        content["submission"], dict | None
    ):
        raise ResultError(f"{where}: a submitted result, and no other, says who submitted it")
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", content["created"]):
        raise ResultError(f"{where}: created is a UTC time like 2026-01-31T12:00:00Z, not {content['created']!r:.60}")
    _refuse_infinite(content, where)


def _refuse_infinite(value: Any, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ResultError(f"{where} holds NaN or infinity; a result consists of finite numbers")
    if isinstance(value, Mapping):
        for item in value.values():
            _refuse_infinite(item, where)
    elif isinstance(value, list | tuple):
        for item in value:
            _refuse_infinite(item, where)


def check_arrays(content: Mapping[str, Any], arrays: Mapping[str, Array], where: str) -> None:
    """Refuse predictions that are not finite scores of exactly the protocol's faces, or lack their opening."""
    protocol, classes = protocols.get(content["protocol"]), len(content["labels"])
    own = protocol.answers is None
    sides = [side for side in ("selection", "test") if f"{side}_scores" in arrays]
    wanted = {f"{side}_{name}" for side in sides for name in (ARRAYS if own else ARRAYS[:2])}
    if not sides or set(arrays) != wanted:
        raise ResultError(
            f"{where}: predictions are missing or incomplete; the npz holds {sorted(arrays) or 'nothing'}"
        )
    for side in sides:
        scores, rows = arrays[f"{side}_scores"], arrays[f"{side}_rows"]
        if scores.dtype not in (np.float16, np.float32) or rows.dtype != np.int32:
            raise ResultError(f"{where}: {side} scores are float16 or float32, rows int32")
        if own:
            _check_own(arrays, side, classes, where)
            faces = len(rows)
        else:
            known = expected(protocol, side, None)
            faces = len(known)
            if len(rows) != faces:
                raise ResultError(
                    f"{where}: {len(rows)} {side} faces; {protocol.name} has {faces}, none may be left out"
                )
            if not np.array_equal(rows, known.rows):
                raise ResultError(f"{where}: the {side} rows are not those of {protocol.name}, or in another order")
        if scores.shape != (faces, classes):
            raise ResultError(f"{where}: {side} scores are {scores.shape}, the faces need ({faces}, {classes})")
        if not np.isfinite(scores).all():
            raise ResultError(f"{where}: the {side} scores hold NaN or infinity")
        if content["scores"] == "probabilities":
            _check_probabilities(scores.astype(np.float64), f"{where}: the {side} scores")
    if protocol.sealed and ("test" in sides) != (content["opening"] is not None):
        raise ResultError(
            f"{where}: scores on the sealed {protocol.test_split} need an opening in the ledger, and only they have one"
        )
    if protocol.selection_split and "selection" not in sides and content["kind"] != "submitted":
        raise ResultError(f"{where}: the scores on {protocol.selection_split} are missing; every result records them")


def without_known(arrays: Mapping[str, Array], protocol: str) -> dict[str, Array]:
    """What the npz holds: all but rows that the protocol knows, which take room and say nothing."""
    known = protocols.get(protocol).answers is not None
    return {name: array for name, array in arrays.items() if not (known and name.endswith("_rows"))}


def with_known(arrays: Mapping[str, Array], protocol: str) -> dict[str, Array]:
    """The arrays of an npz and the rows that it leaves to the protocol; of older results it holds them itself."""
    found, known = dict(arrays), protocols.get(protocol)
    if known.answers is not None:
        for side in ("selection", "test"):
            if f"{side}_scores" in found and f"{side}_rows" not in found:
                found[f"{side}_rows"] = expected(known, side, None).rows.astype(np.int32)
    return found


def _check_own(arrays: Mapping[str, Array], side: str, classes: int, where: str) -> None:
    faces = len(arrays[f"{side}_rows"])
    for name, dtype in (("labels", np.uint8), ("groups", np.int32), ("fit", np.bool_)):
        array = arrays[f"{side}_{name}"]
        if array.shape != (faces,) or array.dtype != dtype or not faces:
            raise ResultError(f"{where}: {side}_{name} is one {np.dtype(dtype).name} per face")
    if classes < 2 or arrays[f"{side}_labels"].max() >= classes:
        raise ResultError(f"{where}: a {side} label is none of the {classes} that the result names")


def _check_across(across: Any, protocol: Protocol, where: str) -> None:
    names = ("trained_on", "tested_on", "split")
    if not protocol.name.startswith("cross/"):
        raise ResultError(f"{where}: only cross results say what they were trained and tested on")
    if (
        not isinstance(across, dict)
        or set(across) != set(names)
        or not all(isinstance(v, str) for v in across.values())
    ):
        raise ResultError(f"{where}: across holds {', '.join(names)}, all text")
