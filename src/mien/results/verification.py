"""Do the recorded results hold? Everything is recomputed, nothing is believed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mien.errors import MienError, ResultError
from mien.results.averages import check_average, check_members
from mien.results.growth import grown
from mien.results.ledger import Ledger, Opening
from mien.results.provenance import TRAININGS, noted_trainings
from mien.results.schema import LEDGER, Result
from mien.results.validation import check_opening

_BUILT = ("run", "bundle", "classical", "clustering")
"""Kinds whose system is in the registry; an ensemble names its own recipe, a submission its author's system."""

TOLERANCE = 2e-6
"""Recorded metrics have six decimals; another machine's logarithm may move the last one."""


@dataclass(frozen=True)
class Finding:
    """Something that does not hold.

    Args:
        file: where, relative to the folder.
        message: what, and what to do.
    """

    file: str
    message: str


@dataclass(frozen=True)
class Verification:
    """What `verify` found.

    Args:
        results: the results that hold, in order of their path.
        findings: everything that does not.
        openings: openings of sealed splits per system.
        head: hash of the ledger's last line.
    """

    results: tuple[Result, ...]
    findings: tuple[Finding, ...]
    openings: dict[str, int]
    head: str

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def summary(self) -> str:
        """One line for people."""
        if not self.results and not self.findings and not self.openings:
            return "There are no results here, and nothing in the ledger: nothing was checked."
        count = len(self.findings)
        found = f"{count} finding{'s' * (count != 1)}" if count else "nothing to complain about"
        total = sum(self.openings.values())
        opened = f"{total} by {len(self.openings)} systems (`mien results list`)" if total else "none"
        return f"{len(self.results)} results recomputed, {found}. Openings of sealed splits: {opened}."

    def to_json(self) -> dict[str, Any]:
        """Plain values for programs."""
        return {
            "holds": self.holds,
            "results": [{"id": r.id, "protocol": r.protocol, "system": r.system} for r in self.results],
            "findings": [{"file": f.file, "message": f.message} for f in self.findings],
            "openings": self.openings,
            "ledger_head": self.head,
        }


def paths(folder: str | Path) -> Iterator[Path]:
    """The json files of all results under a folder, sorted."""
    yield from sorted(path for path in Path(folder).rglob("*.json") if not path.name.startswith("."))


def load_all(folder: str | Path, on_error: Callable[[MienError], None] | None = None) -> list[Result]:
    """Every result under ``folder``.

    What ``trainings.toml`` there notes of their trainings is added to those that do not say it themselves.

    Args:
        folder: of the results.
        on_error: told of each that cannot be read, which is then left out; without it the first one raises.

    Raises:
        ResultError: one cannot be read; the message names it.
    """
    noted, results = noted_trainings(folder), []
    for path in paths(folder):
        try:
            results.append(Result.load(path))
        except MienError as error:
            if on_error is None:
                raise
            on_error(error)
    return [replace(r, noted=noted.get(r.weights_sha256)) if r.trained is None else r for r in results]


def verify(
    folder: str | Path,
    *,
    systems: Container[str] | None = None,
    ensembles: Mapping[str, Collection[str]] | None = None,
    ranked: bool = False,
    against: str | None = None,
) -> Verification:
    """Recompute every metric of every result under ``folder`` from its predictions, and follow the ledger.

    Args:
        folder: with ``ledger.jsonl`` and the results below it.
        systems: ids of known systems; a result of another one is a finding, unless it is about own data or says whose
            file it is of (``source``). Ensembles and submissions have names of their own; one that is called like a
            system is a finding. None: not checked.
        ensembles: of those systems the ones that are ensembles: id → members, ``system:seed``.
        ranked: also refuse results about own data and of own systems, as the project's own folder has to.
        against: a git revision since which ledger and results may only have grown (`mien.results.growth.grown`).

    Raises:
        ResultError: ``folder`` is no folder.
        InputError: git knows no such revision.

    Example:
        >>> import tempfile
        >>> verify(tempfile.mkdtemp()).holds
        True
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ResultError(f"{folder} is no folder; results lie in a folder with {LEDGER}")
    findings: list[Finding] = []
    ledger = Ledger(folder / LEDGER)
    openings: dict[str, Opening] = {}
    recorded: dict[str, dict[str, Any]] = {}
    counts: dict[str, int] = {}
    head = ""
    try:
        openings = {opening.hash: opening for opening in ledger.openings()}
        recorded, counts, head = ledger.recorded(), ledger.counts(), ledger.head()
        ledger_holds = True
    except MienError as error:
        findings.append(Finding(LEDGER, str(error)))
        ledger_holds = False
    if not ledger.path.is_file() and next(paths(folder), None) is not None:
        findings.append(Finding(LEDGER, "is missing; put back the one that these results were recorded with"))
        ledger_holds = False
    good: list[Result] = []
    seen: set[str] = set()
    used: dict[str, str] = {}
    for path in paths(folder):
        name = path.relative_to(folder).as_posix()
        seen.add(path.stem)
        try:
            result = Result.load(path)
            if path != result.path(folder):
                raise ResultError(f"belongs at {result.path(folder).relative_to(folder).as_posix()}")
            _check_metrics(result)
            if ledger_holds:
                _check_ledger(result, openings, recorded, used)
            if systems is not None:
                _check_system(result, systems, ensembles or {}, ranked)
            if ranked:
                _check_ranked(result)
        except MienError as error:
            findings.append(Finding(name, str(error).removeprefix(f"{path}: ").removeprefix(f"{path} ")))
        else:
            good.append(result)
    try:
        noted_trainings(folder)
    except MienError as error:
        findings.append(Finding(TRAININGS, str(error)))
    good, unproven = _averaged(good, folder)
    findings += unproven
    findings += _missing(recorded, seen)
    findings += _strays(folder)
    if against is not None and ledger_holds:
        findings += [Finding(*found) for found in grown(folder, against)]
    return Verification(tuple(good), tuple(findings), counts, head)


def difference(a: Result, b: Result) -> dict[str, tuple[Any, Any]]:
    """What differs between two results: field (``metrics.accuracy``, …) → the two values.

    ``decisions`` counts the test (or selection) faces on which they disagree, where both have the same faces.
    """
    first, second = _flat(a.to_json()), _flat(b.to_json())
    found = {
        key: (first.get(key), second.get(key)) for key in sorted({*first, *second}) if first.get(key) != second.get(key)
    }
    for side in ("test", "selection"):
        x, y = getattr(a, f"{side}_scores"), getattr(b, f"{side}_scores")
        if x is not None and y is not None and np.array_equal(a.arrays[f"{side}_rows"], b.arrays[f"{side}_rows"]):
            disagree = int((x.argmax(axis=1) != y.argmax(axis=1)).sum())
            if disagree:
                found[f"{side}_decisions"] = (disagree, len(x))
    return found


def measured_differs(found: dict[str, tuple[Any, Any]]) -> bool:
    """Whether a `difference` is about what was measured, not only about how and when."""
    return any(
        key.endswith("_decisions")
        or key == "confusion"
        or (key.startswith("metrics.") and not _close(*(list(x) if isinstance(x, tuple) else x for x in values)))
        for key, values in found.items()
    )


def _check_metrics(result: Result) -> None:
    metrics, confusion = result.recompute()
    if set(metrics) != set(result.metrics):
        odd = sorted(set(metrics) ^ set(result.metrics))
        raise ResultError(f"metrics: {', '.join(odd)} should not be there, or are missing")
    for name, value in metrics.items():
        if not _close(value, result.metrics[name]):
            raise ResultError(f"metrics.{name} says {result.metrics[name]!r}, the predictions give {value!r}")
    if confusion != result.confusion:
        raise ResultError("the confusion matrix is not the one that the predictions give")


def _close(a: Any, b: Any) -> bool:
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(_close(x, y) for x, y in zip(a, b, strict=True))
    if a is None or b is None:
        return a is b
    if isinstance(b, bool) or not isinstance(b, int | float):
        return False
    return bool(abs(a - b) <= TOLERANCE * max(1.0, abs(a)))


def _check_ledger(
    result: Result, openings: dict[str, Opening], recorded: dict[str, dict[str, Any]], used: dict[str, str]
) -> None:
    if result.opening is not None:
        if result.opening not in openings:
            raise ResultError(
                f"the ledger notes no opening {result.opening[:16]}…, so the test split was never opened for it"
            )
        check_opening(result.to_json(), openings[result.opening])
        if result.opening in used:
            raise ResultError(f"shares its opening with {used[result.opening]}; each result has its own")
        used[result.opening] = result.id
    line = recorded.get(result.id)
    if line is None:
        raise ResultError(
            "the ledger does not list it among the recorded results; save it with mien, do not copy files"
        )
    if (line["protocol"], line["system"]) != (result.protocol, result.system):
        raise ResultError("the ledger lists it under another protocol or system")


def _check_system(
    result: Result, systems: Container[str], ensembles: Mapping[str, Collection[str]], ranked: bool
) -> None:
    own = _about_own_data(result)  # nobody else measures on it, so the code of the system is its owner's business
    if own and result.kind in _BUILT:
        return
    owned = result.source is not None
    if ranked and owned:
        raise ResultError(
            "is of a system in a file or class of its owner's; results that are ranked need theirs in the registry: "
            "add it (see CONTRIBUTING.md), or submit its predictions (`mien results submit`)"
        )
    built = [result.system] if result.kind in _BUILT else []
    built += [str(member["system"]) for member in result.recipe.get("members", ()) if member.get("kind") in _BUILT]
    if unknown := [name for name in built if name not in systems and not owned and not own]:
        raise ResultError(
            f"no system is called {unknown[0]!r}; results of public protocols need theirs in the registry: "
            "add it (see CONTRIBUTING.md), or submit its predictions (`mien results submit`)"
        )
    if result.kind in _BUILT:
        if owned and result.system in systems:
            raise ResultError(
                f"is of a file or class of its owner's and not of the system {result.system} of the registry; measure "
                "that one"
            )
    elif result.system in systems:
        if result.kind != "ensemble":
            raise ResultError(f"is {result.kind} under the name of the system {result.system}; it needs its own")
        check_members(result, ensembles.get(result.system))


def _averaged(results: list[Result], folder: Path) -> tuple[list[Result], list[Finding]]:
    """The results whose members prove them, where they have any, and findings about the others."""
    good, findings = [], []
    known = {result.id: result for result in results}
    for result in results:
        try:
            if result.kind == "ensemble":
                check_average(result, known)
        except MienError as error:
            findings.append(Finding(result.path(folder).relative_to(folder).as_posix(), str(error)))
        else:
            good.append(result)
    return good, findings


def _check_ranked(result: Result) -> None:
    if _about_own_data(result):
        raise ResultError("is about own data; the project's results are about public protocols")


def _about_own_data(result: Result) -> bool:
    return result.protocol.startswith("own/")


def _missing(recorded: dict[str, dict[str, Any]], seen: set[str]) -> list[Finding]:
    return [
        Finding(
            f"{line['protocol']}/{line['system']}/{id}.json",
            "was recorded and is gone; put it back, or note why with `mien results withdraw`",
        )
        for id, line in recorded.items()
        if id not in seen
    ]


def _strays(folder: Path) -> list[Finding]:
    return [
        Finding(path.relative_to(folder).as_posix(), "are predictions without a result; remove them")
        for path in sorted(folder.rglob("*.npz"))
        if not path.with_suffix(".json").exists()
    ]


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{prefix}{key}.").items()}
    return {prefix.rstrip("."): value}
