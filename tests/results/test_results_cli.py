import json
import shutil
from pathlib import Path

import pytest

from mien.results import Ledger, load_all


@pytest.fixture
def folder(recorded, tmp_path, monkeypatch):
    shutil.copytree(recorded, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "results"


@pytest.fixture
def mien(capsys):
    """Run a command line: exit status, standard output, standard error."""
    from mien.cli import main

    def run(*argv):
        try:
            main(list(argv))
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        out, err = capsys.readouterr()
        return status, out, err

    return run


def test_list(folder, mien):
    status, out, _ = mien("results", "list", "--json")
    assert status == 0
    assert len(json.loads(out)["results"]) == 4
    assert json.loads(out)["openings"] == {"vggnet": 2, "compact": 2}
    status, out, _ = mien("results", "list")
    assert status == 0
    assert load_all(folder)[0].id in out
    assert "PrivateTest" in out


def test_verify_and_its_exit_status(folder, mien):
    status, out, _ = mien("results", "verify")
    assert status == 0
    assert "4 results recomputed, nothing to complain about" in out
    path = next(folder.rglob("*.json"))
    path.write_text(path.read_text().replace('"seed": ', '"seed": 1'))
    status, out, _ = mien("results", "verify", str(folder), "--json")
    assert status == 1
    assert "was changed" in json.loads(out)["findings"][0]["message"]
    status, _, err = mien("results", "verify", "nowhere")
    assert status == 2
    assert "nowhere is no folder" in err
    assert "Traceback" not in err


def test_verify_can_mend_a_torn_ledger(folder, mien):
    ledger = folder / "ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes() + b'{"half')
    status, out, _ = mien("results", "verify")
    assert status == 1
    assert "torn" in out
    assert mien("results", "verify", "--mend")[0] == 0


def test_diff(folder, mien):
    a, b = load_all(folder)[:2]
    status, out, _ = mien("results", "diff", a.id, str(b.path(folder)), "--json")
    assert status == 1
    assert json.loads(out)["metrics.accuracy"] == [a.metrics["accuracy"], b.metrics["accuracy"]]
    assert "Something that was measured differs" in mien("results", "diff", a.id, b.id)[1]
    status, out, _ = mien("results", "diff", a.id, a.id)
    assert status == 0
    assert "equal" in out
    status, _, err = mien("results", "diff", a.id, "zzzzzz")
    assert status == 2
    assert "mien results list" in err


def test_what_differs_in_how_it_came_about_alone_is_told_as_such(folder, mien, invent):
    one, other = (invent(folder, seed=9, created=f"2026-02-0{day}T12:00:00Z") for day in (1, 2))
    for result in (one, other):
        result.save(folder)
    status, out, _ = mien("results", "diff", one.id, other.id)
    assert status == 0
    assert "What was measured is equal; what differs says how it came about:" in out
    assert "created" in out


def test_compare(folder, mien):
    ids = [result.id for result in load_all(folder)]
    status, out, _ = mien("compare", *ids, "--diagram", "reliability.png")
    assert status == 0
    assert "compact is right on" in out
    assert (folder.parent / "reliability.png").is_file()
    status, out, _ = mien("compare", *ids, "--json")
    assert [row["name"] for row in json.loads(out)["rows"]] == ["compact", "vggnet"]
    assert json.loads(out)["sentences"]
    assert mien("compare", *ids, "--split", "train")[0] == 2


def test_nothing_is_withdrawn_from_a_ledger_that_never_recorded_it(folder, mien, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    path = str(load_all(folder)[0].path(folder))
    status, _, err = mien("results", "withdraw", path, "--reason", "wrong", "--results", str(elsewhere))
    assert status == 2
    assert "ever recorded" in err
    assert not (elsewhere / "ledger.jsonl").exists()
    assert Path(path).is_file()


def test_the_others_are_listed_beside_a_broken_one(folder, mien):
    first = load_all(folder)[0].path(folder).with_suffix(".npz")
    first.write_bytes(first.read_bytes()[:50])
    status, out, err = mien("results", "list", "--json")
    assert status == 1
    assert len(json.loads(out)["results"]) == 3
    assert first.name in err
    (broken,) = json.loads(out)["broken"]
    assert first.name in broken


def test_withdraw(folder, mien):
    result = load_all(folder)[0]
    assert mien("results", "withdraw", result.id, "--reason", "wrong split")[0] == 0
    assert Ledger(folder / "ledger.jsonl").lines()[-1]["reason"] == "wrong split"
    assert mien("results", "verify")[0] == 0


def test_withdraw_what_is_gone_already(folder, mien):
    result, other = load_all(folder)[:2]
    result.path(folder).unlink()
    result.path(folder).with_suffix(".npz").unlink()
    assert mien("results", "verify")[0] == 1
    assert mien("results", "withdraw", result.id[:12], "--reason", "recorded again") == (
        0,
        f"{result.id} of {result.system} is withdrawn; its openings stay counted.\n",
        "",
    )
    assert mien("results", "verify")[0] == 0
    assert mien("results", "withdraw", result.id, "--reason", "twice")[0] == 2
    assert mien("results", "withdraw", other.id, "--reason", " ")[0] == 2
    assert other.path(folder).is_file()


def test_docs(folder, mien):
    readme = folder.parent / "README.md"
    readme.write_text("<!-- mien:results value=accuracy -->?<!-- /mien:results -->\n")
    status, out, _ = mien("results", "docs", "--check")
    assert status == 1
    assert "README.md, line 1: is stale; run `mien results docs`" in out
    assert mien("results", "docs")[0] == 0
    assert " %" in readme.read_text()
    status, out, _ = mien("results", "docs", "--check", "--json")
    assert (status, json.loads(out)) == (0, [])


def test_submit_says_what_is_wrong_in_one_sentence(folder, mien):
    (folder.parent / "card.toml").write_text('title = "<script>"\n')
    status, _, err = mien("results", "submit", "p.csv", "--card", "card.toml")
    assert status == 2
    assert "card.toml: lacks system" in err
    assert "Traceback" not in err
