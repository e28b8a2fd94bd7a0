"""Find a recorded result by what a person types: a path, an id, or the beginning of one."""

from __future__ import annotations

import re
from pathlib import Path

from mien.errors import ResultError
from mien.results.folders import RECORDED, folders
from mien.results.schema import Result
from mien.results.verification import paths


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
    path = Path(reference)
    if path.suffix in (".json", ".npz") or path.is_file():
        return Result.load(path.with_suffix(".json"))
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


def home(result: Result, folder: str | Path | None = None) -> Path:
    """The folder of results that holds one.

    Args:
        result: recorded.
        folder: where to look; by default in ``results`` and ``my-results``.

    Raises:
        ResultError: it lies in none of them.
    """
    there = folders(folder)
    for each in there:
        if result.path(each).is_file():
            return each
    where = " and ".join(map(str, there)) or str(folder or RECORDED)
    raise ResultError(f"{result.id} is not recorded in {where}; name the folder that holds it with --results")
