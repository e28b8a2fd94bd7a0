from dataclasses import replace

import numpy as np
import pytest

from mien.errors import InputError, MienError
from mien.results import comparison, load_all, protocols, statistics, tables
from mien.results.comparison import compare
from mien.results.diagram import confusion_diagram, reliability_diagram
from mien.results.sentences import sentences
from mien.results.statistics import mcnemar


@pytest.fixture(scope="module")
def results(recorded):
    return load_all(recorded)


@pytest.fixture(scope="module")
def systems(results):
    return compare(results)


def of(results, system, seed):
    return next(r for r in results if (r.system, r.seed) == (system, seed))


def test_seeds_are_one_row_and_the_better_stands_first(systems, results):
    assert [row.name for row in systems.rows] == ["compact", "vggnet"]
    compact = systems.rows[0]
    each = [of(results, "compact", seed).metrics["accuracy"] for seed in (0, 1)]
    assert compact.accuracy.value == pytest.approx(np.mean(each), abs=1e-6)
    assert compact.spread == pytest.approx(np.std(each, ddof=1), abs=1e-6)
    assert compact.rank == (1, 1)
    assert systems.rows[1].rank == (2, 2)
    assert systems.pairs[0].test == "paired bootstrap"
    assert systems.pairs[0].low > 0.05
    assert compact.slices["clean@1"].faces == 3275
    assert compact.slices["ferplus-clear@1"].faces == 2720
    assert compact.slices["clean@2"].faces == 2601  # shown, though no result records it
    assert not any("clean_2" in key or "clean2" in key for r in results for key in r.metrics)
    assert compact.recall["disgust"].faces == 55
    assert compact.recall["disgust"].high - compact.recall["disgust"].low > 0.1


def test_two_results_are_compared_by_the_exact_test(results):
    a, b = of(results, "compact", 0), of(results, "vggnet", 0)
    found = compare([b, a])
    pair = found.pairs[0]
    right = [r.test_scores.argmax(1) == r.test.labels for r in (a, b)]
    assert (pair.better, pair.worse, pair.test) == ("compact", "vggnet", "exact McNemar")
    assert pair.p == pytest.approx(mcnemar(*right))
    assert pair.only_better == (right[0] & ~right[1]).sum()
    assert found.rows[0].accuracy.value == pytest.approx(a.metrics["accuracy"], abs=1e-6)
    assert [found.rows[0].accuracy.low, found.rows[0].accuracy.high] == pytest.approx(
        a.metrics["accuracy_ci95"], abs=1e-6
    )


def test_seeds_with_other_extra_data_are_no_repetition(results, invent, tmp_path):
    a = of(results, "vggnet", 0)
    other = invent(tmp_path, system="vggnet", seed=1, extra_data=["ImageNet-1k"])
    found = compare([a, other])
    assert {row.extra_data for row in found.rows} == {(), ("ImageNet-1k",)}
    assert len(found.rows) == 2
    again = invent(tmp_path, system="vggnet", seed=2, extra_data=["ImageNet-1k"])
    assert len(compare([a, other, again]).rows) == 2


def test_slices_are_quoted_also_where_no_result_records_them(results):
    one = of(results, "vggnet", 0)
    clean = protocols.get(one.protocol).test.shown_slices["clean@2"]
    wanted = (one.test_scores.argmax(1) == one.test.labels)[clean].mean()
    assert tables.value(one, "slice.clean@2") == tables.percent(wanted)
    assert tables.value(one, "slice.clean@2.faces") == "2,601"
    assert tables.value(one, "slice.clean@1") == tables.value(one, "accuracy_clean")
    assert tables.value(one, "slice.clean@1.ci95") == tables.value(one, "accuracy_clean_ci95")
    with pytest.raises(InputError, match="did you mean 'clean@1'"):
        tables.value(one, "slice.claen@1")


def test_the_same_seed_twice_is_no_repetition(results, recorded, invent, tmp_path):
    a = of(results, "vggnet", 0)
    again = invent(tmp_path, system="vggnet", seed=0, created="2026-02-02T00:00:00Z")
    names = {row.name for row in compare([a, again]).rows}
    assert names == {f"vggnet ({a.id[:6]})", f"vggnet ({again.id[:6]})"}


def test_selection_figures_are_never_ranked(results):
    found = compare(results, split="selection")
    assert all(row.rank is None for row in found.rows)
    assert "never ranked" in sentences(found)[0]
    assert "rank" not in tables.comparison_table(found).columns


def test_a_result_without_test_scores_turns_the_comparison_to_selection(results, tmp_path, invent):
    found = compare([*results, invent(tmp_path, test_scores=None, system="compact", seed=7)])
    assert found.split == "selection"


def test_what_cannot_be_compared(results, tmp_path, invent):
    with pytest.raises(MienError, match="nothing to compare"):
        compare([])
    with pytest.raises(MienError, match="named twice"):
        compare([results[0], results[0]])
    with pytest.raises(MienError, match="different protocols"):
        compare([results[0], invent(tmp_path, protocol="ferplus/majority@1")])
    with pytest.raises(MienError, match="no scores on the test"):
        compare([invent(tmp_path, test_scores=None)], split="test")
    with pytest.raises(MienError, match="of the test or the selection split"):
        compare(results, split="PrivateTest")


def test_sentences_speak_of_every_number(systems):
    said = sentences(systems)
    text = "\n".join(said)
    for part in (
        "compact: on average over 2 trainings,",
        "95 % interval",
        "standard deviation over 2 seeds",
        "no exact copy of a face seen before",
        "more than half of ten people agree",
        "disgust faces" if "disgust faces" in text else "faces but only",
        "balanced accuracy",
        "macro-F1 is",
        "NLL",
        "Brier",
        "ECE",
        "Before calibration",
        "compact is right on",
        "the difference is significant at the 5 % level",
        "place 1 of 2; each difference to the others is significant",
    ):
        assert part in text
    assert all(sentence.endswith(".") for sentence in said)
    assert "nan" not in text


def test_sentences_admit_what_is_not_shown(results, tmp_path, invent):
    a = of(results, "vggnet", 0)
    found = compare([a, invent(tmp_path, system="compact", seed=0, skill=0.662)])
    text = "\n".join(sentences(found))
    assert "do not show which is better" in text
    assert "its true place is anywhere from 1 to 2 of 2" in text


def test_tables_have_as_many_cells_as_columns(systems, recorded, results):
    from mien.results import Ledger

    ledger = Ledger(recorded / "ledger.jsonl")
    made = [
        tables.comparison_table(systems),
        tables.recall_table(systems),
        tables.pair_table(systems),
        tables.list_table(results),
        tables.confusion_table(results[0]),
        tables.ranking(results, ledger.counts(), "fer2013/private@1"),
        tables.selections(results, "fer2013/private@1"),
        tables.openings(ledger),
        tables.protocol_table(),
    ]
    for table in made:
        assert table.rows, table.columns
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert table.markdown().count("\n") == len(table.rows) + 1
    assert made[5].rows[0][1] == "› compact"
    assert dict(zip(made[5].columns, made[5].rows[0], strict=True))["openings"] == "2"


def test_json_is_plain(systems):
    import json

    assert json.loads(json.dumps(systems.to_json(), allow_nan=False))["faces"] == 3589


def test_reliability_diagram(results, tmp_path, invent):
    path = reliability_diagram(results[:2], tmp_path / "r.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(MienError, match="nothing to draw"):
        reliability_diagram([invent(tmp_path, test_scores=None)], tmp_path / "none.png")


def test_confusion_as_table_and_picture(results, tmp_path):
    table = tables.confusion_table(results[0])
    assert len(table.rows) == 7
    assert table.rows[1][-2] == "55"
    assert table.rows[3][-1] == tables.percent(results[0].metrics["recall"][3])
    assert confusion_diagram(results[0], tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_diagram_without_matplotlib_names_the_extra(results, tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MienError, match=r"mien\[train\]"):
        reliability_diagram(results[:1], tmp_path / "r.png")


def test_nothing_is_drawn_once_more_for_one_more_row(results, monkeypatch):
    resampled, calls = statistics._resampled, []
    monkeypatch.setattr(statistics, "_resampled", lambda *given: calls.append(given) or resampled(*given))
    found = compare(results[:2])
    two = len(calls)
    assert two == 2 + len(found.rows[0].slices) + len(found.rows[0].recall), "pairs, all faces, and each part of them"
    compare(results)
    assert len(calls) == 2 * two


def test_an_expression_of_few_faces_has_an_interval_that_says_so(results):
    first = results[0]
    few = np.flatnonzero(first.test.labels == 1)[:7]
    right = np.ones((1, len(first.test)), bool)
    right[0, few] = False
    kept = np.sort(np.concatenate([np.flatnonzero(first.test.labels != 1), few]))
    answers = replace(first.test, rows=first.test.rows[kept], labels=first.test.labels[kept],
                      groups=first.test.groups[kept], slices={}, shown_slices={})  # fmt: skip
    [shares] = comparison._shares([right[0, kept].astype(float)], answers, first.labels)
    disgust = shares["label", "disgust"]
    assert (disgust.value, disgust.low, disgust.faces) == (0, 0, 7)
    assert disgust.high == pytest.approx(0.354, abs=1e-3)
    assert 0.99 < shares["label", "happy"].low < shares["label", "happy"].high == 1, "one may fail"


def test_an_expression_of_many_faces_is_resampled_unless_all_or_none_are_right(results):
    first = results[0]
    right = (np.arange(len(first.test)) % 2).astype(float)
    right[first.test.labels == 3] = 0
    [shares] = comparison._shares([right], first.test, first.labels)
    assert (shares["label", "happy"].value, shares["label", "happy"].low) == (0, 0)
    assert 0 < shares["label", "happy"].high < 0.01
    angry = first.test.labels == 0
    wanted = statistics.bootstrap_intervals(right[None, angry], first.test.groups[angry])[0]
    assert (shares["label", "angry"].low, shares["label", "angry"].high) == tuple(wanted)
