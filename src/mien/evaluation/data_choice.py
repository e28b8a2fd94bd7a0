"""Which data set something is measured on where nobody names one: that of the run or bundle itself."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.datasets import DATASETS, load_dataset
from mien.errors import InputError

if TYPE_CHECKING:
    from mien.datasets import FaceSet

USUAL = "fer2013"
MOST = 100_000
"""Faces that are drawn because a run or bundle says so."""
LONGEST = 100
"""Letters of the name of a data set."""


@dataclass(frozen=True)
class Behind:
    """The data set behind a run or bundle, in its own words, which may be a stranger's.

    Attributes:
        name: of the data set; empty if it is not known.
        options: of one that is made and not read; nothing says yet that they can be used.
        fingerprint: of its faces; empty if it is not known.
    """

    name: str = ""
    options: Any = field(default_factory=dict)
    fingerprint: str = ""


def notes_of(face_set: FaceSet) -> dict[str, Any]:
    """What runs and bundles note of the data set that they learn from, as `behind` reads it.

    Returns:
        ``data``, its name; ``data_options``, of one that is made and not read, so that the same can be made again; and
        ``data_fingerprint``.
    """
    made = face_set.name in DATASETS and DATASETS[face_set.name].make is not None
    options = {key: face_set.info[key] for key in ("count", "seed") if made and key in face_set.info}
    return {
        "data": face_set.name,
        **({"data_options": options} if options else {}),
        "data_fingerprint": face_set.fingerprint,
    }


def behind(subject: Any) -> Behind:
    """What a run, a bundle or anything else says of the data set that it was trained on.

    Example:
        >>> behind(object())
        Behind(name='', options={}, fingerprint='')
    """
    info = getattr(subject, "info", None)
    if info is None:
        notes = getattr(getattr(subject, "card", None), "notes", None)
        info = notes.get("training") if isinstance(notes, Mapping) else None
    if not isinstance(info, Mapping):
        return Behind()
    name, fingerprint = info.get("data") or "", info.get("data_fingerprint") or ""
    if not isinstance(name, str) or len(name) > LONGEST:
        raise InputError(f"what it says of its data set is no name: {str(name)[:40]!r}; name one with --data")
    return Behind(name, info.get("data_options", {}), fingerprint if isinstance(fingerprint, str) else "")


def data_for(subjects: Sequence[Any], name: str | None = None, path: str | Path | None = None) -> FaceSet:
    """The face set that subjects are measured on.

    Args:
        subjects: runs and bundles.
        name: of the data set; by default that of the first subject that knows its own, else FER2013.
        path: where it lies.

    Raises:
        UnknownNameError: there is no such data set.
        InputError: a subject's own one is none of mien, was made with what cannot be used, or of too many faces; of
            made faces others would be made today, or two subjects were trained on different ones.
    """
    known = [found for subject in subjects if (found := behind(subject)).name]
    chosen = name or (known[0].name if known else USUAL)
    if chosen not in DATASETS and name is None:
        raise InputError(f"it was trained on {chosen!r}, which is no data set of mien; name one that fits with --data")
    make = DATASETS[chosen].make
    if make is not None and path is not None:
        raise InputError(f"{chosen} is made, not read: leave out --path")
    # Of drawn faces others are drawn with other options: those of the run are the ones to measure it on.
    same = [one for one in known if one.name == chosen]
    options = _usable(same[0], make) if same else {}
    if make is not None and any(one.options != same[0].options for one in same):
        raise InputError(f"they were trained on different {chosen} faces, which share none to be measured on")
    faces = load_dataset(chosen, path, **options)
    if make is not None and any(one.fingerprint not in ("", faces.fingerprint) for one in same):
        raise InputError(
            f"{chosen} faces are made otherwise today than when it was trained on them, and those that it was not "
            "trained on cannot be told; use the version of mien that trained it"
        )
    return faces


def _usable(own: Behind, make: Any) -> dict[str, int]:
    """The options if all of them are whole numbers that this version knows by name, and ask for a bounded work."""
    known = inspect.signature(make).parameters if make is not None else ()
    if not isinstance(own.options, Mapping) or not all(
        name in known and type(value) is int and abs(value) < 1 << 63 for name, value in own.options.items()
    ):
        takes = f"takes whole numbers as {' and '.join(known)}" if known else "takes none"
        raise InputError(
            f"it says that it was trained on {own.name} with the options {own.options!r:.80}, and {own.name} {takes} "
            "here; name a data set with --data that fits, or use the version of mien that trained it"
        )
    if own.options.get("count", 0) > MOST:
        raise InputError(
            f"{own.options['count']:,} drawn faces are behind it; more than {MOST:,} are not drawn for that"
        )
    return dict(own.options)
