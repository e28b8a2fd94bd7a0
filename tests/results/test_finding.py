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
    assert (found.id, where) == (twice.id, Path(folder).resolve())
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


def test_a_name_that_fits_several_withdraws_none(twice, invent):
    """Neither of two that are there, nor one that is gone and begins likewise."""
    others = [invent(Path("my-results"), system="compact", seed=seed) for seed in range(24)]
    for other in others:
        other.save("my-results")
    ledger = Ledger(Path("my-results/ledger.jsonl"))
    letter = next(a for a in "0123456789abcdef" if sum(id.startswith(a) for id in ledger.recorded()) > 1)
    with pytest.raises(ResultError, match="four digits"):
        withdraw(letter, None, "wrong")
    alike = {**{f"{'0' * 15}{n}": {"id": f"{'0' * 15}{n}", "protocol": "a/b@1", "system": "x"} for n in range(2)}}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Ledger, "recorded", lambda self: alike)
        with pytest.raises(ResultError, match=r"'0{8}' begins 2 ids; type more of it"):
            withdraw("0" * 8, None, "wrong")
    assert not ledger.withdrawn()


def test_what_is_gone_or_damaged_is_withdrawn_by_its_path(twice):
    path = twice.path("my-results")
    path.with_suffix(".npz").unlink()
    assert withdraw(path, None, "damaged")["id"] == twice.id
    assert not path.exists()
    path = twice.path("elsewhere")
    path.unlink()
    assert withdraw(path, None, "gone")["id"] == twice.id
    assert not Ledger(Path("results/ledger.jsonl")).withdrawn()


def test_an_id_is_an_id_also_beside_a_file_that_is_called_like_it(twice):
    shutil.copy(twice.path("results"), f"{twice.id}.json")
    assert locate(twice.id)[1] == Path("results")


def test_a_path_may_go_up_and_down(twice, monkeypatch):
    monkeypatch.chdir(twice.path("results").parent)
    assert locate(Path("..", twice.system, f"{twice.id}.json"))[1] == Path("../../../../results").resolve()


def test_a_file_that_lies_in_no_folder_of_results(twice):
    alone = Path(f"{twice.id}.json")
    for suffix in (".json", ".npz"):
        shutil.copy(twice.path("results").with_suffix(suffix), alone.with_suffix(suffix))
    with pytest.raises(ResultError, match=r"\.json lies in no folder of results"):
        locate(alone)
    assert locate(alone, "results")[1] == Path("results")
