"""Take a recorded result out, in the open: the ledger keeps its openings and says why it is gone."""

from __future__ import annotations

from pathlib import Path

from mien.errors import ResultError
from mien.results.finding import locate
from mien.results.folders import folders
from mien.results.ledger import Ledger
from mien.results.schema import LEDGER


def withdraw(reference: str | Path, folder: str | Path | None, reason: str) -> dict[str, str]:
    """Remove a result's files and note the reason in the ledger beside it.

    Args:
        reference: path of a json, or an id or its first four or more digits; also of a result whose files are gone
            already.
        folder: of the results and their ledger; None: the one that the path tells, or that of ``results`` and
            ``my-results`` which holds the id.
        reason: for everybody to read.

    Returns:
        ``id``, ``protocol``, ``system`` and ``reason`` of what was withdrawn.

    Raises:
        ResultError: nothing, or more than one result, has that name in that folder, its ledger never recorded it, or
            the reason is empty.
    """
    try:
        result, where = locate(reference, folder)
        about = {"id": result.id, "protocol": result.protocol, "system": result.system}
    except ResultError:
        gone = ((each, _gone(str(reference), each, Ledger(each / LEDGER))) for each in folders(folder))
        found = next(((each, line) for each, line in gone if line), None)
        if found is None:
            raise
        where, about = found
    ledger = Ledger(where / LEDGER)
    if about["id"] not in ledger.recorded():
        raise ResultError(f"{ledger.path} never recorded {about['id']}, so nothing can be withdrawn there")
    ledger.withdraw(about["protocol"], about["system"], about["id"], reason)
    path = _path(about, where)
    path.unlink(missing_ok=True)
    path.with_suffix(".npz").unlink(missing_ok=True)
    return {**about, "reason": reason}


def _gone(reference: str, folder: Path, ledger: Ledger) -> dict[str, str] | None:
    """What the ledger says of the one recorded result of that name, if its json is not there any more."""
    named = [line for id, line in ledger.recorded().items() if len(reference) >= 4 and id.startswith(reference)]
    gone = [line for line in named if not _path(line, folder).is_file()]
    return {key: gone[0][key] for key in ("id", "protocol", "system")} if len(named) == len(gone) == 1 else None


def _path(about: dict[str, str], folder: Path) -> Path:
    return folder.joinpath(*about["protocol"].split("/"), about["system"], f"{about['id']}.json")
