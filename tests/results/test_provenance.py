"""The source of a training is another thing than the source of its measurement, and a result says both."""

from __future__ import annotations

import json
import shutil

import pytest

from mien.errors import MienError, ResultError
from mien.results import Ledger, Result, load_all, provenance, tables, verify
from mien.results.canonical import content_hash
from mien.results.provenance import (
    TRAININGS,
    is_clean,
    source_stamp,
    source_state,
    source_words,
    trained_together,
    trained_with,
    training_words,
)

CLEAN = {"commit": "a" * 40, "dirty": False}
CHANGED = {"commit": "b" * 40, "dirty": True}


def test_a_result_says_what_it_was_trained_with_and_not_only_what_measured_it(tmp_path, invent):
    result = invent(tmp_path, trained=CHANGED)
    path = result.save(tmp_path)
    read = Result.load(path)
    assert read.trained == CHANGED
    assert (read.commit, read.dirty) == source_state() != (CHANGED["commit"], True)
    assert read.training_words == "⚠ bbbbbbb with changes"
    assert invent(tmp_path, trained=CLEAN).training_words == "aaaaaaa"
    assert invent(tmp_path, trained=CLEAN).id != invent(tmp_path, trained=CHANGED).id
    unknown = invent(tmp_path)  # whoever measured it did not say
    assert unknown.trained == {"commit": None, "dirty": None}
    assert unknown.training_words == "⚠ unknown"


def old(folder, result):
    """The result as it was recorded before the field existed."""
    path = result.save(folder)
    content = json.loads(path.read_text())
    del content["trained"], content["id"]
    content["id"] = content_hash(content)[:16]
    (folder / "old").mkdir()
    shutil.copy(path.with_suffix(".npz"), folder / "old" / f"{content['id']}.npz")
    new = folder / "old" / f"{content['id']}.json"
    new.write_text(json.dumps(content))
    path.unlink()
    path.with_suffix(".npz").unlink()
    return new


def test_older_results_keep_their_ids_and_are_noted_beside(tmp_path, invent):
    path = old(tmp_path, invent(tmp_path, trained=CLEAN))
    before = path.read_bytes()
    (found,) = load_all(tmp_path)
    assert (found.id, found.trained, found.training, found.training_words) == (path.stem, None, None, "⚠ unknown")
    assert "trained" not in found.to_json()
    lines = [f"[{found.weights_sha256}]", f'commit = "{CHANGED["commit"]}"', "dirty = true"]
    (tmp_path / TRAININGS).write_text("\n".join(lines))
    (found,) = load_all(tmp_path)
    assert found.training == CHANGED
    assert found.trained is None
    assert content_hash({k: v for k, v in found.to_json().items() if k != "id"})[:16] == found.id
    assert path.read_bytes() == before
    other = invent(tmp_path, trained=CLEAN)  # the same weights; what a result says itself is not overruled
    other.save(tmp_path)
    assert {r.id: r.training for r in load_all(tmp_path)}[other.id] == CLEAN


@pytest.mark.parametrize("text", ["[aa]\ncommit = 3\ndirty = true", "[aa]\nmembers = []", "aa = 1", "[", "[aa]"])
def test_broken_notes_are_found(tmp_path, invent, text):
    invent(tmp_path).save(tmp_path)
    assert verify(tmp_path).holds
    (tmp_path / TRAININGS).write_text(text)
    with pytest.raises(MienError, match=TRAININGS):
        load_all(tmp_path)
    assert [finding.file for finding in verify(tmp_path).findings] == [TRAININGS]


@pytest.mark.parametrize(
    "trained",
    [{"commit": "a"}, {"commit": 1, "dirty": False}, {"commit": "a", "dirty": "no"}, {"members": []}, {"members": [1]},
     {"members": [CLEAN], "commit": "a"}, {**CLEAN, "by": "me"}],
)  # fmt: skip
def test_what_is_no_source_is_refused(tmp_path, invent, trained):
    with pytest.raises(ResultError, match="trained holds commit and dirty"):
        invent(tmp_path, trained=trained)


def test_of_several_networks_each_is_named():
    pair = trained_together([CLEAN, CHANGED])
    both = trained_together([pair, None])
    assert both == {"members": [CLEAN, CHANGED, {"commit": None, "dirty": None}]}
    assert training_words(both) == "⚠ aaaaaaa, bbbbbbb with changes, unknown"
    assert training_words(trained_together([CLEAN, CLEAN])) == "aaaaaaa"
    assert [is_clean(t) for t in (CLEAN, CHANGED, {**CLEAN, "dirty": None}, pair, None)] == [True, *[False] * 4]
    assert training_words({**CLEAN, "dirty": None}) == "⚠ aaaaaaa, changes unknown"


def test_tables_show_it(tmp_path, invent):
    folder = tmp_path / "results"
    for seed, trained in enumerate((CLEAN, CHANGED)):
        invent(folder, seed=seed, trained=trained).save(folder)
    results = load_all(folder)
    listed = tables.list_table(results)
    assert [row[listed.columns.index("trained with")] for row in listed.rows] == [r.training_words for r in results]
    ranked = tables.ranking(results, Ledger(folder / "ledger.jsonl").counts(), "fer2013/private@1")
    (row,) = ranked.rows
    assert set(row[ranked.columns.index("trained with")].split(", ")) == {"aaaaaaa", "⚠ bbbbbbb with changes"}
    assert {tables.value(result, "trained") for result in results} == {"aaaaaaa", "⚠ bbbbbbb with changes"}


def test_records_of_benchmarks_say_theirs():
    assert source_stamp() == dict(zip(("commit", "dirty"), source_state(), strict=True))
    assert trained_with({"commit": "a", "dirty": True, "seed": 3}) == {"commit": "a", "dirty": True}
    assert source_words({"commit": None, "dirty": None}) == "source not recorded"


def test_where_git_refuses_the_commit_can_be_named(monkeypatch):
    """A checkout whose owner is another user is one that git refuses to look at."""
    monkeypatch.setattr(provenance, "_git", lambda *_: None)
    monkeypatch.setenv("MIEN_COMMIT", "abc123")
    assert source_state.__wrapped__() == ("abc123", None)
    monkeypatch.delenv("MIEN_COMMIT")
    assert source_state.__wrapped__() == (None, None)
