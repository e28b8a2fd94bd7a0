"""Writes the site and the committed tables: whole or not at all, and only over what it wrote itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien.errors import InputError, MienError
from mien.recognition.bundles import default_bundle
from mien.results import Ledger, documents, load_all
from mien.results.documents import DEFAULT_PROTOCOL
from mien.results.schema import LEDGER
from mien.site.audited import AuditTable, audit_tables
from mien.site.board import Board, Speed
from mien.site.board_rows import boards
from mien.site.frame import Source
from mien.site.listing import shipped_text
from mien.site.pages import pages
from mien.site.plain import board_table, csv_text
from mien.site.report import report, resolve
from mien.store import atomic_directory, write_text

MARKER = "site.json"
SCHEMA = "mien-site@1"
TABLES = ("docs/leaderboard.md", "docs/leaderboard.csv")
"""The tables that lie in the repository, relative to its root."""
SUMMARY = "src/mien/site/measured.json"
"""What ships of the results with the package (`mien.site.listing.SHIPPED`), in the repository of mien alone."""


@dataclass(frozen=True)
class Built:
    """What `build_site` wrote.

    Args:
        folder: where.
        pages: number of HTML pages.
        bytes: of all files together.
    """

    folder: Path
    pages: int
    bytes: int


def build_site(
    out: str | Path,
    results: str | Path = "results",
    *,
    runs: str | Path | None = None,
    faces: bool = False,
    audit: str | Path | None = None,
    speeds: Iterable[Speed] = (),
    url: str = "",
    on_progress: Callable[[int, int], None] | None = None,
) -> Built:
    """Build the leaderboard as static pages that work from a disk.

    Args:
        out: folder of the site; a site that was built there before is replaced, any other content is refused.
        results: folder with ledger.jsonl and the results.
        runs: folder with run folders, for training curves; those that do not belong to a result are ignored.
        faces: show the most confident mistakes as pictures, from the imported FER2013. Do not publish such a site:
            the licence of the images is unknown.
        audit: a recorded audit of FER2013.
        speeds: measured throughput.
        url: where the site will lie, for the badges' links.
        on_progress: called with (files done, files).

    Raises:
        InputError: ``results`` is no folder, ``out`` holds something else, or FER2013 is wanted but not imported.
        MissingExtraError: jinja2 is not installed.
    """
    out, results = Path(out), Path(results)
    _refuse_other_content(out)
    source = Source(
        results=_results(results),
        ledger=Ledger(results / LEDGER),
        speeds=tuple(speeds),
        logs=_logs(Path(runs)) if runs is not None else {},
        audit=_audit(audit),
        faces=_faces() if faces else None,
        url=url,
    )
    made = pages(source, results)
    made[MARKER] = (json.dumps({"schema": SCHEMA, "files": sorted(made)}, indent=1) + "\n").encode()
    with atomic_directory(out) as folder:
        for done, (name, content) in enumerate(made.items(), 1):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            if on_progress is not None:
                on_progress(done, len(made))
    return Built(out, sum(name.endswith(".html") for name in made), sum(map(len, made.values())))


def write_report(
    reference: str | Path,
    out: str | Path,
    *,
    results: str | Path | None = None,
    runs: str | Path = "runs",
    faces: bool = False,
    system: str | Path | None = None,
) -> int:
    """Write the report of a run or result as one HTML file.

    Args:
        reference: a run folder, a result's json, or the first digits of a result's id.
        out: the file.
        results: folder of the results; by default ``results`` and ``my-results``.
        runs: folder of the runs.
        faces: show the hardest faces as pictures, from the imported FER2013.
        system: of a run folder whose system is in a Python file: that file, which is executed.

    Returns:
        Its size in bytes.

    Raises:
        InputError: there is nothing of that name, or FER2013 is wanted but not imported.
    """
    subject = resolve(reference, results=results, runs=runs, system=system)
    text = report(subject, faces=_faces() if faces else None)
    write_text(out, text)
    return len(text.encode())


def recorded_speeds(about: Mapping[str, Any], rows: Iterable[Any]) -> list[Speed]:
    """Throughput of the default bundle from the recorded benchmark, if that measured this very bundle.

    Args:
        about: what `mien.bench.bench.recorded` says of the measurement.
        rows: its rows.
    """
    bundle = default_bundle()
    if about.get("bundle", {}).get("sha256") != bundle.card.sha256:
        return []
    machine = about.get("machine", {})
    device = f"{machine.get('processor', '')}, {machine.get('cores', '?')} cores"
    return [Speed(bundle.card.sha256, "one", row.median, device) for row in rows if row.id == "faces"]


def stale_tables(root: str | Path = ".", *, write: bool = False) -> list[str]:
    """Committed tables, and documents, that say something else than claims and results.

    Args:
        root: folder with README.md, docs/ and results/.
        write: bring them up to date.

    Returns:
        Paths relative to ``root`` that were, or with ``write`` have been, stale.
    """
    root = Path(root)
    if not (root / "docs").is_dir():
        raise InputError(f"{root} has no folder docs; call this in the root of the repository, or give --root")
    folder = root / "results"
    ledger = Ledger(folder / LEDGER)
    results = _results(folder)
    board = next(b for b in boards(results, ledger) if b.protocol == DEFAULT_PROTOCOL)
    wanted = dict(zip(TABLES, (_document(board), csv_text(board)), strict=True))
    if (root / SUMMARY).parent.is_dir():
        wanted[SUMMARY] = shipped_text(results)
    stale = []
    for name, text in wanted.items():
        path = root / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if write:
                write_text(path, text)
    shipped = {"default": default_bundle().card.sha256}
    filled = documents.fill(root, check=not write, shipped=shipped)
    return stale + [found.file.relative_to(root).as_posix() for found in filled]


def _document(board: Board) -> str:
    return (
        "# Leaderboard\n\n"
        "<!-- Generated by `mien leaderboard --tables`; change claims or results, then run it again. -->\n\n"
        "What papers and leaderboards claim for FER2013, beside what was measured here under\n"
        "[`fer2013/private@1`](concepts/protocol.md). An empty measured cell means: not measured here yet.\n"
        "Beside a number stand the recipe, epochs and input that it was reached with: one from a few epochs on small\n"
        "faces says nothing about its source's claim. A system has one row: of its results the one that PublicTest\n"
        "prefers, which need not be what is installed (see the [model card](model-card.md)).\n"
        "`mien leaderboard --out site` builds the same as pages with charts, filters and notes in full.\n\n"
        f"{board_table(board).markdown()}\n\n"
        "Claims are adapted from the Papers With Code archive under\n"
        "[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/), with additions of our own;\n"
        "the same table as [CSV](leaderboard.csv).\n"
    )


def _results(folder: Path) -> Sequence[Any]:
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; run this in a checkout of mien, which holds its results, or name yours"
        )
    return load_all(folder)


def _refuse_other_content(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; give a folder for the site")
    if out.is_dir() and any(out.iterdir()):
        try:
            known = json.loads((out / MARKER).read_text(encoding="utf-8")).get("schema") == SCHEMA
        except (OSError, ValueError, AttributeError):
            known = False
        if not known:
            raise InputError(f"{out} holds something that is no site of mien; give an empty or a new folder")


def _logs(folder: Path) -> Mapping[tuple[str, int], tuple[list[dict[str, Any]], int | None]]:
    from mien.training.run import Run

    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that holds the runs")
    found = {}
    for path in sorted(folder.glob("*/run.json")):
        try:
            run = Run.open(path.parent)
            if run.finished:
                found[run.recipe.hash, run.seed] = (run.log, run.info.get("best_epoch"))
        except (MienError, ValueError):
            continue  # somebody else's folder, or a run of an older recipe: no curve, nothing lost
    return found


def _audit(path: str | Path | None) -> list[AuditTable]:
    return audit_tables(path) if path is not None else []


def _faces() -> Any:
    from mien.datasets import load_dataset

    return load_dataset("fer2013")
