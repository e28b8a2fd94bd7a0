from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.audit import Pictures, audit
from mien.audit.noise import read_predictions, suspects
from mien.audit.page import render
from mien.cli import main
from mien.errors import DataError, InputError, MissingExtraError, ResultError
from mien.results import Result, facts, protocols

pytestmark = pytest.mark.usefixtures("mien_cache")


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["data", "audit", *map(str, arguments)])
    return int(stop.value.code or 0)


@pytest.fixture
def folder(drawn, tmp_path) -> Path:
    """Pictures with an exact copy, under names that are not friendly to HTML."""
    images = drawn.all_rows().images
    for name, row in (("<b>&'x.png", 1), ("copy.png", 1), ("other.png", 2)):
        path = tmp_path / "pictures" / "happy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[row]).save(path)
    return tmp_path / "pictures"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in ("p", "li"):
            while self.open and self.open[-1] in ("p", "li"):
                self.open.pop()
        assert self.open.pop() == tag


def test_the_page_is_whole_and_escaped(folder):
    page = render(audit(folder))
    tags = Tags()
    tags.feed(page)
    assert not {"script", "link", "iframe", "img"} & tags.seen
    assert "<b>&'x" not in page
    assert "&lt;b&gt;&amp;&#x27;x.png" in page
    assert not re.search(r"https?:", page)
    assert "prefers-color-scheme:dark" in page
    assert page.count("data:image/png;base64,") == 1


def test_written_report(folder, tmp_path):
    out = tmp_path / "out"
    page = audit(folder).write(out)
    assert page == out / "report.html"
    lines = (out / "ids" / "exact-copies.txt").read_text().splitlines()
    assert lines[0].startswith("# exact-copies: 1 entries")
    assert lines[1:] == ["happy/<b>&'x.png\thappy/copy.png"]
    report = json.loads((out / "report.json").read_text())
    assert report["found"] is True
    assert {finding["name"] for finding in report["findings"]} >= {"exact-copies", "constant-images"}
    audit(folder).write(out)  # an old report is replaced
    (out / "mine.txt").write_text("precious")
    with pytest.raises(InputError, match="no audit report"):
        audit(folder).write(out)


def test_ids_with_tabs_stay_on_their_line(drawn, tmp_path):
    picture = Image.fromarray(drawn.all_rows().images[0])
    for name in ("a\tb.png", "c\nd.png"):
        picture.save(tmp_path / name)
    assert audit(tmp_path).finding("exact-copies").id_lines() == ["a\\tb.png\tc\\nd.png"]


def test_command_line(folder, drawn, tmp_path, capsys):
    assert run(folder) == 0
    assert "Exact copies" in capsys.readouterr().out
    assert run(folder, "--check", "--json") == 1
    assert json.loads(capsys.readouterr().out)["found"] is True
    (folder / "happy" / "copy.png").unlink()
    assert run(folder, "--check", "--out", tmp_path / "report") == 0
    assert (tmp_path / "report" / "report.html").is_file()
    assert run(tmp_path / "nowhere") == 2
    assert run(folder, "--against", "nothing") == 2
    assert run(folder, "--against", "fer2013") == 2  # it is not imported in this test
    assert "Traceback" not in capsys.readouterr().err


def noise_file(path: Path, drawn, wrong: int, **changes: object) -> Path:
    rows = drawn.train.rows
    probabilities = np.full((len(rows), 7), 0.02)
    probabilities[np.arange(len(rows)), drawn.train.labels] = 0.88
    probabilities[wrong] = 0.02
    probabilities[wrong, (drawn.train.labels[wrong] + 1) % 7] = 0.88
    np.savez(path, **{"probabilities": probabilities, "rows": rows, **changes})
    return path


def test_label_noise(drawn, tmp_path):
    pytest.importorskip("cleanlab")
    found = audit(drawn, noise=noise_file(tmp_path / "p.npz", drawn, 17)).finding("label-noise")
    assert found.id_lines() == [str(drawn.train.rows[17])]
    assert found.counts == {"examined": len(drawn.train), "candidates": 1}
    assert found.entries[0].score == pytest.approx(0.02, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": np.arange(3)}, "probabilities are"),
        ({"rows": np.zeros(112, int)}, "each once"),
        ({"probabilities": np.full((112, 7), 0.5)}, "sum to 1"),
        ({"probabilities": np.full((112, 7), np.nan)}, "sum to 1"),
    ],
)
def test_bad_predictions(drawn, tmp_path, changes, message):
    pytest.importorskip("cleanlab")
    with pytest.raises(DataError, match=message):
        audit(drawn, noise=noise_file(tmp_path / "p.npz", drawn, 0, **changes))


def test_predictions_of_test_faces_are_refused(drawn, tmp_path):
    pytest.importorskip("cleanlab")
    rows = np.r_[drawn.train.rows[1:], drawn.test.rows[:1]]
    with pytest.raises(InputError, match="sealed"):
        audit(drawn, noise=noise_file(tmp_path / "p.npz", drawn, 0, rows=rows))


def test_without_cleanlab_the_extra_is_named(drawn, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cleanlab.filter", None)
    with pytest.raises(MissingExtraError, match=r"mien\[audit\]"):
        audit(drawn, noise=noise_file(tmp_path / "p.npz", drawn, 0))


def folds_result(folder: Path, wrong: list[int]) -> tuple[Pictures, Result]:
    """A recorded cross-validation that is sure of every label but those of ``wrong``; pictures without pixels."""
    known, protocol = facts.load("fer2013"), protocols.get("fer2013/folds@1")
    labels = protocol.test.labels.astype(int)
    labels[wrong] = (labels[wrong] + 1) % 7
    # Not too sure, so that some faces of each class lie on both sides of its mean confidence.
    logits = np.random.default_rng(0).normal(0, 0.3, (len(labels), 7))
    logits[np.arange(len(labels)), labels] += 4
    result = Result.build(
        protocol=protocol.name, system="compact", kind="run", recipe={}, recipe_hash="ab", seed=0, views="one",
        extra_data=[], data_fingerprint=facts.FER2013_FINGERPRINT, weights_sha256="ab", environment={}, cost={},
        scores_kind="logits", selection_scores=None, test_scores=logits,
    )  # fmt: skip
    result.save(folder)
    count = len(known)
    pictures = Pictures(
        "fer2013", np.broadcast_to(np.zeros((48, 48), np.uint8), (count, 48, 48)), tuple(map(str, range(count))),
        known.labels, known.label_set.labels, known.splits, known.split_names, known.groups, known.splits == 2,
        facts.FER2013_FINGERPRINT,
    )  # fmt: skip
    return pictures, result


def test_label_noise_from_a_recorded_cross_validation(drawn, tmp_path):
    pytest.importorskip("cleanlab")
    wrong = np.flatnonzero(facts.load("fer2013").labels == 3)[[3, 700, 6000]].tolist()
    pictures, result = folds_result(tmp_path / "results", wrong)
    predictions = read_predictions(result.path(tmp_path / "results"), pictures)
    # Calibrated with the temperature of each fold, as the result's own probabilities are.
    assert np.array_equal(predictions.probabilities.argmax(1), result.test_scores.argmax(1))
    assert np.allclose(predictions.probabilities, result.probabilities().probabilities, atol=1e-9)
    finding = suspects(pictures, predictions)
    assert {entry.faces[0].id for entry in finding.entries} == set(map(str, wrong))
    assert finding.counts["examined"] == 28709
    assert finding.counts["raters_agree"] >= finding.counts["raters_side_with_label"] >= 0
    listed = finding.to_json()["list"][0]
    assert set(listed) == {"ids", "score", "note"}
    assert listed["note"].startswith("predicted ")
    with pytest.raises(DataError, match="something else is audited"):
        audit(drawn, noise=result.path(tmp_path / "results"))
    with pytest.raises(ResultError, match=r"there is no folder|no result under"):
        audit(drawn, noise="12345678")
