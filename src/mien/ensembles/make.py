"""An ensemble from what a person names: a named ensemble, results, bundles or run folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mien.ensembles.merge import export_ensemble
from mien.ensembles.named import named_members
from mien.ensembles.networks import network_ensemble, opened
from mien.ensembles.recorded import ensemble_of_results
from mien.errors import InputError
from mien.recognition.bundles import is_bundle_name
from mien.results.finding import find, is_reference, load_recorded
from mien.results.folders import default_results
from mien.systems.named_ensembles import CARDS

if TYPE_CHECKING:
    from mien.bundle import Bundle
    from mien.results import Result


def make(
    members: Sequence[str | Path],
    *,
    how: str = "all",
    name: str = "ensemble",
    split: str = "selection",
    views: str = "",
    data: str | None = None,
    path: str | Path | None = None,
    results: str | Path | None = None,
    onnx: str | Path | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Result, Bundle | None]:
    """Make an ensemble and measure it.

    Args:
        members: one named ensemble; or ids or paths of results; or paths of bundles and run folders.
        how: see `mien.ensembles.choose`.
        name: what it is called in results; a named ensemble has its own name.
        split: ``selection``, or ``test``, whose opening the ledger notes.
        views: the view of bundles and runs (``one`` by default); of a named ensemble the members' view.
        data: data set, for bundles and runs; by default that of the first one that knows its own, else FER2013.
        path: where it lies, if it is not imported yet.
        results: folder of results and ledger. By default the ledger is that of the protocol's folder
            (`mien.results.folders.default_results`), and recorded results are looked up in ``results`` and
            ``my-results``.
        onnx: where to write an ensemble of bundles as one bundle.
        device: of runs.
        progress: called with (done, in all).

    Returns:
        The result, not yet saved, and the bundle where one was asked for.

    Raises:
        SealedSplitError: a member is a trial of a search, and the test split was asked for.
        InputError: members of different kinds or that do not belong together; nothing is written.
    """
    if split not in ("selection", "test"):
        raise InputError(f"--split is selection or test, not {split!r}")
    test = split == "test"
    if len(members) == 1 and not _is_network(members[0]) and not _is_result(members[0]):
        name = str(members[0])
        found = named_members(name, load_recorded(results), views=views, test=test)
        _check_recorded(onnx, data, path)
        return _of_results(found, name, how, test, results), None
    networks = [_is_network(member) for member in members]
    if not any(networks):
        recorded = [find(member, results) for member in members]
        _check_recorded(onnx, data, path)
        if views:
            raise InputError("recorded results have their views already; leave out --views")
        return _of_results(recorded, name, how, test, results), None
    if not all(networks):
        raise InputError("give results, or bundles and runs, not both: a recorded score cannot run on a face again")
    from mien.evaluation import evaluate
    from mien.evaluation.data_choice import data_for

    face_set = data_for([opened(member) for member in members], data, path)
    chosen = network_ensemble(
        members, face_set.selection, name=name, how=how, views=views or "one", device=device, progress=progress
    )
    if test:
        chosen.subject().check_unsearched()  # before anything is written
    bundle = export_ensemble(chosen, onnx, face_set) if onnx is not None else None
    where = face_set.test if test else face_set.selection
    return evaluate(chosen, where, views="members", results=results, progress=progress), bundle


def _of_results(found: Sequence[Result], name: str, how: str, test: bool, results: str | Path | None) -> Result:
    """Of recorded results; the ledger is where the outcome belongs, too."""
    source = next((result.source for result in found if result.source is not None), None)
    folder = results or default_results(found[0].protocol, source)
    return ensemble_of_results(found, name=name, how=how, test=test, folder=folder)


def _check_recorded(onnx: str | Path | None, data: str | None, path: str | Path | None) -> None:
    if onnx is not None:
        raise InputError(
            "recorded results hold scores, no graphs; give the bundles (.onnx) to write one bundle of them"
        )
    if given := [option for option, value in (("--data", data), ("--path", path)) if value]:
        raise InputError(f"recorded results were measured already; leave out {' and '.join(given)}")


def _is_network(member: str | Path) -> bool:
    return Path(member).suffix == ".onnx" or Path(member).is_dir() or is_bundle_name(member)


def _is_result(member: str | Path) -> bool:
    return str(member) not in CARDS and is_reference(member)
