"""Find a recorded result by what a person types: a path, an id, or the beginning of one."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from mien.errors import ResultError
from mien.results.folders import RECORDED, folders
from mien.results.schema import LEDGER, Result
from mien.results.verification import load_all, paths

_log = logging.getLogger("mien")


def is_reference(text: str | Path) -> bool:
    """Whether it looks like the path of a result or like the beginning of an id, so that `find` says what is wrong.

    Example:
        >>> is_reference("results/x.json"), is_reference("1f3a9c2e"), is_reference("mien")
        (True, True, False)
    """
    return Path(text).suffix == ".json" or bool(re.fullmatch("[0-9a-f]+", str(text)))


def find(reference: str | Path, folder: str | Path | None = None) -> Result:
    """The result that ``reference`` names.

    Args:
        reference: path of a json, or an id or its first four or more digits.
        folder: where ids are looked up; by default in ``results`` and ``my-results``.

    Raises:
        ResultError: nothing, or more than one result, has that name.
    """
    if (path := named_path(reference)) is not None:
        return Result.load(path)
    text, there = str(reference), folders(folder)
    where = " and ".join(map(str, there))
    # An id is a hash of the content: what lies in two folders under one id is one result.
    found = {path.stem: path for each in there for path in paths(each) if path.stem.startswith(text)}
    if len(text) >= 4 and len(found) == 1:
        return Result.load(*found.values())
    if len(text) >= 4 and found:
        raise ResultError(f"{text!r} begins {len(found)} ids under {where}; type more of it")
    if not there:
        raise ResultError(
            f"there is no folder {folder or RECORDED} here, so no result is called {text!r}; run this in a checkout "
            "that holds one, or name it with --results"
        )
    raise ResultError(
        f"no result under {where} is called {text!r}; give a path or at least four digits of an id "
        "(`mien results list` shows them)"
    )


def named_path(reference: str | Path) -> Path | None:
    """The json that it names by its path; None where it can only be an id.

    Example:
        >>> named_path("results/x.npz").name, named_path("1f3a9c2e")
        ('x.json', None)
    """
    path = Path(reference)
    return path.with_suffix(".json") if path.suffix in (".json", ".npz") or path.is_file() else None


def holder(path: Path) -> Path:
    """The folder of results above a path: the nearest one with a ledger.

    Raises:
        ResultError: there is none.
    """
    for above in path.resolve().parents:
        if (above / LEDGER).is_file():
            return above
    raise ResultError(
        f"{path} lies in no folder of results, which would hold a ledger as well ({LEDGER}); name the folder whose "
        "ledger it belongs to with --results"
    )


def locate(reference: str | Path, folder: str | Path | None = None) -> tuple[Result, Path]:
    """The result that ``reference`` names, and the folder of results that it belongs to.

    Args:
        reference: as for `find`.
        folder: of results; by default the one that its path tells, or that of ``results`` and ``my-results`` which
            holds its id.

    Raises:
        ResultError: nothing, or more than one result, has that name; its path lies in no folder of results.
    """
    result, path = find(reference, folder), named_path(reference)
    if folder is not None:
        return result, Path(folder)
    if path is not None:
        return result, holder(path)
    for each in folders():
        if result.path(each).is_file():
            return result, each
    raise ResultError(f"{result.id} lies in the wrong place; a folder of results holds it as {result.path('')}")


def load_recorded(folder: str | Path | None = None, *further: str | Path) -> list[Result]:
    """All results of the folders, each id once; by default those of ``results`` and ``my-results``.

    What cannot be read is left out, and the logger ``mien`` says so: it need not be what the caller looks for.
    """
    there = dict.fromkeys([*folders(folder), *map(Path, further)])
    found = (result for each in there for result in load_all(each, lambda error: _log.warning("%s", error)))
    return list({result.id: result for result in found}.values())
