import shutil

import pytest

from mien.errors import MienError
from mien.results import Ledger, load_all
from mien.results.documents import documents, fill, render
from mien.results.tables import preferred

TEXT = """# Title

It reaches <!-- mien:results value=accuracy system=compact -->12.3 %<!-- /mien:results -->
<!-- mien:results value=accuracy_ci95 system=compact -->x<!-- /mien:results -->.

<!-- mien:results table=ranking -->
| old |
<!-- /mien:results -->

```
<!-- mien:results value=accuracy system=compact -->left as it is<!-- /mien:results -->
```
"""


@pytest.fixture
def root(recorded, tmp_path):
    shutil.copytree(recorded, tmp_path / "results")
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "README.md").write_text(TEXT)
    (tmp_path / "docs" / "deep" / "a.md").write_text("no block\n")
    return tmp_path


def test_documents_are_filled_and_then_fresh(root):
    stale = fill(root, check=True)
    assert [(found.file.name, found.line) for found in stale] == [("README.md", 3)]
    assert (root / "README.md").read_text() == TEXT
    assert len(fill(root)) == 1
    text = (root / "README.md").read_text()
    best = preferred(r for r in load_all(root / "results") if r.system == "compact")
    low, high = best.metrics["accuracy_ci95"]
    assert f"-->{100 * best.metrics['accuracy']:.1f} %<!--" in text
    assert f"-->[{100 * low:.1f}, {100 * high:.1f}]<!--" in text
    assert "| › compact | one | run | 2 |" in text
    assert "left as it is" in text
    assert fill(root, check=True) == []
    assert fill(root) == []


def test_a_typed_number_is_stale(root):
    fill(root)
    path = root / "README.md"
    path.write_text(path.read_text().replace("-->", "-->9", 1))
    assert len(fill(root, check=True)) == 1


def test_a_new_result_makes_documents_stale(root, invent):
    fill(root)
    invent(root / "results", system="compact", seed=5, skill=0.9).save(root / "results")
    assert len(fill(root, check=True)) == 1


def test_which_documents(root):
    assert [path.name for path in documents(root)] == ["README.md", "a.md"]


def test_without_results_nothing_is_measured_yet(tmp_path):
    text = render(TEXT, [], Ledger(tmp_path / "ledger.jsonl"))
    assert text.count("not measured yet") == 3


def test_the_result_is_the_one_that_selection_prefers(recorded):
    results = load_all(recorded)
    best = max(results, key=lambda r: r.metrics["selection_accuracy"])
    made = render("<!-- mien:results value=id --><!-- /mien:results -->", results, Ledger(recorded / "ledger.jsonl"))
    assert f"-->{best.id}<!--" in made


def test_a_sealed_result_does_not_push_a_tested_one_aside(tmp_path, invent):
    tested = invent(tmp_path, skill=0.6)
    sealed = invent(tmp_path, skill=0.9, test_scores=None)
    assert preferred([sealed, tested]) is tested
    block = "<!-- mien:results value=accuracy --><!-- /mien:results -->"
    assert "-->–<!--" in render(block, [sealed], Ledger(tmp_path / "ledger.jsonl"))


@pytest.mark.parametrize(
    ("value", "shown"),
    [("nll", "."), ("cost.params", "10"), ("faces", "3,589"), ("system", "vggnet"), ("seed", "1"), ("ece", " %")],
)
def test_values(recorded, value, shown):
    block = f"<!-- mien:results value={value} system=vggnet seed=1 --><!-- /mien:results -->"
    assert shown in render(block, load_all(recorded), Ledger(recorded / "ledger.jsonl")).split("-->")[1]


@pytest.mark.parametrize(
    ("block", "says"),
    [
        ("<!-- mien:results -->x<!-- /mien:results -->", "table=… or value"),
        ("<!-- mien:results table=rankin -->x<!-- /mien:results -->", "did you mean 'ranking'"),
        ("<!-- mien:results value=acuracy -->x<!-- /mien:results -->", "did you mean 'accuracy'"),
        ("<!-- mien:results value=nll sytem=x -->x<!-- /mien:results -->", "did you mean 'system'"),
        ("<!-- mien:results value=nll value=ece -->x<!-- /mien:results -->", "each key once"),
        ("<!-- mien:results table=ranking system=x -->x<!-- /mien:results -->", "narrowed"),
        ("<!-- mien:results value=nll -->x", "not closed"),
        ("x<!-- /mien:results -->", "not closed"),
        ("<!-- mien:results value=nll-->x<!-- /mien:results -->", "not closed"),
    ],
)
def test_blocks_that_cannot_be_read_are_named_with_their_line(root, block, says):
    (root / "README.md").write_text(f"one\ntwo\n{block}\n")
    with pytest.raises(MienError, match=says) as caught:
        fill(root, check=True)
    assert "README.md, line 3" in str(caught.value)
