"""Charts are drawn from the rows, labels keep off each other, everything is escaped."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

pytest.importorskip("jinja2")

import invented_results
from mien.site import charts
from mien.site.badge import badge, badge_text
from mien.site.board import Board
from mien.site.mistakes import mistakes
from mien.site.svg import CHARACTER, Axis, element, place


@pytest.fixture
def board(made: list[Board]) -> Board:
    return made[0]


def parsed(svg: object) -> ET.Element:
    return ET.fromstring(str(svg))


def test_the_time_chart_marks_every_dated_row_and_the_records(board: Board) -> None:
    drawn = parsed(charts.over_time(board, lambda row: f"#{row.key}", width=760, height=400))
    marks = [str(mark.get("class")) for mark in drawn.iter("circle")]
    assert sum("record" in str(name) for name in marks) == 5
    assert marks.count("None") == len(board.measured)
    links = [link.get("href") for link in drawn.iter("a")]
    assert len(links) == len(set(links)) == sum(bool(row.date or row.year) for row in board.rows)
    assert all(link[0].tag == "title" and link[0].text for link in drawn.iter("a")), "a mark has a name"


def test_the_frontier_holds_measured_systems_only(board: Board) -> None:
    drawn = parsed(charts.against_cost(board, charts.COSTS[0], lambda row: "#", width=760, height=400))
    marks = [str(mark.get("class")) for mark in drawn.iter("circle")]
    assert marks.count("None") == sum(bool(row.measured and row.macs) for row in board.rows)


def test_a_cost_that_nobody_measured_gives_no_chart(board: Board) -> None:
    speed = next(cost for cost in charts.COSTS if cost.key == "speed")
    assert str(charts.against_cost(board, speed, lambda row: "#", width=760, height=400)) == ""


def test_the_frontier_is_what_nothing_beats() -> None:
    points = [(1.0, 60.0), (2.0, 70.0), (3.0, 65.0), (4.0, 70.0), (5.0, 72.0)]
    assert charts.frontier(points) == [(1, 60), (2, 70), (5, 72)]
    assert charts.frontier(points, more_is_better=True) == [(5, 72)]


def test_labels_cover_neither_each_other_nor_marks() -> None:
    wanted = [(100.0, 100.0 + 2 * k, "label") for k in range(9)]
    taken = [(x - 6, y - 6, x + 6, y + 6) for x, y, _ in wanted]
    found = [spot for spot in place(wanted, taken, (0, 0, 200, 200), 12) if spot]
    boxes = []
    for x, y, anchor, label in found:
        wide = CHARACTER * 12 * len(label)
        left = x - {"start": 0, "middle": wide / 2, "end": wide}[anchor]
        boxes.append((left, y - 9.6, left + wide, y + 3))
    assert 1 < len(boxes) < len(wanted), "some fit, and not all can"
    for at, a in enumerate(boxes):
        for b in boxes[at + 1 :] + taken:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_an_axis_ends_at_its_ends() -> None:
    axis = Axis(60, 80, 0, 100)
    assert [axis(60), axis(70), axis(80), axis(10), axis(99)] == [0, 50, 100, 0, 100]
    assert Axis(1, 100, 0, 100, log=True)(10) == pytest.approx(50)
    assert Axis(5, 5, 0, 100)(5) == 50


def test_texts_are_escaped() -> None:
    assert "<b>" not in element("text", x='"><b>')


def test_a_strip_shows_claim_and_measurement(board: Board) -> None:
    low, high = charts.shared_range(board)
    both = next(row for row in board.rows if row.measured and row.claim)
    assert both.measured is not None
    places = dict(part.split(":") for part in charts.strip(both, low, high).split(";"))
    assert list(places) == ["--c", "--m", "--l", "--h"]
    assert float(places["--l"]) < float(places["--m"]) < float(places["--h"])
    assert float(places["--m"]) == pytest.approx(
        100 * (100 * both.measured.accuracy.value - low) / (high - low), abs=0.06
    )
    stated = next(row for row in board.rows if row.claim and not row.measured)
    assert set(charts.strip(stated, low, high)) <= set("-c:0123456789.")


def test_a_narrow_chart_is_a_picture_without_links(board: Board) -> None:
    drawn = parsed(charts.over_time(board, None, width=380, height=400, class_="chart narrow"))
    assert drawn.get("role") == "img"
    assert drawn.get("aria-label")
    assert list(drawn.iter("a")) == []
    paths = {path.get("class"): str(path.get("d")) for path in drawn.iter("path")}
    assert paths["dots"].count("M") == len(board.measured)
    assert paths["rings record"].count("M") == 5


def test_reliability_and_training_curves(board: Board) -> None:
    row = next(row for row in board.rows if row.system == "compact")
    assert row.measured is not None
    assert len(list(parsed(charts.reliability(row.measured.first)).iter("circle"))) == 15
    log = [{"epoch": k, "selection_accuracy": 0.3 + 0.02 * k, "loss": 2.0 - 0.1 * k} for k in range(10)]
    curve = str(charts.training(log, 8))
    assert "kept: epoch 9, 46.0 %" in curve
    assert parsed(charts.losses(log)) is not None
    assert str(charts.training(log[:1], 0)) == ""


def test_mistakes_are_wrong_and_come_most_confident_first(board: Board) -> None:
    row = next(row for row in board.rows if row.system == "compact")
    assert row.measured is not None
    found = mistakes(row.measured.first)
    assert len(found) == 24
    assert all(face.said != face.label for face in found)
    assert [face.confidence for face in found] == sorted((face.confidence for face in found), reverse=True)
    assert all(face.image == "" for face in found)


def test_pictures_of_other_faces_are_not_shown(board: Board, faces: object) -> None:
    row = next(row for row in board.rows if row.system == "compact")
    assert row.measured is not None
    assert all(face.image == "" for face in mistakes(row.measured.first, faces)), "drawn faces are not FER2013"


def test_a_badge_says_rank_and_accuracy(board: Board) -> None:
    row = next(row for row in board.rows if row.system == "vggnet")
    said = badge_text(row, 3)
    assert re.fullmatch(r"#\d(–\d)? of 3 · \d\d\.\d %", said)
    assert re.fullmatch(r"\d\d\.\d %", badge_text(row, 1)), "nobody is first among one"
    drawn = ET.fromstring(badge(said))
    assert drawn.get("aria-label") == f"FER2013: {said}"
    assert invented_results.HOSTILE not in badge(invented_results.HOSTILE)
