"""One page per paper, and their list."""

from __future__ import annotations

from typing import Any

from mien.site.frame import Frame
from mien.systems.claims import Claim, Code, Publication, claims, publications
from mien.systems.described import described


def paper_pages(frame: Frame) -> dict[str, bytes]:
    """Path → content: a page per paper that states a claim, and the list of all."""
    made = {f"papers/{paper.id}.html": _paper(frame, paper) for paper in publications()}
    made["papers/index.html"] = _papers(frame)
    return made


def _paper(frame: Frame, paper: Publication) -> bytes:
    stated = _stated(paper)
    return frame.page(
        "paper.html.j2", "../", "papers", paper.title,
        f"What {paper.title} claims, and what was measured here.",
        paper=paper,
        code=_repositories(paper, stated),
        rows=[(claim, frame.row_of(claim)) for claim in stated],
        here=_here(frame, stated),
    )  # fmt: skip


def _papers(frame: Frame) -> bytes:
    items = []
    for paper in sorted(publications(), key=lambda p: p.date or str(p.year or ""), reverse=True):
        sets = dict.fromkeys(frame.titles[c.dataset] for c in _stated(paper))
        who = paper.authors[0] + (" and others" if len(paper.authors) > 1 else "") if paper.authors else ""
        when = paper.date or str(paper.year or "")
        items.append(
            {
                "href": f"{paper.id}.html",
                "title": paper.title,
                "text": " · ".join(part for part in (who, when, paper.venue) if part),
                "row": ", ".join(sets),
            }
        )
    return frame.listing("papers", "Papers", "Every paper with a claim on a board, newest first.", [("", items)])


def _stated(paper: Publication) -> list[Claim]:
    return [c for c in claims() if c.paper is paper or paper in c.further_papers]


def _repositories(paper: Publication, stated: list[Claim]) -> list[Code]:
    """Every repository of the paper and of its claims once, official ones first."""
    found: dict[str, Code] = {}
    for code in (*paper.code, *(code for claim in stated for code in claim.code)):
        found.setdefault(code.url, code)
    return sorted(found.values(), key=lambda code: not code.official)


def _here(frame: Frame, stated: list[Claim]) -> list[dict[str, Any]]:
    """The systems of the paper that mien builds: measured ones with their row, the others as not measured yet."""
    found = []
    for system in dict.fromkeys(claim.system for claim in stated if claim.system):
        about = described().get(system)
        row = frame.head(system)
        claim = next((c for c in stated if c.system == system and c.dataset == "fer2013" and c.value is not None), None)
        gap = None
        if row and row.measured and claim and claim.value is not None:
            gap = 100 * row.measured.accuracy.value - claim.value
        if about or row:
            name = about.title if about else row.name if row else system
            found.append({"id": system, "name": name, "about": about, "row": row, "gap": gap})
    return found
