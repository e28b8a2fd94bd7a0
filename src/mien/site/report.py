"""The report of one run or result: a single HTML file that needs nothing else, to read, to send, to print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mien
from mien.errors import InputError
from mien.evaluation.groups import group_rows, known_groups
from mien.results import Result, protocols
from mien.results.comparison import compare
from mien.results.finding import find, load_recorded
from mien.results.provenance import source_words, trained_with, training_words
from mien.results.sentences import sentences
from mien.results.tables import preferred
from mien.site import charts
from mien.site.mistakes import mistakes
from mien.site.rendering import render
from mien.systems.described import described

if TYPE_CHECKING:
    from mien.datasets import FaceSet
    from mien.systems.card import Card
    from mien.training.run import Run


@dataclass(frozen=True)
class Subject:
    """What a report is about: a run, a result, or both where they belong together.

    Args:
        run: its training; None where its folder is not at hand.
        result: what was measured of it; None where nothing was.
        others: further results of the same training, under other views or as a bundle.
    """

    run: Run | None
    result: Result | None
    others: tuple[Result, ...] = ()


def resolve(
    reference: str | Path,
    *,
    results: str | Path | None = None,
    runs: str | Path = "runs",
    system: str | Path | Card | None = None,
) -> Subject:
    """The run and the results that a person means.

    Args:
        reference: a run folder, a result's json, or the first digits of a result's id.
        results: folder of the results; by default ``results`` and ``my-results``.
        runs: folder of the runs.
        system: of a run folder whose system is none of mien: its card, or its file, which is executed.

    Raises:
        InputError: there is nothing of that name.
        RunError: a run of a system that was fitted and is not given.
    """
    path = Path(reference)
    if (path / "run.json").is_file():
        run = _open(path, system)
        of_run = _of_training(load_recorded(results), run.recipe.hash, run.seed)
        best = preferred(of_run)
        return Subject(run, best, tuple(result for result in of_run if result is not best))
    if path.is_dir():
        raise InputError(f"{path} holds no run.json; give a run folder, a result's json or the digits of its id")
    if system is not None:
        raise InputError(f"--system FILE belongs to a run folder, and {path} is none")
    result = find(reference, results)
    siblings = _of_training(load_recorded(results), result.recipe_hash, result.seed)
    return Subject(_run_of(result, Path(runs)), result, tuple(other for other in siblings if other.id != result.id))


def report(subject: Subject, *, faces: FaceSet | None = None) -> str:
    """The page.

    Args:
        subject: what it is about.
        faces: the face set it was measured on, for pictures of its mistakes; without it they are rows of a table.
    """
    run, result = subject.run, subject.result
    compared = compare([result]) if result is not None else None
    system = run.system if run else result.system if result else ""
    about = described().get(system)
    title = about.title if about else system
    recipe = run.recipe.to_toml().strip() if run else _flat(result.recipe) if result else ""
    log = run.log if run else []
    groups, hint = known_groups(result) if result else ([], "")
    return render(
        "report.html.j2",
        groups=group_rows(groups) if groups else None,
        groups_hint=hint,
        class_mean=_class_mean(result),
        title=title,
        style=files("mien.site").joinpath("assets", "site.css").read_text(encoding="utf-8"),
        version=mien.__version__,
        run=run,
        log=log,
        last=log[-1] if log else None,
        result=result,
        row=compared.rows[0] if compared else None,
        split="the test split" if result and result.test is not None else "the selection split",
        sealed=result is not None and result.test is None,
        others=subject.others,
        curve=charts.training(log, run.info.get("best_epoch")) if run else "",
        loss=charts.losses(log) if run else "",
        reliability=charts.reliability(result) if result else "",
        mistakes=mistakes(result, faces) if result else [],
        said=sentences(compared) if compared else [],
        cost=dict(result.cost if result else run.info.get("cost", {}) if run else {}),
        environment=_environment(run, result),
        recipe=recipe,
    )


def _class_mean(result: Result | None) -> float | None:
    """Mean of the classes' recalls, where the field reports it beside accuracy, or labels differ from the system's."""
    if result is None or not (protocols.get(result.protocol).class_mean or result.across is not None):
        return None
    found = result.metrics.get("balanced_accuracy", result.metrics.get("selection_balanced_accuracy"))
    return None if found is None else float(found)


def _open(path: Path, system: str | Path | Card | None = None) -> Run:
    from mien.training.run import Run

    return Run.open(path, system)


def _of_training(results: Sequence[Result], recipe_hash: str, seed: int | None) -> list[Result]:
    return [result for result in results if result.recipe_hash == recipe_hash and result.seed == seed]


def _run_of(result: Result, folder: Path) -> Run | None:
    """The training behind a result, where its folder is at hand."""
    if result.kind not in ("run", "bundle") or not folder.is_dir():
        return None
    for path in sorted(folder.glob("*/run.json")):
        try:
            run = _open(path.parent)
        except Exception:
            continue
        if run.recipe.hash == result.recipe_hash and run.seed == result.seed:
            return run
    return None


def _environment(run: Run | None, result: Result | None) -> dict[str, str]:
    about: dict[str, Any] = dict(result.environment if result else run.info.get("environment", {}) if run else {})
    versions = about.pop("versions", {})
    flat = {str(key): str(value) for key, value in about.items()}
    flat |= {name: str(version) for name, version in versions.items()}
    trained = result.training_words if result else training_words(trained_with(run.info)) if run else ""
    if result:
        flat["measured with"] = source_words({"commit": result.commit, "dirty": result.dirty})
    return {**flat, **({"trained with": trained} if trained else {})}


def _flat(tree: Any, prefix: str = "") -> str:
    lines = []
    for key, value in sorted(tree.items()):
        lines.append(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else f"{prefix}{key} = {value}")
    return "\n".join(line for line in lines if line)
