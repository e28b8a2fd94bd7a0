"""FER+ votes as targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mien.datasets.ferplus_votes import COLUMNS, MODES, read_votes, targets
from mien.errors import DataError, InputError
from mien.results import facts


def one(votes: list[int], mode: str) -> list[float]:
    row = np.zeros((1, 10), np.uint8)
    row[0, : len(votes)] = votes
    return targets(row, mode)[0].astype(float).round(3).tolist()  # type: ignore[arg-type]


def test_majority_asks_for_more_than_half() -> None:
    assert one([6, 4], "majority") == [1, 0, 0, 0, 0, 0, 0, 0]
    assert one([5, 5], "majority") == [0] * 8
    assert one([5, 4, 1], "majority") == [1, 0, 0, 0, 0, 0, 0, 0]  # the lone vote does not count
    assert one([2, 0, 0, 0, 0, 0, 0, 0, 8], "majority") == [0] * 8


def test_probability_takes_the_most_frequent_answers() -> None:
    assert one([5, 3, 2], "probability") == [0.625, 0.375, 0, 0, 0, 0, 0, 0]
    assert one([4, 2, 2, 2], "probability") == [0] * 8  # a tie makes four
    assert one([6, 0, 0, 0, 0, 0, 0, 0, 4], "probability") == [1, 0, 0, 0, 0, 0, 0, 0]
    assert one([4, 0, 0, 0, 0, 0, 0, 0, 6], "probability") == [0] * 8


def test_multi_target_takes_all_with_three_tenths() -> None:
    assert one([4, 3, 3], "multi-target") == [0.4, 0.3, 0.3, 0, 0, 0, 0, 0]
    assert one([5, 3, 2], "multi-target") == [0.625, 0.375, 0, 0, 0, 0, 0, 0]
    assert one([2, 2, 2, 2, 2], "multi-target") == [0] * 8


def test_bad_votes_are_refused() -> None:
    with pytest.raises(InputError, match="not 'mean'"):
        one([1], "mean")
    with pytest.raises(InputError, match="not \\(3, 8\\)"):
        targets(np.zeros((3, 8), np.uint8))


def test_the_majority_is_that_of_the_packaged_facts(fer2013_npz: Path) -> None:
    votes = np.load(fer2013_npz)["votes"]
    found, known = targets(votes), facts.load("fer2013").ferplus_majority
    assert np.array_equal(found.any(axis=1), known != facts.NONE)
    assert np.array_equal(found.argmax(axis=1)[known != facts.NONE], known[known != facts.NONE])
    for mode in MODES:
        sums = targets(votes, mode).sum(axis=1)
        assert set(np.unique(sums.round(3))) == {0.0, 1.0}


def table(rows: int | None = None, end: str = "\n") -> list[str]:
    known = facts.load("fer2013")
    lines = ["Usage,Image name," + ",".join(COLUMNS)]
    lines += [f"{known.split_names[split]},fer.png,4,0,6,0,0,0,0,0,0,0" for split in known.splits]
    return lines[: None if rows is None else rows + 1]


def test_votes_are_joined_by_row(tmp_path: Path) -> None:
    path = tmp_path / "fer2013new.csv"
    path.write_text("\r\n".join(table()), encoding="utf-8", newline="")
    assert read_votes(path)[35886].tolist() == [4, 0, 6, 0, 0, 0, 0, 0, 0, 0]

    def refused(said: str, lines: list[str]) -> None:
        path.write_text("\n".join(lines), encoding="utf-8")
        with pytest.raises(DataError, match=said):
            read_votes(path)

    refused("it has 99 rows, FER2013 has 35,887", table(99))
    lines = table()
    refused("line 1: the header", lines[1:])
    refused("line 7: it holds no 10 counts", [*lines[:6], "Training,x.png,4,0,x,0,0,0,0,0,0,0", *lines[7:]])
    refused("line 7: it says 'PrivateTest'", [*lines[:6], "PrivateTest,x.png,4,0,6,0,0,0,0,0,0,0", *lines[7:]])
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no fer2013new"):
        read_votes(empty)
