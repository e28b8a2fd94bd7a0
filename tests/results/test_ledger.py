import json
import multiprocessing
import time

import pytest

from mien.errors import ResultError
from mien.results import Ledger
from mien.results.canonical import canonical_json, content_hash

ABOUT = ("fer2013/private@1", "PrivateTest", "vggnet", "run", "ab", "cd", "one", "ef")


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "results" / "ledger.jsonl")
    for system in ("vggnet", "compact", "vggnet"):
        ledger.open_split(*ABOUT[:2], system, *ABOUT[3:])
    ledger.record("fer2013/private@1", "vggnet", "0123456789abcdef")
    return ledger


def edit(ledger, change):
    lines = ledger.path.read_text().splitlines()
    ledger.path.write_text("\n".join(change(lines)) + "\n")


def test_openings_are_counted_and_chained(ledger):
    first, second, third = ledger.openings()
    assert (first.number, first.previous) == (1, "0" * 64)
    assert second.previous == first.hash
    assert third.previous == second.hash
    assert ledger.counts() == {"vggnet": 2, "compact": 1}
    assert ledger.counts(protocol="ferplus/majority@1") == {}
    assert ledger.head() == ledger.lines()[-1]["hash"] != third.hash
    assert list(ledger.recorded()) == ["0123456789abcdef"]


def test_no_file_is_an_empty_ledger(tmp_path):
    assert Ledger(tmp_path / "none.jsonl").lines() == []
    assert not (tmp_path / "none.jsonl").exists()


def test_an_opening_is_on_disk_before_it_is_handed_out(ledger, monkeypatch):
    synced = []
    monkeypatch.setattr("os.fsync", synced.append)
    opening = ledger.open_split(*ABOUT)
    assert synced
    assert json.loads(ledger.path.read_text().splitlines()[-1])["hash"] == opening.hash


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda lines: lines[1:], "line 1 does not follow"),
        (lambda lines: [lines[0], *lines[2:]], "line 2 does not follow"),
        (lambda lines: [lines[0], lines[2], lines[1], lines[3]], "line 2 does not follow"),
        (lambda lines: [lines[0].replace("vggnet", "ggvnet"), *lines[1:]], "line 1 was changed"),
        (lambda lines: [lines[0].replace('":"', '": "'), *lines[1:]], "line 1 was reformatted"),
        (lambda lines: [lines[0], "{}", *lines[1:]], "line 2 has fields"),
        (lambda lines: [lines[0], "", *lines[1:]], "line 2 is no JSON"),
        (lambda lines: [*lines, lines[-1]], "line 5 does not follow"),
        (lambda lines: [*lines, "[" * 100000], "line 5 is no JSON"),
        (lambda lines: [lines[0].replace('"number":1', '"number":1,"number":1'), *lines[1:]], "key twice"),
    ],
)
def test_any_change_is_noticed(ledger, change, says):
    edit(ledger, change)
    with pytest.raises(ResultError, match=says):
        ledger.lines()
    with pytest.raises(ResultError, match=says):
        ledger.open_split(*ABOUT)


def test_a_change_that_fixes_its_own_hash_breaks_the_next_line(ledger):
    def change(lines):
        line = json.loads(lines[1])
        line["system"] = "other"
        line["hash"] = content_hash({k: v for k, v in line.items() if k != "hash"})
        return [lines[0], canonical_json(line), *lines[2:]]

    edit(ledger, change)
    with pytest.raises(ResultError, match="line 3 does not follow"):
        ledger.lines()


def test_a_torn_last_line_is_said_and_kept(ledger):
    whole = ledger.path.read_bytes()
    torn = whole.splitlines()[0][:70]
    ledger.path.write_bytes(whole + torn)
    with pytest.raises(ResultError, match="line 5 is torn"):
        ledger.lines()
    opening = ledger.open_split(*ABOUT)
    assert opening.number == 6
    assert ledger.lines()[4]["text"] == torn.decode()
    assert ledger.path.read_bytes().startswith(whole)
    assert ledger.counts()["vggnet"] == 3


def test_mend(ledger):
    assert not ledger.mend()
    ledger.path.write_bytes(ledger.path.read_bytes() + b"\xff{")
    assert ledger.mend()
    assert ledger.lines()[-1]["event"] == "torn"


def test_withdrawal_needs_a_reason_and_keeps_openings(ledger):
    with pytest.raises(ResultError, match="reason"):
        ledger.withdraw("fer2013/private@1", "vggnet", "0123456789abcdef", " ")
    ledger.withdraw("fer2013/private@1", "vggnet", "0123456789abcdef", "trained on the wrong split")
    assert ledger.recorded() == {}
    assert ledger.counts()["vggnet"] == 2


def test_only_text_is_noted(ledger):
    with pytest.raises(ResultError, match="views"):
        ledger.open_split(*ABOUT[:6], None, "ef")


def _open_many(path, count):
    for _ in range(count):
        Ledger(path).open_split(*ABOUT)


def test_many_processes_write_one_chain(tmp_path):
    context = multiprocessing.get_context("fork" if "fork" in multiprocessing.get_all_start_methods() else "spawn")
    path = tmp_path / "ledger.jsonl"
    writers = [context.Process(target=_open_many, args=(path, 10)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [line["number"] for line in Ledger(path).lines()] == list(range(1, 41))


@pytest.mark.full
def test_writers_that_are_killed_leave_a_ledger_that_goes_on(tmp_path):
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("spawn")
    for number in range(12):
        writer = context.Process(target=_open_many, args=(path, 100000))
        writer.start()
        before = path.stat().st_size if path.exists() else 0
        while not path.exists() or path.stat().st_size == before:
            time.sleep(0.005)
        time.sleep(0.001 * number)
        writer.kill()
        writer.join()
        Ledger(path).open_split(*ABOUT)
        assert Ledger(path).lines()[-1]["event"] == "opening"
