"""Predictions of outsiders: checked, marked as submitted, measured like everything else.

Nobody's code is run and no model is needed: an id and a score per expression for every face of the split.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Container, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError, InputError, ResultError
from mien.registry import suggestion
from mien.results import facts, protocols
from mien.results.arrays import read_arrays
from mien.results.canonical import content_hash
from mien.results.ledger import Ledger
from mien.results.protocols import Answers, Protocol
from mien.results.schema import LEDGER, Result
from mien.results.scoring import SCORES
from mien.results.validation import NAME
from mien.store.toml import parse_toml

MAX_CARD_BYTES = 64 << 10
MAX_CSV_BYTES = 64 << 20
TOO_GOOD = 0.95
"""Agreement with the labels that no honest system reaches: people agree with them on about two faces of three."""

_URL = re.compile(r"https://[A-Za-z0-9.-]+(?:/[\w.~%/?#=&+@:-]*)?")
_ALPHABETICAL = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class SubmissionCard:
    """What an outsider says of their predictions: a TOML file with exactly these keys.

    Args:
        system: short id, a-z, 0-9, ``-``, ``_``, ``+``, ``.``.
        title: the system in one line.
        authors: their names.
        protocol: name of the protocol.
        scores: logits, probabilities, margins or clusters.
        extra_data: everything beyond the protocol's training split that any part was trained on, also before and also
            by others: ``[]``, ``["ImageNet-1k"]``, ``["unknown"]``.
        seed: of the training, if it is known.
        url: https address of code or paper.
        licence: of the weights.
        notes: anything else, in plain text.
    """

    system: str
    title: str
    authors: tuple[str, ...]
    protocol: str
    scores: str
    extra_data: tuple[str, ...]
    seed: int | None = None
    url: str = ""
    licence: str = ""
    notes: str = ""


def read_card(path: str | Path) -> SubmissionCard:
    """Read and check a card.

    Raises:
        DataError: no TOML, an unknown or missing key, a value of the wrong type, a path or markup in a text.
    """
    path = Path(path)
    data = _bytes(path, MAX_CARD_BYTES, "a card")
    try:
        values = parse_toml(data.decode())
    except ValueError as error:
        raise DataError(f"is no TOML ({error})", file=path) from None
    required = ("system", "title", "authors", "protocol", "scores", "extra_data")
    card = SubmissionCard(**checked_words(values, set(SubmissionCard.__dataclass_fields__), required, path))
    if card.scores not in SCORES:
        raise DataError(f"scores are one of {', '.join(SCORES)}, not {card.scores!r}", file=path)
    if protocols.get(card.protocol).answers is None:
        raise DataError(f"{card.protocol} takes no submissions; its labels are not public", file=path)
    return card


def checked_words(
    values: Mapping[str, Any], known: Collection[str], required: Collection[str], path: Path
) -> dict[str, Any]:
    """What an outsider says of their system, with lists as tuples.

    Args:
        values: as read; keys that a `SubmissionCard` does not have are only checked for being known.
        known: names that may be there.
        required: names that have to be there.
        path: where they stand.

    Raises:
        DataError: an unknown or missing name, a value of the wrong type, a path or markup in a text.
    """
    if unknown := sorted(set(values) - set(known)):
        raise DataError(f"unknown key {unknown[0]!r}; {suggestion(unknown[0], known)}", file=path)
    if missing := [name for name in required if name not in values]:
        raise DataError(f"lacks {', '.join(missing)}", file=path)
    checked = dict(values)
    for name in checked.keys() & SubmissionCard.__dataclass_fields__.keys():
        value = checked[name]
        if name in ("authors", "extra_data"):
            if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
                raise DataError(f"{name} is a list of text", file=path)
            for item in value:
                _plain(item, name, path)
            checked[name] = tuple(value)
        elif name == "seed":
            if not isinstance(value, int) or isinstance(value, bool):
                raise DataError("seed is a whole number", file=path)
        elif not isinstance(value, str):
            raise DataError(f"{name} is text", file=path)
        elif name == "url":
            if not _URL.fullmatch(value) or len(value) > 300:
                raise DataError(f"url is an https address, not {value!r:.80}", file=path)
        else:
            _plain(value, name, path, limit=2000 if name == "notes" else 200)
    system = checked["system"]
    if not NAME.fullmatch(system):
        raise DataError(f"system is a short id of a-z, 0-9, '-', '_', '+', '.', not {system!r:.80}", file=path)
    if not checked["title"].strip() or not checked["authors"] or not all(a.strip() for a in checked["authors"]):
        raise DataError("title and authors are empty; say what it is and whose", file=path)
    return checked


def check_own_name(name: str, systems: Container[str], path: Path) -> None:
    """Refuse a submission that calls itself like a known system (`DataError`): it would stand beside its claim."""
    if name in systems:
        raise DataError(f"{name} is a system of this project; choose an id of your own", file=path)


def read_predictions(path: str | Path, protocol: Protocol) -> tuple[Scores | None, Scores]:
    """Read predictions and put them into the protocol's order.

    Args:
        path: csv with a header ``id,angry,disgust,…`` (labels in any order), or npz with ``ids`` int (n,) and
            ``scores`` float (n, classes) in the label set's order. An id is the row of the face in the data set's
            file, 0-based, splits counted through: PrivateTest of FER2013 has 32298–35886.
        protocol: whose faces they have to be.

    Returns:
        Scores of the selection split (None where the file has none) and of the test split, float64 (n, classes).

    Raises:
        DataError: naming the line where it can.
    """
    path = Path(path)
    assert protocol.label_set is not None
    labels = protocol.label_set.labels
    if path.suffix.lower() == ".npz":
        ids, scores = _read_npz(path, len(labels))
    elif path.suffix.lower() == ".csv":
        ids, scores = _read_csv(path, labels)
    else:
        raise DataError("predictions are a .csv or an .npz", file=path)
    if not np.isfinite(scores).all():
        raise DataError(f"the scores of id {ids[~np.isfinite(scores).all(axis=1)][0]} are not finite", file=path)
    if len(np.unique(ids)) < len(ids):
        values, counts = np.unique(ids, return_counts=True)
        raise DataError(f"id {values[counts > 1][0]} is there more than once", file=path)
    order = np.argsort(ids)
    ids, scores = ids[order], scores[order]
    sides = [side for side in (protocol.selection, protocol.test) if side is not None]
    wanted = np.concatenate([side.rows for side in sides])
    if stray := ids[~np.isin(ids, wanted)].tolist():
        ranges = ", ".join(f"{side.split} {side.rows.min()}–{side.rows.max()}" for side in sides)
        raise DataError(f"id {stray[0]} is no face of this protocol; ids are 0-based rows: {ranges}", file=path)
    test = _of(protocol.test, ids, scores, path)
    if test is None:
        raise DataError(f"has no face of {protocol.test.split}; all {len(protocol.test):,} are needed", file=path)
    selection = None if protocol.selection is None else _of(protocol.selection, ids, scores, path)
    return selection, test


def submit(
    predictions: str | Path,
    card: str | Path,
    folder: str | Path = "results",
    *,
    systems: Container[str] = (),
) -> Result:
    """Check predictions and their card, measure them, and save the result as submitted.

    The test split counts as opened, and the ledger notes it, once everything that needs no label is in order.

    Args:
        predictions: see `read_predictions`.
        card: see `read_card`.
        folder: of the recorded results.
        systems: ids of known systems, which a submission must not call itself.

    Raises:
        InputError: the files are not what they should be; nothing was opened.
        ResultError: the predictions are the labels, or their columns are in another order.
    """
    about = read_card(card)
    check_own_name(about.system, systems, Path(card))
    protocol = protocols.get(about.protocol)
    selection, test = read_predictions(predictions, protocol)
    for scores in (selection, test):
        if scores is not None:
            _check_scores(scores, about.scores, Path(predictions))
    remarks = _check_copies(test, protocol.test)
    said: dict[str, Any] = {**asdict(about), "authors": list(about.authors), "extra_data": list(about.extra_data)}
    fingerprint = protocol.data_fingerprint or facts.FER2013_FINGERPRINT
    recipe_hash = content_hash(said)
    opening = None
    if protocol.sealed:
        opening = Ledger(Path(folder) / LEDGER).open_split(
            about.protocol, protocol.test_split, about.system, "submitted", recipe_hash, "", "submitted", fingerprint
        )
    check_against_labels(test, protocol)
    result = Result.build(
        protocol=about.protocol,
        system=about.system,
        kind="submitted",
        recipe={},
        recipe_hash=recipe_hash,
        seed=about.seed,
        views="submitted",
        extra_data=about.extra_data,
        data_fingerprint=fingerprint,
        weights_sha256="",
        environment={},
        cost={},
        scores_kind=about.scores,
        selection_scores=selection,
        test_scores=test,
        opening=opening,
        submission={**said, "remarks": remarks},
    )
    result.save(folder)
    return result


def _plain(text: str, name: str, file: Path, *, limit: int = 200) -> None:
    """Refuse what could be markup, a path or a control character wherever the text is shown."""
    if len(text) > limit:
        raise DataError(f"{name} is longer than {limit} characters", file=file)
    if re.search(r"[<>\\\x00-\x08\x0b-\x1f\x7f`]|\.\.|&#|\]\(", text) or re.search(r"(^|\s)[/~]\S|\b[A-Za-z]:/", text):
        raise DataError(
            f"{name} holds markup, a path or a control character: {text!r:.80}; write plain words", file=file
        )
    if name != "notes" and ("\n" in text or (name in ("system", "title", "authors") and "/" in text)):
        raise DataError(f"{name} holds a path or a line break: {text!r:.80}; write plain words", file=file)


def _bytes(path: Path, limit: int, what: str) -> bytes:
    try:
        if path.stat().st_size > limit:
            raise DataError(f"is larger than {what} can be ({limit >> 10} KiB)", file=path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", file=path) from None


def _read_npz(path: Path, classes: int) -> tuple[NDArray[np.int64], Scores]:
    try:
        arrays = read_arrays(path, ("ids", "scores"))
    except ResultError as error:
        raise InputError(str(error)) from None
    if set(arrays) != {"ids", "scores"}:
        raise DataError("holds the arrays ids and scores, both of them", file=path)
    ids, scores = arrays["ids"], arrays["scores"]
    if ids.dtype.kind not in "ui" or ids.ndim != 1 or scores.dtype.kind != "f" or scores.shape != (len(ids), classes):
        raise DataError(
            f"ids are whole numbers (n,) and scores floats (n, {classes}), not {ids.dtype} {ids.shape} and "
            f"{scores.dtype} {scores.shape}",
            file=path,
        )
    return ids.astype(np.int64), scores.astype(np.float64)


def _read_csv(path: Path, labels: tuple[str, ...]) -> tuple[NDArray[np.int64], Scores]:
    try:
        text = _bytes(path, MAX_CSV_BYTES, "predictions").decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError("is no text in UTF-8", file=path) from None
    reader = csv.reader(io.StringIO(text), strict=True)
    ids: list[int] = []
    rows: list[list[float]] = []
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if sorted(header) != sorted(["id", *labels]):
            raise DataError(
                f"the header names id,{','.join(labels)} (in any order), not {','.join(header)!r:.120}",
                file=path,
                line=1,
            )
        at, columns = header.index("id"), [header.index(label) for label in labels]
        for fields in reader:
            if not fields:
                continue
            if len(fields) != len(header):
                raise DataError(f"{len(fields)} fields, the header has {len(header)}", file=path, line=reader.line_num)
            try:
                ids.append(int(fields[at]))
                rows.append([float(fields[column]) for column in columns])
            except ValueError as error:
                raise DataError(
                    f"{error}; an id is a whole number, a score a number", file=path, line=reader.line_num
                ) from None
    except csv.Error as error:
        raise DataError(f"is no csv ({error})", file=path, line=reader.line_num) from None
    if not ids:
        raise DataError("holds no face", file=path)
    if max(map(abs, ids)) >= 1 << 40:
        raise DataError("an id is far beyond any row", file=path)
    return np.array(ids, dtype=np.int64), np.array(rows, dtype=np.float64)


def _of(side: Answers, ids: NDArray[np.int64], scores: Scores, path: Path) -> Scores | None:
    here = np.isin(ids, side.rows)
    if not here.any():
        return None
    if here.sum() < len(side):
        missing = int(side.rows[~np.isin(side.rows, ids)][0])
        raise DataError(
            f"{int(here.sum()):,} of the {len(side):,} faces of {side.split} are there; none may be left out, "
            f"id {missing} is the first that is missing",
            file=path,
        )
    return scores[here]


def _check_scores(scores: Scores, kind: str, path: Path) -> None:
    if kind == "probabilities" and (scores.min() < 0 or np.abs(scores.sum(axis=1) - 1).max() > 0.01):
        raise DataError("the card says probabilities, but a row is negative somewhere or does not sum to 1", file=path)
    if np.ptp(scores, axis=0).max() == 0:
        raise DataError("every face has the same scores; that is no prediction", file=path)


def _check_copies(scores: Scores, side: Answers) -> list[str]:
    """Exactly equal images have to get equal scores; where most do not, the rows are in another order."""
    _, first, number = np.unique(side.groups, return_index=True, return_inverse=True)
    original = first[number]
    copies = np.flatnonzero(original != np.arange(len(side)))
    if len(copies) < 10:
        return []
    decided = scores.argmax(axis=1)
    disagree = int((decided[copies] != decided[original[copies]]).sum())
    if 2 * disagree > len(copies):
        raise InputError(
            f"{disagree} of {len(copies)} faces that are exact copies of another get a different expression than it: "
            "the rows seem to be in another order than the ids say"
        )
    if disagree:
        return [f"{disagree} of {len(copies)} exact copies of a face get another expression than it"]
    return []


def check_against_labels(scores: NDArray[np.floating[Any]], protocol: Protocol) -> None:
    """Refuse scores on the test split, (n, classes), that are the labels, or whose columns are in another order.

    Raises:
        ResultError: saying which; whatever was opened for them stays opened.
    """
    side = protocol.test
    decided = scores.argmax(axis=1)
    known = facts.load("fer2013")
    keys: Mapping[str, NDArray[np.uint8]] = {"labels": side.labels, "FER+ votes": known.ferplus_plurality[side.rows]}
    for what, key in keys.items():
        if (what == "labels" or protocol.label_set is known.label_set) and (decided == key).mean() >= TOO_GOOD:
            raise ResultError(
                f"these predictions equal the {what} on {100 * (decided == key).mean():.1f} % of the faces: that is an "
                "answer key and not a system; the opening stays in the ledger"
            )
    if protocol.label_set is known.label_set:
        labels = known.label_set.labels
        as_alphabetical = np.array([labels.index(label) for label in _ALPHABETICAL])[decided]
        if (as_alphabetical == side.labels).mean() > (decided == side.labels).mean() + 0.1:
            raise ResultError(
                f"the columns seem to be in alphabetical order; the label set's order is {', '.join(labels)}"
            )
