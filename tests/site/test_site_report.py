"""The report of one run or result: one file, nothing loaded, for results with and without a test split."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("jinja2")

from mien.errors import InputError, ResultError, RunError
from mien.results import load_all
from mien.site import write_report
from mien.site.report import resolve

if TYPE_CHECKING:
    from mien.datasets import FaceSet
    from mien.training import Run


def test_a_result_is_reported_on_one_self_contained_page(results_folder: Path, tmp_path: Path) -> None:
    result = next(r for r in load_all(results_folder) if r.system == "compact")
    out = tmp_path / "deep" / "report.html"
    size = write_report(result.id[:8], out, results=results_folder, runs=tmp_path)
    text = out.read_text(encoding="utf-8")
    assert size == out.stat().st_size < 300_000
    for wanted in ("What is taken for what", "Recall of each expression", "Can its confidence be believed?",
                   "Hardest faces", "Recipe", "Environment", "an invented device", result.id):  # fmt: skip
        assert wanted in text
    assert "<script" not in text
    assert not re.findall(r'(?:src|href)="(?!data:)', text), "nothing is loaded or linked"
    assert "default-src 'none'" in text
    assert "data:image/png" not in text


def test_another_view_of_the_same_training_is_named(results_folder: Path, tmp_path: Path) -> None:
    result = next(r for r in load_all(results_folder) if r.system == "compact")
    subject = resolve(result.path(results_folder), results=results_folder, runs=tmp_path)
    assert subject.result is not None
    assert subject.result.id == result.id
    assert [other.views for other in subject.others] == [{"one": "flip", "flip": "one"}[result.views]]


def test_what_is_not_there_is_said(results_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"run\.json"):
        resolve(tmp_path, results=results_folder)
    with pytest.raises(ResultError, match="no result"):
        write_report("0000000", tmp_path / "report.html", results=results_folder)
    assert not (tmp_path / "report.html").exists()


def test_a_run_is_reported_with_its_curves_before_it_is_measured(trained: Run, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    write_report(trained.folder, out, results=tmp_path / "none")
    text = out.read_text(encoding="utf-8")
    assert "not measured yet" in text
    assert "Accuracy on the selection split by epoch" in text
    assert "Loss by epoch" in text
    assert 'system_id = "compact"' in html.unescape(text)
    assert "What is taken for what" not in text


def test_figures_of_the_selection_split_are_called_so(trained: Run, faces: FaceSet, tmp_path: Path) -> None:
    from mien.evaluation import evaluate

    results = tmp_path / "results"
    evaluate(trained, faces.selection).save(results)
    out = tmp_path / "report.html"
    write_report(trained.folder, out, results=results)
    text = out.read_text(encoding="utf-8")
    assert "The test split stayed sealed" in text
    assert "accuracy on the selection split" in text
    assert "Hardest faces" not in text


FITTED = """
import numpy as np
from mien.systems.card import Card, grey
from mien.systems.classical import ClassicalSystem

class Constant(ClassicalSystem):
    def fit(self, split, *, seed, notify):
        self.mean = np.bincount(split.labels, minlength=self.classes).astype(np.float32)

    def scores(self, images, *, notify):
        return np.tile(self.mean, (len(images), 1))

    def state(self):
        return {"mean": self.mean}

    def restore(self, state):
        self.mean = state["mean"]

CARDS = {"constant": Card("constant", "Constant", Constant, grey(48), 0, recipes={"mien": {}}, kind="classical")}
"""


def test_a_run_of_a_system_in_a_file_is_reported_where_the_file_is_named(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mien
    from mien.systems import brought

    monkeypatch.setattr(brought, "_cards", {})
    monkeypatch.setattr(brought, "_sources", {})
    file = tmp_path / "constant.py"
    file.write_text(FITTED, encoding="utf-8")
    made = mien.train(file, faces.train, faces.selection, out=tmp_path / "runs")
    brought._cards.clear()
    brought._sources.clear()
    with pytest.raises(RunError, match=r"--system constant\.py"):
        write_report(made.folder, tmp_path / "report.html", results=tmp_path / "none")
    assert write_report(made.folder, tmp_path / "report.html", results=tmp_path / "none", system=file) > 0
    with pytest.raises(InputError, match="belongs to a run folder, and 1f3a9c2e is none"):
        write_report("1f3a9c2e", tmp_path / "report.html", results=tmp_path / "none", system=file)
