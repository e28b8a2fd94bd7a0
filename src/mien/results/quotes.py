"""What documents quote besides results: facts about data sets, recorded measurements, and frozen passages."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import InputError
from mien.registry import suggestion
from mien.results import facts, protocols
from mien.results.canonical import strict_json

RECORDED = Path("benchmarks") / "recorded"
_DIGITS = 8


def fact(name: str) -> str:
    """A count or a share that follows from the packaged facts about FER2013.

    Raises:
        InputError: no fact has that name.

    Example:
        >>> fact("copies.PrivateTest.Training"), fact("faces"), fact("ferplus.agreement.PrivateTest")
        ('288', '35,887', '64 %')
    """
    known = _facts()
    if name not in known:
        raise InputError(f"there is no fact {name!r}; {suggestion(name, known)}")
    value = known[name]
    return f"{100 * value:.0f} %" if isinstance(value, float) else f"{value:,}"


def recorded(root: Path, file: str, path: str, form: str = "") -> str:
    """A number out of a recorded measurement, or a whole table.

    Args:
        root: of the repository; the file lies in ``benchmarks/recorded``.
        file: its name without ``.json``.
        path: keys and positions between dots (``negatives.choosing.faces``); a dot or space in a key is written ``_``.
        form: ``percent`` (one decimal), a number of decimals, or nothing.

    Raises:
        InputError: no such file, nothing of that path in it, or nothing that can be shown.
    """
    source = root / RECORDED / f"{file}.json"
    if "/" in file or not source.is_file():
        names = [each.stem for each in (root / RECORDED).glob("*.json")]
        raise InputError(f"nothing is recorded as {file!r}; {suggestion(file, names)}")
    found: Any = strict_json(source.read_bytes(), str(source))
    for part in path.split("."):
        found = _step(found, part, file)
    if isinstance(found, dict) and {"columns", "rows"} <= set(found):
        return _table(found)
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise InputError(f"{path!r} in {file} is no number, no text and no table")
    if isinstance(found, str):
        return found
    if form == "percent":
        return f"{100 * found:.1f} %"
    if form.isdecimal():
        return f"{found:,.{form}f}"
    return f"{found:,}"


def digest(text: str) -> str:
    r"""What a frozen passage carries: the beginning of the SHA-256 of its text, spaces and line ends apart.

    Example:
        >>> digest("a  b") == digest(" a\nb "), len(digest(""))
        (True, 8)
    """
    return hashlib.sha256(" ".join(text.split()).encode()).hexdigest()[:_DIGITS]


@functools.cache
def _facts() -> Mapping[str, int | float]:
    known = facts.load("fer2013")
    sizes = np.bincount(known.groups)
    kinds = np.unique(np.column_stack([known.groups, known.labels]), axis=0)[:, 0]
    found: dict[str, int | float] = {
        "faces": len(known),
        "faces.distinct": len(sizes),
        "copies.groups": int((sizes > 1).sum()),
        "copies.faces": int(sizes[sizes > 1].sum()),
        "copies.groups.conflicting": int((np.bincount(kinds) > 1).sum()),
        "ferplus.not-a-face": int((known.ferplus_no_face > 5).sum()),
    }
    private = protocols.get("fer2013/private@1")
    assert private.selection is not None
    found["fit.PublicTest"] = int(private.selection.fit.sum())
    for name, members in {**private.test.slices, **private.test.shown_slices}.items():
        found[name] = int(members.sum())
    earlier: list[str] = []
    for split in known.split_names:
        rows = known.rows(split)
        found[f"faces.{split}"] = len(rows)
        found[f"ferplus.agreement.{split}"] = float((known.ferplus_plurality[rows] == known.labels[rows]).mean())
        found[f"ferplus.majority.{split}"] = int((known.ferplus_majority[rows] != facts.NONE).sum())
        for number, label in enumerate(known.label_set.labels):
            found[f"faces.{split}.{label}"] = int((known.labels[rows] == number).sum())
        for other in earlier:
            found[f"copies.{split}.{other}"] = int(known.has_copy_in(other)[rows].sum())
            found[f"photographs.{split}.{other}"] = int(known.has_photograph_in(other)[rows].sum())
        if earlier:
            found[f"copies.{split}.earlier"] = int(known.has_copy_in(*earlier)[rows].sum())
            found[f"photographs.{split}.earlier"] = int(known.has_photograph_in(*earlier)[rows].sum())
            found[f"photographs.{split}.earlier.share"] = float(known.has_photograph_in(*earlier)[rows].mean())
        earlier.append(split)
    return found


def _step(value: Any, part: str, file: str) -> Any:
    if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    if isinstance(value, dict):
        names = {_plain(key): key for key in value}
        if part in names:
            return value[names[part]]
        raise InputError(f"{file} has no {part!r} there; {suggestion(part, names)}")
    raise InputError(f"{file} has no {part!r} there")


def _plain(key: str) -> str:
    return key.replace(".", "_").replace(" ", "_")


def _table(found: Mapping[str, Any]) -> str:
    rows = [[_cell(cell) for cell in row] for row in (found["columns"], *found["rows"])]
    rule = "|---|" + "---:|" * (len(rows[0]) - 1)
    head, *rest = ("| " + " | ".join(row) + " |" for row in rows)
    return "\n" + "\n".join([head, rule, *rest]) + "\n"


def _cell(value: Any) -> str:
    from mien.results.tables import escape

    if value is None:
        return "–"
    return escape(value) if isinstance(value, str) else f"{value:,}"
