"""Trained here, tested there: one table; and groups in the report and in the card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_benchmark_protocols import pool, split, subject

from mien.cli import main
from mien.datasets import FaceSet
from mien.datasets.disk import write_face_set
from mien.datasets.faceset import Attribute
from mien.errors import ResultError
from mien.evaluation import evaluate
from mien.evaluation.groups import by_attribute, known_groups
from mien.labels import CKPLUS_PEAK, FER2013, RAFDB
from mien.results import Result, verify
from mien.results.crossing import crossed, crossing_table


def keep(data: FaceSet, cache: Path) -> None:
    """Import it, as far as others can tell."""
    root = cache / "datasets" / data.name
    write_face_set(data, root / "x")
    source = {"path": "there", "folder": "x"}
    (root / "sources.json").write_text(json.dumps({"layout": 1, "latest": "x", "sources": [source]}))


def test_cross_results_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rafdb, ckplus = split("rafdb", RAFDB), pool("ckplus", CKPLUS_PEAK, 4)
    kept = [
        evaluate(subject(FER2013, "ee", hit=RAFDB), rafdb.test, results=tmp_path),
        evaluate(subject(FER2013, "ee", hit=CKPLUS_PEAK), ckplus.train, results=tmp_path),
        evaluate(subject(FER2013, "ee", hit=CKPLUS_PEAK), ckplus.train, results=tmp_path, views="flip"),
    ]
    for result in kept:
        path = result.save(tmp_path)
        assert Result.load(path).across == result.across
    assert verify(tmp_path).holds
    assert kept[0].across == {"trained_on": "fer2013", "tested_on": "rafdb", "split": "test"}
    rows = crossed(kept)
    assert [(row["tested_on"], row["views"], len(row["labels"])) for row in rows] == [
        ("ckplus", "one", 6),
        ("rafdb", "one", 7),
    ]
    table = crossing_table(kept)
    assert table.columns[3:] == ("weights", "trained on", "ckplus, all", "rafdb, test")
    assert len(table.rows) == 1
    assert table.rows[0][5].startswith("100.0 % [")
    assert "(6 expressions, 48 faces)" in table.rows[0][5]

    def command(*arguments: str) -> int:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        return int(stop.value.code or 0)

    assert command("compare", "--across", "--results", str(tmp_path), "--json") == 0
    assert [row["tested_on"] for row in json.loads(capsys.readouterr().out)] == ["ckplus", "rafdb"]
    assert command("compare", "--across", "--results", str(tmp_path / "none")) == 0
    assert "no cross results yet" in capsys.readouterr().out
    assert command("compare") == 2
    assert "or --across" in capsys.readouterr().err


def test_two_runs_of_a_system_are_two_rows_of_the_table(tmp_path: Path) -> None:
    network, ckplus = subject(FER2013, "ee", hit=CKPLUS_PEAK), pool("ckplus", CKPLUS_PEAK, 4)
    kept = [
        evaluate(network, ckplus.train, results=tmp_path),
        evaluate(network, ckplus.train, results=tmp_path),
        evaluate(network, split("rafdb", RAFDB).test, results=tmp_path),
    ]
    assert len({(result.system, result.kind, result.seed) for result in kept}) == 1
    for result, weights in zip(kept, ("a" * 64, "b" * 64, "b" * 64), strict=True):
        object.__setattr__(result, "weights_sha256", weights)
    table = crossing_table(kept)
    assert [(row[3], row[4]) for row in table.rows] == [("aaaaaaaa", "fer2013"), ("bbbbbbbb", "fer2013")]
    assert [row[6] == "–" for row in table.rows] == [True, False]
    assert {row["weights_sha256"][:1] for row in crossed(kept)} == {"a", "b"}


def test_only_cross_results_name_their_data(tmp_path: Path) -> None:
    path = evaluate(subject(FER2013, "ee", hit=RAFDB), split("rafdb", RAFDB).test, results=tmp_path).save(tmp_path)
    content = json.loads(path.read_text())
    for across, said in (({"trained_on": "x"}, "across holds"), ([], "across holds")):
        path.write_text(json.dumps({**content, "across": across}))
        with pytest.raises(ResultError, match=said):
            Result.load(path)


def test_groups_are_told_where_the_data_are_imported(mien_cache: Path, tmp_path: Path) -> None:
    from mien.site.report import Subject as About
    from mien.site.report import report as report_of

    plain = split("rafdb", RAFDB, each=12)
    gender = Attribute(("female", "male"), (np.arange(len(plain)) % 2).astype(np.uint16))
    data = FaceSet.from_arrays(
        "rafdb", RAFDB, np.array(plain._images), np.array(plain._labels), np.array(plain.splits), plain.split_names,
        plain.roles, {"format": "x", "taken_from": {}}, {"gender": gender},
    )  # fmt: skip
    result = evaluate(subject(FER2013, "ee", hit=RAFDB), data.test, results=tmp_path)
    groups, hint = known_groups(result)
    assert (groups, hint) == ([], "Groups of faces (gender, race, age) are told where rafdb is imported: mien data "
                                  "import rafdb PATH.")  # fmt: skip
    assert "are told where rafdb is imported" in report_of(About(None, result))
    keep(data, mien_cache)
    groups, hint = known_groups(result)
    assert ([group.value for group in groups], hint) == (["female", "male"], "")
    assert groups == by_attribute(result, data, "gender")
    page = report_of(About(None, result))
    for said in ("Groups of faces", "gender female", "mean of the classes", "Trained on fer2013, measured on rafdb"):
        assert said in page
    keep(split("rafdb", RAFDB, each=11), mien_cache)
    assert "is not the one that was measured" in known_groups(result)[1]


def test_groups_go_into_the_card_of_the_bundle(tmp_path: Path, bundle_path: Path) -> None:
    import shutil

    from mien.bundle import read_bundle
    from mien.errors import InputError
    from mien.export import add_groups

    copy = Path(shutil.copy(bundle_path, tmp_path / "own.onnx"))
    before = read_bundle(copy)
    result = evaluate(subject(FER2013, "ee", hit=RAFDB), split("rafdb", RAFDB).test, results=tmp_path)
    with pytest.raises(InputError, match="is not of"):
        add_groups(copy, result, [])
    object.__setattr__(result, "weights_sha256", before.card.sha256)
    data = pool("ckplus", CKPLUS_PEAK, 4)
    data.attributes["side"] = Attribute(("left", "right"), (np.arange(len(data)) % 2).astype(np.uint16))  # type: ignore[index]
    across = evaluate(subject(FER2013, "ee", hit=CKPLUS_PEAK), data.train, results=tmp_path)
    add_groups(copy, result, by_attribute(across, data, "side"))
    card = read_bundle(copy).card
    assert card.sha256 == before.card.sha256
    entry = card.notes["groups"][result.id]
    assert (entry["tested_on"], [group["value"] for group in entry["groups"]]) == ("rafdb", ["left", "right"])
    assert {"accuracy", "accuracy_ci95", "faces", "recall_gap"} <= set(entry["groups"][0])
    many, whole = by_attribute(across, data, "side") * 4000, copy.read_bytes()
    with pytest.raises(InputError, match="such as fewer groups of faces"):
        add_groups(copy, result, many)
    assert copy.read_bytes() == whole
