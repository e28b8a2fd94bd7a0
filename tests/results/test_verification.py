import json
import shutil

import numpy as np
import pytest

from mien.errors import ResultError
from mien.labels import LABEL_SETS
from mien.results import Ledger, Result, difference, load_all, measured_differs, protocols, verify
from mien.results.arrays import hash_arrays, write_arrays
from mien.results.canonical import content_hash
from mien.results.finding import find
from mien.results.withdrawal import withdraw


@pytest.fixture
def folder(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "results")
    return tmp_path / "results"


def first(folder):
    return sorted(folder.rglob("*.json"))[0]


def messages(folder, **options):
    return [finding.message for finding in verify(folder, **options).findings]


def forge(folder, change=lambda content: None, scores=None):
    """Change a result and make every hash, the file name and the ledger's list fit again."""
    path = first(folder)
    content = json.loads(path.read_text())
    arrays = dict(Result.load(path).arrays)
    if scores is not None:
        arrays["test_scores"] = scores(arrays["test_scores"])
        content["predictions_sha256"] = hash_arrays(arrays)
    change(content)
    content["id"] = content_hash({k: v for k, v in content.items() if k != "id"})[:16]
    path.unlink()
    path.with_suffix(".npz").unlink()
    forged = path.with_name(content["id"] + ".json")
    forged.write_text(json.dumps(content))
    write_arrays(forged.with_suffix(".npz"), arrays)
    return forged, content


def test_untouched_results_hold(recorded):
    found = verify(recorded, systems=["vggnet", "compact"], ranked=True)
    assert found.holds
    assert len(found.results) == 4
    assert found.openings == {"vggnet": 2, "compact": 2}
    assert "4 results recomputed, nothing to complain about" in found.summary()


def test_a_changed_number_without_a_new_id(folder):
    path = first(folder)
    path.write_text(path.read_text().replace('"macro_f1": 0.', '"macro_f1": 0.9'))
    assert any("was changed" in message for message in messages(folder))


def test_a_forged_number_with_a_new_id(folder):
    forge(folder, lambda content: content["metrics"].update(accuracy=0.99))
    found = messages(folder)
    assert any("metrics.accuracy says 0.99, the predictions give 0." in message for message in found)
    assert any("was recorded and is gone" in message for message in found)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["metrics"].update(temperature=1.5), "metrics.temperature"),
        (lambda c: c["metrics"].update(accuracy_ci95=[0.1, 0.2]), "metrics.accuracy_ci95"),
        (lambda c: c["metrics"].update(f2=0.5), "f2 should not be there"),
        (lambda c: c["metrics"].pop("ece"), "ece should not be there, or are missing"),
        (lambda c: c["metrics"].update(accuracy="0.7"), "metrics.accuracy"),
        (lambda c: c["metrics"].update(accuracy=True), "metrics.accuracy"),
        (lambda c: c["confusion"][0].reverse(), "confusion matrix"),
        (lambda c: c.update(opening="0" * 64), "notes no opening"),
        (lambda c: c.update(views="flip"), "opened for views"),
        (lambda c: c.update(weights_sha256="ab"), "opened for weights_sha256"),
    ],
)
def test_forgeries_with_fitting_hashes_are_found(folder, change, says):
    forge(folder, change)
    assert any(says in message for message in messages(folder))


def test_forged_predictions_are_found_by_their_metrics(folder):
    forge(folder, scores=lambda scores: scores[:, ::-1])
    assert any("the predictions give" in message for message in messages(folder))


def test_even_a_consistent_stranger_is_not_in_the_ledger(folder):
    forge(folder, lambda content: content.update(created="2026-02-01T00:00:00Z"))
    assert any("does not list it" in message for message in messages(folder))


def test_removed_moved_and_stray_files(folder):
    path = first(folder)
    path.unlink()
    found = verify(folder)
    assert any("was recorded and is gone" in finding.message for finding in found.findings)
    assert any("without a result" in finding.message for finding in found.findings)
    other = first(folder)
    (folder / "elsewhere").mkdir()
    for file in (other, other.with_suffix(".npz")):
        file.rename(folder / "elsewhere" / file.name)
    assert any("belongs at fer2013/private@1/" in message for message in messages(folder))


def test_an_opening_serves_one_result(folder, invent):
    ledger = Ledger(folder / "ledger.jsonl")
    a = Result.load(first(folder))
    opening = next(o for o in ledger.openings() if o.hash == a.opening)
    invent(folder, system=a.system, weights_sha256=a.weights_sha256, opening=opening, seed=9).save(folder)
    assert any("shares its opening" in message for message in messages(folder))


def test_a_result_whose_opening_is_missing(folder):
    (folder / "ledger.jsonl").write_text("")
    found = verify(folder)
    assert not found.results
    assert all("notes no opening" in finding.message for finding in found.findings)
    (folder / "ledger.jsonl").unlink()
    (finding,) = verify(folder).findings
    assert (finding.file, finding.message[:10]) == ("ledger.jsonl", "is missing")


def test_a_broken_ledger_is_a_finding(folder):
    path = folder / "ledger.jsonl"
    path.write_text(path.read_text().replace("vggnet", "vggnot", 1))
    found = verify(folder)
    assert [finding.file for finding in found.findings] == ["ledger.jsonl"]
    assert len(found.results) == 4


def test_unknown_system(recorded):
    assert len(verify(recorded, systems=["vggnet"]).findings) == 2


def own_result(invent_scores, source):
    """A result about five times seven faces of somebody's own, by a system that only he has."""
    answers = protocols.Answers(
        split="selection",
        rows=np.arange(35),
        labels=np.arange(35, dtype=np.uint8) % 7,
        groups=np.arange(35, dtype=np.int32),
        fit=np.ones(35, bool),
    )
    return Result.build(
        protocol="own/test@1",
        system="flat",
        kind="run",
        recipe={},
        recipe_hash="ab" * 32,
        seed=0,
        views="one",
        extra_data=[],
        data_fingerprint="cd" * 32,
        weights_sha256="ef" * 32,
        environment={},
        cost={},
        scores_kind="logits",
        selection_scores=invent_scores(answers),
        label_set=LABEL_SETS["fer2013"],
        answers=(answers, None),
        source=source,
    )


@pytest.mark.parametrize("source", [{"sha256": "0" * 64}, {"class": "notebook.Flat"}, None])
def test_a_system_of_ones_own_is_verified_on_data_of_ones_own(tmp_path, invent_scores, source):
    path = own_result(invent_scores, source).save(tmp_path)
    assert json.loads(path.read_text()).get("source") == Result.load(path).source == source
    found = verify(tmp_path, systems=["vggnet"])
    assert found.holds
    assert [result.system for result in found.results] == ["flat"]
    path.write_text(path.read_text().replace('"flat"', '"fat"'))
    assert not verify(tmp_path, systems=["vggnet"]).holds


def test_a_system_of_ones_own_is_not_ranked_under_a_public_protocol(tmp_path, invent):
    invent(tmp_path, system="flat", source={"sha256": "0" * 64}).save(tmp_path)
    assert verify(tmp_path, systems=["vggnet"]).holds
    (told,) = messages(tmp_path, systems=["vggnet"], ranked=True)
    assert told.startswith("is of a system in a file or class of its owner's")
    (told,) = messages(tmp_path, systems=["vggnet", "flat"])
    assert told.startswith("is of a file or class of its owner's and not of the system flat of the registry")


@pytest.mark.parametrize(
    "source",
    [{"sha256": "0" * 63}, {"file": "/home/me/flat.py"}, {"sha256": "0" * 64, "class": "a.B"}, {"class": "a\nb"}, {}],
)
def test_where_a_system_comes_from_is_one_hash_or_one_class(tmp_path, invent, source):
    with pytest.raises(ResultError, match="source holds the sha256 of the system's file, or the name of its class"):
        invent(tmp_path, source=source)


def test_withdrawn_results_may_be_gone(folder):
    withdraw(first(folder), folder, "trained on the wrong split")
    found = verify(folder)
    assert found.holds
    assert len(found.results) == 3
    assert found.openings == {"vggnet": 2, "compact": 2}


def test_an_empty_folder_holds_and_no_folder_is_an_error(tmp_path):
    assert verify(tmp_path).holds
    with pytest.raises(ResultError, match="no folder"):
        verify(tmp_path / "none")


def test_difference(recorded):
    a, b = load_all(recorded)[:2]
    found = difference(a, b)
    assert found["seed"] in ((0, 1), (1, 0))
    assert found["metrics.accuracy"] == (a.metrics["accuracy"], b.metrics["accuracy"])
    assert 0 < found["test_decisions"][0] < found["test_decisions"][1] == 3589
    assert "protocol" not in found
    assert measured_differs(found)
    assert not difference(a, a)
    assert not measured_differs({"created": ("a", "b"), "metrics.nll": (0.5, 0.500001)})


def test_results_are_found_by_path_and_by_the_beginning_of_their_id(recorded):
    path = first(recorded)
    assert find(path).id == find(path.with_suffix(".npz")).id == find(path.stem[:6], recorded).id
    with pytest.raises(ResultError, match="mien results list"):
        find("zzzz", recorded)
    with pytest.raises(ResultError, match="four digits"):
        find(path.stem[:3], recorded)
