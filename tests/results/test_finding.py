"""Where a result lies that somebody names, and what is read where nobody names a folder."""

import logging
import shutil
from pathlib import Path

import pytest

from mien.errors import ResultError
from mien.results import Ledger
from mien.results.finding import load_recorded, locate
from mien.results.folders import folders
from mien.results.withdrawal import withdraw


@pytest.fixture
def twice(tmp_path, monkeypatch, invent):
    """One result in ``results``, ``my-results`` and a third folder, each with its ledger."""
    monkeypatch.chdir(tmp_path)
    result = invent(Path("results"))
    result.save("results")
    for other in ("my-results", "elsewhere"):
        shutil.copytree("results", other)
    return result


def test_by_default_both_folders_are_read(twice, invent, caplog):
    assert folders() == (Path("results"), Path("my-results"))
    assert [result.id for result in load_recorded()] == [twice.id]
    own = invent(Path("my-results"), system="compact")
    own.save("my-results")
    assert {result.id for result in load_recorded()} == {twice.id, own.id}
    assert {result.id for result in load_recorded("results")} == {twice.id}
    own.path("my-results").write_text("{")
    with caplog.at_level(logging.WARNING, logger="mien"):
        assert {result.id for result in load_recorded("results", "my-results")} == {twice.id}
    assert own.id in caplog.text


@pytest.mark.parametrize("folder", ["results", "my-results", "elsewhere"])
def test_a_path_says_which_folder_is_meant(twice, folder):
    found, where = locate(twice.path(folder))
    assert (found.id, where) == (twice.id, Path(folder).absolute())
    withdraw(twice.path(folder), None, "wrong")
    for each in ("results", "my-results", "elsewhere"):
        assert twice.path(each).exists() == (each != folder)
        assert bool(Ledger(Path(each, "ledger.jsonl")).withdrawn()) == (each == folder)


def test_an_id_is_looked_up_in_both(twice):
    assert locate(twice.id[:8])[1] == Path("results")
    assert locate(twice.id, "my-results")[1] == Path("my-results")
    shutil.rmtree("results")
    assert locate(twice.id)[1] == Path("my-results")
    withdraw(twice.id, None, "wrong")
    assert not twice.path("my-results").exists()


def test_a_file_that_lies_in_no_folder_of_results(twice):
    alone = Path(f"{twice.id}.json")
    for suffix in (".json", ".npz"):
        shutil.copy(twice.path("results").with_suffix(suffix), alone.with_suffix(suffix))
    with pytest.raises(ResultError, match=r"\.json lies in no folder of results"):
        locate(alone)
    assert locate(alone, "results")[1] == Path("results")
