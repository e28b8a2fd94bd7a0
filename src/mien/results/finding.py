"""Find a recorded result by what a person types: a path, an id, or the beginning of one."""

from __future__ import annotations

from pathlib import Path

from mien.errors import ResultError
from mien.results.schema import Result
from mien.results.verification import paths


def find(reference: str | Path, folder: str | Path = "results") -> Result:
    """The result that ``reference`` names.

    Args:
        reference: path of a json, or an id or its first four or more digits.
        folder: where ids are looked up.

    Raises:
        ResultError: nothing, or more than one result, has that name.
    """
    path = Path(reference)
    if path.suffix in (".json", ".npz") or path.is_file():
        return Result.load(path.with_suffix(".json"))
    text = str(reference)
    found = [path for path in paths(folder) if len(text) >= 4 and path.stem.startswith(text)]
    if len(found) == 1:
        return Result.load(found[0])
    if found:
        raise ResultError(f"{text!r} begins {len(found)} ids under {folder}; type more of it")
    if not Path(folder).is_dir():
        raise ResultError(
            f"there is no folder {folder} here, so no result is called {text!r}; run this in a checkout that holds "
            "one, or name it with --results"
        )
    raise ResultError(
        f"no result under {folder} is called {text!r}; give a path or at least four digits of an id "
        "(`mien results list` shows them)"
    )
