"""All pages of the site as path → content; nothing is read but what is handed in and what the package carries."""

from __future__ import annotations

import itertools
from importlib.resources import files
from pathlib import Path

from mien.site.board_page import board_page
from mien.site.dataset_pages import dataset_pages
from mien.site.frame import Frame, Source
from mien.site.paper_pages import paper_pages
from mien.site.plain import csv_text
from mien.site.system_pages import system_pages

COLUMNS = (
    ("Claimed", "What the paper or the leaderboard states, with its place on the leaderboard of FER2013 there."),
    ("Measured", "Accuracy on PrivateTest with its 95 % interval, by resampling groups of equal images; ± is the "
     "standard deviation over seeds."),
    ("Rank", "The places a system may truly have among all measured here: 95 % for the whole table at once (pairwise "
     "tests, Holm). Two systems whose ranks overlap cannot be told apart by these faces."),
    ("SOTA", "The claim was the highest of all dated ones when it was made. Claims without a day take no part."),
    ("Extra data", "Everything beyond the Training split. For a measured row: what was used here; else what the claim "
     "is known to use. “unknown” stands for what is not disclosed."),
    ("View", "The views of a face whose scores are averaged: one (the face), flip (and its mirror image), ten crops."),
    ("MACs", "Multiply-accumulates of convolutions and linear layers for one face. Not the same as time."),
    ("Faces per second", "Measured with the same weights, precision and view as the accuracy beside it, or empty."),
    ("Openings", "How often the test split was opened for the system. Every look at a test split makes it a little "
     "less of one."),
)  # fmt: skip


def pages(source: Source, folder: str | Path | None = None) -> dict[str, bytes]:
    """Every file of the site.

    Args:
        source: what it is made from.
        folder: of the results: their files are offered for download. None leaves them out.
    """
    frame = Frame(source)
    made: dict[str, bytes] = {}
    for board in frame.boards:
        made[frame.path(board)] = board_page(frame, board)
        made[f"data/{board.slug}.csv"] = b"\xef\xbb\xbf" + csv_text(board).encode()
    made |= system_pages(frame) | paper_pages(frame) | dataset_pages(frame)
    made["about.html"] = frame.page(
        "about.html.j2", "", "about", "How to read this", "What is claimed, what is measured, and by which rules",
        columns=COLUMNS,
    )  # fmt: skip
    for name in ("site.css", "site.js"):
        made[f"assets/{name}"] = files("mien.site").joinpath("assets", name).read_bytes()
    return made | (_downloads(frame, Path(folder)) if folder is not None else {})


def _downloads(frame: Frame, folder: Path) -> dict[str, bytes]:
    made = {}
    for row in itertools.chain.from_iterable((*board.rows, *board.further) for board in frame.boards):
        for result in row.measured.results if row.measured else ():
            path = result.path(folder)
            made[f"data/{result.id}.json"] = path.read_bytes()
            made[f"data/{result.id}.npz"] = path.with_suffix(".npz").read_bytes()
    return made
