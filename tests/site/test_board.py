"""Boards: claims and results side by side, never mixed; ranks, headlines and records follow their rules."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("jinja2")

import invented_results
from mien.results import Ledger, load_all
from mien.site.board import Board, day, slug
from mien.site.board_rows import boards, records
from mien.systems.claims import Claim, claims


def test_there_is_a_board_for_every_data_set_with_claims(made: list[Board]) -> None:
    assert [board.dataset for board in made] == ["fer2013", "ckplus", "ferg", "jaffe", "expw", "rafdb", "affectnet"]
    assert made[0].protocol == "fer2013/private@1"
    assert [len(board.claimed) for board in made[1:]] == [1] * 6


def test_every_claim_has_a_row_and_an_unmeasured_one_an_empty_cell(made: list[Board]) -> None:
    rows = {row.name: row for row in made[0].rows}
    assert {c.model for c in claims(dataset="fer2013") if c.metric == "accuracy"} <= set(rows)
    assert rows["EfficientFER"].measured is None
    assert rows["EfficientFER"].gap is None


def test_a_claim_and_a_result_of_one_system_share_a_row_but_no_field(made: list[Board]) -> None:
    row = next(row for row in made[0].rows if row.system == "vggnet")
    assert row.claim is not None
    assert row.measured is not None
    assert row.claim.value == 73.28
    assert row.measured.accuracy.low < row.measured.accuracy.value < row.measured.accuracy.high
    assert row.gap == pytest.approx(100 * row.measured.accuracy.value - 73.28)


def test_the_headline_of_a_system_is_what_the_selection_split_prefers(made: list[Board]) -> None:
    for system in ("vggnet", "compact"):
        headline, *further = made[0].of_system(system)
        assert headline.measured is not None
        chosen = [r.metrics["selection_accuracy"] for r in headline.measured.results]
        for row in further:
            assert row.measured is not None
            other = [r.metrics["selection_accuracy"] for r in row.measured.results]
            assert sum(chosen) / len(chosen) >= sum(other) / len(other)
            assert row.measured.rank is None, "one row per system is ranked"
            assert row.claim is None, "a claim stands once"


def test_seeds_are_one_row_with_their_spread(made: list[Board]) -> None:
    row = next(row for row in made[0].rows if row.system == "vggnet")
    assert row.measured is not None
    assert len(row.measured.results) == 2
    assert row.measured.spread is not None


def test_ranks_cover_the_measured_systems_only(made: list[Board]) -> None:
    ranks = [row.measured.rank for row in made[0].measured if row.measured]
    assert len(ranks) == 3
    for rank in ranks:
        assert rank is not None
        assert 1 <= rank[0] <= rank[1] <= 3


def test_a_submission_is_ranked_but_never_the_headline_of_the_board(made: list[Board]) -> None:
    submitted = next(row for row in made[0].rows if row.system == "my-network")
    assert submitted.measured is not None
    assert submitted.name == invented_results.HOSTILE
    assert submitted.measured.rank is not None
    assert [row.system for row in made[0].rows if row.preferred] in (["vggnet"], ["compact"])


def test_a_submission_takes_no_systems_row(tmp_path: Path) -> None:
    measured = invented_results.invent(tmp_path, "vggnet", skill=0.6)
    invented_results.submit(tmp_path, system="vggnet", title="Mine", skill=0.9)
    rows = [row for row in boards(load_all(tmp_path), Ledger(tmp_path / "ledger.jsonl"))[0].rows if row.measured]
    assert {row.name: row.measured and row.measured.first.kind for row in rows if row.name == "Mine"} == {
        "Mine": "submitted"
    }
    claims = [row.measured for row in rows if row.claim and row.measured]
    assert claims
    assert all(found.first.id == measured.id for found in claims)


def test_openings_are_counted_per_system(made: list[Board]) -> None:
    counted = {row.system: row.measured.openings for row in made[0].rows if row.measured}
    assert counted == {"vggnet": 4, "compact": 2, "my-network": 1}
    assert made[0].openings == 7


def test_a_speed_belongs_to_its_weights_and_view(made: list[Board]) -> None:
    rows = [row for row in (*made[0].rows, *made[0].further) if row.system == "compact"]
    speeds = {row.measured.first.views: row.measured.speed for row in rows if row.measured}
    assert speeds["one"] is not None
    assert speeds["one"].faces_per_second == 1234
    assert speeds["flip"] is None


def test_keys_are_unique_and_safe(made: list[Board]) -> None:
    keys = [row.key for row in made[0].rows]
    assert len(set(keys)) == len(keys)
    assert all(slug(key) == key for key in keys)


def test_measured_rows_come_first_then_claims_from_the_highest(made: list[Board]) -> None:
    rows = made[0].rows
    values = [row.measured.accuracy.value for row in rows if row.measured]
    assert values == sorted(values, reverse=True)
    assert [bool(row.measured) for row in rows] == sorted((bool(row.measured) for row in rows), reverse=True)
    stated = [row.claim.value for row in rows if not row.measured and row.claim and row.claim.value is not None]
    assert stated == sorted(stated, reverse=True)


def test_only_dated_claims_set_records() -> None:
    stated = [
        Claim("d", "accuracy", "a", 60.0, date="2013-01-01"),
        Claim("d", "accuracy", "undated", 90.0, year=2014),
        Claim("d", "accuracy", "lower", 59.0, date="2015-01-01"),
        Claim("d", "accuracy", "b", 61.0, date="2016-01-01"),
        Claim("d", "accuracy", "level", 61.0, date="2017-01-01"),
    ]
    assert [claim.model for claim in records(stated)] == ["a", "b"]


def test_of_two_claims_on_one_day_the_higher_sets_the_record() -> None:
    stated = [Claim("d", "accuracy", name, value, date="2016-12-09") for name, value in (("a", 72.7), ("b", 75.2))]
    assert [claim.model for claim in records(stated)] == ["b"]


def test_days_are_fractions_of_a_year() -> None:
    assert day("2020-01-01") == 2020
    assert 2020.99 < day("2020-12-31") < 2021
