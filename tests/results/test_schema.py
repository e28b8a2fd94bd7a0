import io
import json
import shutil
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest

from mien.errors import MienError, ResultError
from mien.labels import LabelSet
from mien.results import Answers, Ledger, Result, protocols
from mien.results.arrays import hash_arrays, read_arrays, write_arrays
from mien.results.canonical import content_hash


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("schema")


@pytest.fixture(scope="module")
def result(folder, invent):
    return invent(folder)


@pytest.fixture(scope="module")
def template(folder, result):
    return result.save(folder)


@pytest.fixture
def saved(tmp_path, folder, template):
    shutil.copytree(folder, tmp_path / "results")
    return tmp_path / "results" / template.relative_to(folder)


def rewrite(path, change, *, rehash=False):
    """Edit the json; with ``rehash`` also make id and name fit again, as a careful forger would."""
    content = json.loads(path.read_text())
    change(content)
    if rehash:
        content["id"] = content_hash({k: v for k, v in content.items() if k != "id"})[:16]
        path.with_suffix(".npz").rename(path.with_name(content["id"] + ".npz"))
        path.unlink()
        path = path.with_name(content["id"] + ".json")
    path.write_text(json.dumps(content))
    return path


def repack(path, change):
    """Edit the arrays, and make every hash fit again; rows that are the protocol's stay out of the npz."""
    whole = dict(Result.load(path).arrays)
    arrays = dict(whole)
    change(arrays)
    sides = [name.removesuffix("_scores") for name in arrays if name.endswith("_scores")]
    same = [f"{side}_rows" for side in sides if np.array_equal(arrays[f"{side}_rows"], whole[f"{side}_rows"])]
    write_arrays(path.with_suffix(".npz"), {name: array for name, array in arrays.items() if name not in same})
    return rewrite(path, lambda c: c.update(predictions_sha256=hash_arrays(arrays)), rehash=True)


def test_round_trip(saved):
    loaded = Result.load(saved)
    assert loaded.save(saved.parents[3]) == saved
    assert loaded.to_json() == json.loads(saved.read_text())
    assert saved == loaded.path(saved.parents[3])
    assert saved.parts[-4:-1] == ("fer2013", "private@1", "vggnet")
    metrics, confusion = loaded.recompute()
    assert metrics == loaded.metrics
    assert confusion == loaded.confusion


def test_rows_that_the_protocol_knows_are_not_written(saved, result):
    known = protocols.get("fer2013/private@1")
    with np.load(saved.with_suffix(".npz")) as data:
        assert set(data) == {"selection_scores", "test_scores"}
    loaded = Result.load(saved)
    assert loaded.id == result.id
    np.testing.assert_array_equal(loaded.arrays["selection_rows"], known.selection.rows)
    np.testing.assert_array_equal(loaded.arrays["test_rows"], known.test.rows)


def test_a_result_that_holds_its_rows_is_read_as_before(saved, result):
    write_arrays(saved.with_suffix(".npz"), result.arrays)
    with np.load(saved.with_suffix(".npz")) as data:
        assert "test_rows" in data
    assert Result.load(saved).to_json() == result.to_json()


def test_scores_taken_from_the_npz_are_missed(saved):
    with np.load(saved.with_suffix(".npz")) as data:
        kept = {name: data[name] for name in data if name != "test_scores"}
    write_arrays(saved.with_suffix(".npz"), kept)
    with pytest.raises(ResultError, match="was changed"):
        Result.load(saved)


def test_saving_twice_notes_it_once(tmp_path, invent):
    made = invent(tmp_path)
    before = made.save(tmp_path).stat().st_mtime_ns
    assert made.save(tmp_path).stat().st_mtime_ns == before
    assert [line["event"] for line in Ledger(tmp_path / "ledger.jsonl").lines()] == ["opening", "result"]


def test_equal_content_has_an_equal_id_and_any_change_another(folder, result, invent):
    opening = next(o for o in Ledger(folder / "ledger.jsonl").openings() if o.hash == result.opening)
    assert invent(folder, opening=opening).id == result.id
    for change in ({"seed": 1}, {"recipe": {"epochs": 3}}, {"cost": {}}, {"extra_data": ["x"]}):
        assert invent(folder, opening=opening, weights_sha256=result.weights_sha256, **change).id != result.id


def test_summary(result):
    text = str(result)
    assert "macro-F1" in text
    assert "NLL" in text
    assert "on clean@1" in text
    assert text.startswith(f"{100 * result.metrics['accuracy']:.1f} % [")


def test_every_metric_has_its_name_in_the_list(result):
    from mien.results.scoring import METRICS

    assert set(result.metrics) == set(METRICS)


def test_metrics_are_those_of_the_metrics_module(result):
    from mien.results import metrics as m
    from mien.results.statistics import bootstrap_interval

    test, scores, found = result.test, result.test_scores, result.metrics
    assert found["accuracy"] == pytest.approx(m.accuracy(scores.argmax(1), test.labels), abs=1e-6)
    clean = test.slices["clean@1"]
    assert found["accuracy_clean"] == pytest.approx((scores.argmax(1) == test.labels)[clean].mean(), abs=1e-6)
    selection = result.selection
    assert selection.fit.sum() == 3309
    t = m.fit_temperature(result.selection_scores[selection.fit], selection.labels[selection.fit])
    assert found["temperature"] == t
    assert found["nll"] == pytest.approx(m.nll(m.softmax(scores, t), test.labels), abs=1e-6)
    assert found["nll_raw"] == pytest.approx(m.nll(m.softmax(scores), test.labels), abs=1e-6)
    assert found["nll"] < found["nll_raw"]
    assert found["accuracy_ci95"] == pytest.approx(
        bootstrap_interval(scores.argmax(1) == test.labels, test.groups), abs=1e-6
    )
    assert np.array(result.confusion).sum() == 3589


def test_scores_are_small_and_keep_every_decision(folder, invent, invent_scores):
    known = protocols.get("fer2013/private@1")
    logits = invent_scores(known.test) + 500
    logits[:, 1] = logits[:, 0] + np.float32(1e-4)  # float16 alone would make these ties
    made = invent(folder, test_scores=logits)
    assert made.test_scores.dtype == np.float16
    assert (made.test_scores.argmax(1) == logits.argmax(1)).all()
    assert np.abs(made.test_scores.max(axis=1)).max() == 0


def test_logits_are_recorded_in_steps_that_change_no_figure_that_is_shown(folder, invent, invent_scores):
    from mien.results.metrics import ece, nll, softmax

    known = protocols.get("fer2013/private@1")
    logits = invent_scores(known.test)
    made = invent(folder, test_scores=logits)
    kept = made.test_scores.astype(np.float64)
    assert (np.sort(kept, axis=1)[:, -2] <= -1 / 32).all()
    # Multiples of 1/32 below 1; beyond, of 1/16 up to 2, of 1/8 up to 4: five bits, whatever the size.
    fine = np.where(np.abs(kept) < 1, 32, 2.0 ** (4 - np.floor(np.log2(np.maximum(np.abs(kept), 1)))))
    assert (kept * fine == np.round(kept * fine)).all()
    assert len(np.unique(fine)) > 2
    exact = logits - logits.max(axis=1, keepdims=True)
    # Half a step of rounding; a whole one where the second best was closer than that.
    assert (np.abs(kept - exact) <= np.maximum(1 / 32, np.abs(exact) / 32) + 1e-6).all()
    before, after = softmax(logits), softmax(kept)
    # Of a logit's distance from the highest: half a step up, a whole one down; far ones count for little.
    near = np.abs(exact) < 1
    assert np.abs(np.log(after / before))[near].max() <= 3 / 64 + 1e-2
    assert np.abs(after - before).max() <= 0.02
    tied = np.full_like(logits, 5.0)
    tied[:, 3] += 1e-3
    moved = softmax(invent(folder, test_scores=tied).test_scores.astype(np.float64))
    assert np.abs(np.log(moved / softmax(tied))).max() <= 3 / 64 + 1e-9
    assert nll(after, known.test.labels) == pytest.approx(nll(before, known.test.labels), abs=5e-4)
    assert ece(after, known.test.labels) == pytest.approx(ece(before, known.test.labels), abs=5e-3)


def test_margins_are_recorded_in_steps_of_their_spread(folder, invent, invent_scores):
    exact = 0.1 * invent_scores(protocols.get("fer2013/private@1").test).astype(np.float64)
    exact[0] = 0.5  # level: the first counts, as it was given
    made = invent(folder, test_scores=exact, scores_kind="margins", kind="classical")
    kept = made.test_scores.astype(np.float64)
    step = 2 ** np.floor(np.log2(exact.std())) / 64
    assert exact.std() / 128 < step <= exact.std() / 64
    assert (kept / step == np.round(kept / step)).all()
    assert np.abs(kept - exact).max() <= 1.5 * step
    assert (kept.argmax(axis=1) == exact.argmax(axis=1)).all()
    assert np.diff(np.sort(kept, axis=1)[:, -2:]).min() >= step


def test_of_clusters_the_decided_one_alone_is_recorded(folder, invent, invent_scores):
    soft = invent_scores(protocols.get("fer2013/private@1").test)
    made = invent(folder, test_scores=soft, scores_kind="clusters", kind="clustering")
    assert (made.test_scores.argmax(axis=1) == soft.argmax(axis=1)).all()
    assert (np.sort(made.test_scores, axis=1) == [0, 0, 0, 0, 0, 0, 1]).all()


def test_scores_that_float16_would_change_are_kept_as_float32(folder, invent, invent_scores):
    known = protocols.get("fer2013/private@1")
    margins = invent_scores(known.test) + 500
    margins[:, 1] = margins[:, 0] + np.float32(1e-3)
    made = invent(folder, test_scores=margins, scores_kind="margins")
    assert made.test_scores.dtype == np.float32
    assert (made.test_scores.argmax(1) == margins.argmax(1)).all()
    assert "nll" not in made.metrics
    huge = invent_scores(known.test)
    huge[:, 6] = -1e6
    assert invent(folder, test_scores=huge).test_scores.dtype == np.float32


def test_probabilities_have_no_temperature(folder, invent, invent_scores):
    from mien.results.metrics import nll, softmax

    known = protocols.get("fer2013/private@1")
    p, q = (softmax(invent_scores(side)) for side in (known.selection, known.test))
    made = invent(folder, scores_kind="probabilities", selection_scores=p, test_scores=q, views="rot8")
    assert "temperature" not in made.metrics
    assert made.metrics["nll"] == pytest.approx(nll(q, known.test.labels), abs=2e-3)
    with pytest.raises(ResultError, match="no probabilities"):
        invent(folder, scores_kind="probabilities", selection_scores=p * 0.9, test_scores=q)


def test_without_the_test_split_it_is_a_selection_result(tmp_path, invent):
    made = invent(tmp_path, test_scores=None)
    assert made.opening is None
    assert made.test is None
    assert made.probabilities() is None
    assert str(made).startswith("selection ")
    assert "accuracy" not in made.metrics
    assert Result.load(made.save(tmp_path)).id == made.id


def test_folds_need_no_opening_and_fit_a_temperature_per_fold(tmp_path, invent):
    made = invent(tmp_path, protocol="fer2013/folds@1")
    assert made.opening is None
    assert len(made.metrics["temperature"]) == 5
    assert made.metrics["faces"] == 28709
    assert Result.load(made.save(tmp_path)).id == made.id


def test_ferplus_has_eight_expressions(tmp_path, invent):
    made = invent(tmp_path, protocol="ferplus/majority@1")
    assert made.metrics["faces"] == 3153
    assert len(made.metrics["recall"]) == 8


def own_answers(seed, count=60):
    rng = np.random.default_rng(seed)
    return Answers("test", np.arange(count), rng.integers(0, 3, count).astype(np.uint8),
                   np.arange(count, dtype=np.int32), np.ones(count, bool))  # fmt: skip


def test_own_data_brings_its_labels(tmp_path, invent, invent_scores):
    selection, test = own_answers(0), own_answers(1)
    ledger = Ledger(tmp_path / "ledger.jsonl")
    opening = ledger.open_split("own/test@1", "held-out", "compact", "run", "ab", "cd", "one", "ef")
    about = {"system": "compact", "recipe_hash": "ab", "weights_sha256": "cd", "data_fingerprint": "ef",
             "label_set": LabelSet("mood", ("bad", "fair", "good")), "opening": opening,
             "selection_scores": invent_scores(selection, classes=3),
             "test_scores": invent_scores(test, classes=3)}  # fmt: skip

    def build(**changes):
        values = about | changes
        return Result.build(protocol="own/test@1", kind="run", recipe={}, seed=0, views="one", extra_data=[],
                            environment={}, cost={}, scores_kind="logits", **values)  # fmt: skip

    made = build(answers=(selection, test))
    loaded = Result.load(made.save(tmp_path))
    assert loaded.recompute()[0] == made.metrics
    assert loaded.labels == ("bad", "fair", "good")
    with pytest.raises(ResultError, match="no selection faces"):
        build(answers=(None, test))
    with pytest.raises(ResultError, match="none of the 2"):
        build(answers=(selection, test), label_set=LabelSet("mood", ("bad", "fair")),
              selection_scores=np.zeros((60, 2)), test_scores=np.zeros((60, 2)))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"opening": None}, "need an opening"),
        ({"views": "tencrop"}, "allows the views"),
        ({"kind": "network"}, "kind is one of"),
        ({"system": "../../etc"}, "a system is named"),
        ({"system": "VGG net"}, "a system is named"),
        ({"scores_kind": "scores"}, "scores are one of"),
        ({"recipe_hash": "not hex"}, "hexadecimal"),
        ({"data_fingerprint": "abc"}, "official fer2013"),
        ({"recipe": {"lr": float("nan")}}, "finite"),
        ({"recipe": {"path": object()}}, "plain JSON"),
        ({"cost": {"seconds": float("inf")}}, "finite"),
        ({"seed": 1.5}, "seed"),
        ({"extra_data": [3]}, "list of text"),
        ({"test_scores": np.zeros((3588, 7))}, r"\(3588, 7\)"),
        ({"test_scores": np.zeros((3589, 6))}, r"\(3589, 6\)"),
        ({"test_scores": np.full((3589, 7), np.nan)}, "NaN"),
        ({"selection_scores": None}, "PublicTest are missing"),
        ({"submission": {"name": "x"}}, "submitted"),
        ({"created": "yesterday"}, "UTC"),
        ({"protocol": "fer2013/private@2"}, "did you mean"),
    ],
)
def test_what_is_not_a_result_cannot_be_built(folder, result, changes, says):
    opening = next(o for o in Ledger(folder / "ledger.jsonl").openings() if o.hash == result.opening)
    values = {"weights_sha256": result.weights_sha256, "opening": opening, "test_scores": result.test_scores,
              "selection_scores": result.selection_scores}  # fmt: skip
    with pytest.raises(MienError, match=says):
        _build(result, values | changes)


def _fields(result):
    return {"protocol": result.protocol, "system": result.system, "kind": result.kind, "recipe": result.recipe,
            "recipe_hash": result.recipe_hash, "seed": result.seed, "views": result.views, "extra_data": [],
            "data_fingerprint": result.data_fingerprint, "environment": {}, "cost": {},
            "scores_kind": "logits"}  # fmt: skip


def _build(result, changes):
    return Result.build(**(_fields(result) | changes))


@pytest.mark.parametrize("name", ["system", "kind", "recipe_hash", "weights_sha256", "views"])
def test_an_opening_for_something_else_is_refused(folder, result, name):
    opening = next(o for o in Ledger(folder / "ledger.jsonl").openings() if o.hash == result.opening)
    other = {"system": "other", "kind": "bundle", "recipe_hash": "aa", "weights_sha256": "bb", "views": "flip"}[name]
    values = {"weights_sha256": result.weights_sha256, "opening": opening, "test_scores": result.test_scores,
              "selection_scores": result.selection_scores} | {name: other}  # fmt: skip
    with pytest.raises(ResultError, match=f"opened for {name}"):
        _build(result, values)


def test_a_result_is_saved_beside_the_ledger_of_its_opening(tmp_path, result):
    with pytest.raises(ResultError, match="not noted in"):
        result.save(tmp_path)
    assert not list(tmp_path.rglob("*.json"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda c: c["metrics"].update(accuracy=0.9), "was changed"),
        (lambda c: c.update(id="0" * 16), "was changed"),
        (lambda c: c.update(seed=5), "was changed"),
        (lambda c: c.update(predictions_sha256="0" * 64), "predictions do not match"),
        (lambda c: c.update(note="hello"), "unknown fields: 'note'"),
        (lambda c: c.pop("seed"), "lacks fields: seed"),
        (lambda c: c.update(schema="mien-result@9"), "newer mien"),
        (lambda c: c.update(labels=c["labels"][::-1]), "in this order"),
        (lambda c: c.update(opening=None), "was changed"),
        (lambda c: c.update(metrics=[]), "metrics is an object"),
        (lambda c: c.update(commit=3), "commit"),
        (lambda c: c.update(system="<b>"), "a system is named"),
        (lambda c: c.update(protocol="own"), "no protocol"),
    ],
)
def test_an_edited_json_is_refused(saved, change, says):
    rewrite(saved, change)
    with pytest.raises(MienError, match=says):
        Result.load(saved)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_none_are_refused(saved, constant):
    text = saved.read_text().replace('"seconds": 1.5', f'"seconds": {constant}')
    saved.write_text(text)
    with pytest.raises(ResultError, match="finite"):
        Result.load(saved)


def test_broken_json_is_refused(saved):
    saved.write_text(saved.read_text()[:200])
    with pytest.raises(ResultError, match="no JSON"):
        Result.load(saved)
    saved.write_text("[]")
    with pytest.raises(ResultError, match="no JSON object"):
        Result.load(saved)
    saved.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(ResultError, match="larger"):
        Result.load(saved)
    with pytest.raises(ResultError, match=r"give the \.json"):
        Result.load(saved.parent)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a: a.pop("test_scores"), "missing or incomplete"),
        (lambda a: a.clear(), "missing or incomplete"),
        (lambda a: a.update(test_scores=a["test_scores"][:-1], test_rows=a["test_rows"][:-1]), "3588 test faces"),
        (lambda a: a.update(test_scores=a["test_scores"][:-1]), "need"),
        (lambda a: a.update(test_scores=a["test_scores"][:, :6]), "need"),
        (lambda a: a.update(test_rows=a["test_rows"][::-1]), "another order"),
        (lambda a: a.update(test_scores=np.full((3589, 7), np.nan, np.float16)), "NaN"),
        (lambda a: a.update(test_scores=a["test_scores"].astype(np.float64)), "float16 or float32"),
        (lambda a: a.update(test_labels=np.zeros(3589, np.uint8)), "missing or incomplete"),
        (lambda a: a.update(selection_scores=a["test_scores"], selection_rows=a["test_rows"]), "not those of"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(saved, change, says):
    with pytest.raises(ResultError, match=says):
        Result.load(repack(saved, change))


def test_missing_or_damaged_predictions_are_refused(saved):
    npz = saved.with_suffix(".npz")
    whole = npz.read_bytes()
    npz.unlink()
    with pytest.raises(ResultError, match="is missing"):
        Result.load(saved)
    npz.write_bytes(whole[:-30])
    with pytest.raises(ResultError, match="no readable npz"):
        Result.load(saved)
    npz.write_bytes(whole[:2000] + b"\x00\x01\x02" + whole[2003:])
    with pytest.raises(ResultError, match=r"no readable npz|was changed|no plain array"):
        Result.load(saved)


def zip_of(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def test_pickles_bombs_and_strangers_are_refused(saved):
    npz = saved.with_suffix(".npz")
    pickled = io.BytesIO()
    np.lib.format.write_array(pickled, np.array([{"a": 1}], dtype=object))
    zip_of(npz, {"test_scores.npy": pickled.getvalue()})
    with pytest.raises(ResultError, match="no plain array"):
        Result.load(saved)
    zip_of(npz, {"test_scores.npy": bytes(65 << 20)})
    with pytest.raises(ResultError, match="more than 64 MiB"):
        Result.load(saved)
    zip_of(npz, {"../../evil.npy": b"x"})
    with pytest.raises(ResultError, match="evil"):
        Result.load(saved)
    claims = b"\x93NUMPY\x01\x00v\x00{'descr': '<f2', 'fortran_order': False, 'shape': (4000000000000, 7), }".ljust(128)
    zip_of(npz, {"test_scores.npy": claims})
    with pytest.raises(ResultError, match="no plain array"):
        Result.load(saved)


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_a_member_that_lies_about_its_size_is_refused_before_it_unfolds(tmp_path, packing):
    path, size = tmp_path / "bomb.npz", 32 << 20
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr("scores.npy", bytes(size))
    lying = path.read_bytes().replace(struct.pack("<I", size), struct.pack("<I", 100))
    assert len(lying) < 64 << 10
    path.write_bytes(lying)
    tracemalloc.start()
    with pytest.raises(ResultError, match="no readable npz file"):
        read_arrays(path, ("scores",))
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_files_have_equal_bytes_for_equal_results(saved):
    loaded, npz = Result.load(saved), saved.with_suffix(".npz")
    before = npz.read_bytes()
    npz.unlink()
    saved.unlink()
    assert loaded.save(saved.parents[3]) == saved
    assert npz.read_bytes() == before


def test_random_damage_is_refused_or_harmless(saved):
    rng = np.random.default_rng(0)
    whole = {path: path.read_bytes() for path in (saved, saved.with_suffix(".npz"))}
    original = Result.load(saved)
    refused = 0
    for _ in range(80):
        for path, data in whole.items():
            damaged = bytearray(data)
            for place in rng.integers(0, len(damaged), 3):
                damaged[place] = rng.integers(0, 256)
            path.write_bytes(damaged if rng.random() < 0.5 else data)
        try:
            loaded = Result.load(saved)
        except MienError:
            refused += 1
        else:
            # White space in the json and unused bytes of a zip archive may change; content may not.
            assert loaded.to_json() == original.to_json()
    assert refused > 40
