"""Take a recorded result out, in the open: the ledger keeps its openings and says why it is gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mien.errors import ResultError
from mien.results.finding import find, holder, named_path
from mien.results.folders import folders
from mien.results.ledger import Ledger
from mien.results.schema import LEDGER


def withdraw(reference: str | Path, folder: str | Path | None, reason: str) -> dict[str, str]:
    """Remove a result's files and note the reason in the ledger beside it.

    Args:
        reference: path of a json, or an id or its first four or more digits; also of a result whose files are gone or
            damaged.
        folder: of the results and their ledger; None: the one that the path tells, or that of ``results`` and
            ``my-results`` whose ledger recorded the id.
        reason: for everybody to read.

    Returns:
        ``id``, ``protocol``, ``system`` and ``reason`` of what was withdrawn.

    Raises:
        ResultError: nothing, or more than one result, has that name in that folder, its ledger never recorded it, or
            the reason is empty.
    """
    where, line = _recorded(reference, folder)
    about = {key: str(line[key]) for key in ("id", "protocol", "system")}
    Ledger(where / LEDGER).withdraw(about["protocol"], about["system"], about["id"], reason)
    path = _path(about, where)
    path.unlink(missing_ok=True)
    path.with_suffix(".npz").unlink(missing_ok=True)
    return {**about, "reason": reason}


def _recorded(reference: str | Path, folder: str | Path | None) -> tuple[Path, dict[str, Any]]:
    """The folder that is meant, and what its ledger says of the result."""
    path = named_path(reference)
    begins = str(reference) if path is None else path.stem
    there = folders(folder) if folder is not None or path is None else (holder(path),)
    found = [
        (each, line)
        for each in there
        for id, line in Ledger(each / LEDGER).recorded().items()
        if len(begins) >= 4 and id.startswith(begins)
    ]
    if len({line["id"] for _, line in found}) > 1:
        raise ResultError(f"{begins!r} begins {len({line['id'] for _, line in found})} ids; type more of it")
    if not found:
        result = find(reference, folder)  # says what is wrong with a name that is none
        where = " or ".join(map(str, there))
        raise ResultError(f"no ledger in {where} ever recorded {result.id}, so nothing can be withdrawn there")
    # Where both folders hold it, the project's own is meant, unless its files are gone there alone.
    return next(((each, line) for each, line in found if _path(line, each).is_file()), found[0])


def _path(about: dict[str, Any], folder: Path) -> Path:
    return folder.joinpath(*about["protocol"].split("/"), about["system"], f"{about['id']}.json")
