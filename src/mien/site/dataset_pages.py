"""One page per data set, and their list."""

from __future__ import annotations

from typing import Any

from mien.site.board import Row
from mien.site.datasets import DataSet, class_counts, datasets, findings
from mien.site.frame import Frame
from mien.systems.claims import Claim, claims, publications

TASK = "Facial expression recognition"


def dataset_pages(frame: Frame) -> dict[str, bytes]:
    """Path → content: a page per data set, and the list of all."""
    made = {f"datasets/{name}.html": _dataset(frame, data) for name, data in datasets().items()}
    made["datasets/index.html"] = _datasets(frame)
    return made


def _dataset(frame: Frame, data: DataSet) -> bytes:
    fer2013 = data.id == "fer2013"
    stated = _about(data.id)
    return frame.page(
        "dataset.html.j2", "../", "datasets", data.title, f"{data.title}: {data.about}",
        data=data,
        paper=next((paper for paper in publications() if paper.id == data.paper), None),
        counts=class_counts() if fer2013 else None,
        findings=findings() if fer2013 else [],
        audit=frame.source.audit if fer2013 else [],
        boards=[frame.teaser(board, "../") for board in frame.boards if board.dataset == data.id],
        benchmarks=_benchmarks(frame, data.id, stated),
        latest=_latest(frame, data.id, stated),
    )  # fmt: skip


def _datasets(frame: Frame) -> bytes:
    items = []
    for name, data in datasets().items():
        stated = len(_about(name))
        text = ", ".join(part for part in (data.long, data.modality, str(data.year or "")) if part)
        row = f"{stated} {'claim' if stated == 1 else 'claims'}" if stated else ""
        items.append({"href": f"{name}.html", "title": data.title, "text": text, "row": row})
    about_all = "What the numbers are about, how to get it, and where its usual description errs."
    return frame.listing("datasets", "Data sets", about_all, [("", items)])


def _about(dataset: str) -> list[Claim]:
    return [claim for claim in claims() if claim.dataset == dataset]


def _tasks(claim: Claim) -> tuple[str, ...]:
    return claim.paper.tasks if claim.paper and claim.paper.tasks else (TASK,)


def _benchmarks(frame: Frame, dataset: str, stated: list[Claim]) -> list[dict[str, Any]]:
    """Per task and measure: how many claims, the highest of them, and the best of what was measured here."""
    found: dict[tuple[str, str], list[Claim]] = {}
    for claim in stated:
        for task in _tasks(claim):
            found.setdefault((task, claim.metric), []).append(claim)
    measured = [row for board in frame.boards if board.dataset == dataset for row in board.measured if row.claim]
    made = []
    for (task, metric), of_task in found.items():
        known = [claim for claim in of_task if claim.value is not None]
        own = [row for row in measured if row.claim in of_task and row.measured]
        best = max(own, key=lambda r: r.measured.accuracy.value if r.measured else 0.0) if own else None
        highest = max(known, key=lambda c: c.value or 0.0) if known else None
        made.append({"task": task, "metric": metric, "claims": len(of_task), "highest": highest, "best": best})
    return sorted(made, key=lambda entry: -int(entry["claims"]))


def _latest(frame: Frame, dataset: str, stated: list[Claim]) -> list[dict[str, Any]]:
    """Claims and what was measured without any, over all tasks, newest first."""
    made = [
        _entry(claim.model, claim.system, claim, frame.row_of(claim), claim.date or str(claim.year or ""))
        for claim in stated
    ]
    board = next((board for board in frame.boards if board.dataset == dataset), None)
    rows = [row for row in board.rows if row.claim is None] if board else []
    made += [_entry(row.name, row.system, None, row, row.date) for row in rows]
    return sorted(made, key=lambda entry: str(entry["date"]), reverse=True)


def _entry(name: str, system: str | None, claim: Claim | None, row: Row | None, date: str) -> dict[str, Any]:
    tasks = _tasks(claim) if claim else (TASK,)
    return {"name": name, "system": system, "claim": claim, "row": row, "date": date, "tasks": tasks}
