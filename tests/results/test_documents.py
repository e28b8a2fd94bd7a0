import shutil
from pathlib import Path

import pytest

from mien.errors import MienError
from mien.recognition.bundles import default_bundle
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


def test_what_was_measured_of_a_system_is_one_column_per_kind(root, invent):
    invent(root / "results", system="compact", kind="bundle", views="flip").save(root / "results")
    results = load_all(root / "results")
    block = "<!-- mien:results table=measured system={} --><!-- /mien:results -->"
    text = render(block.format("compact"), results, Ledger(root / "results" / "ledger.jsonl"))
    lines = text.splitlines()
    assert lines[1] == "|  | run | bundle, flip |"
    best = preferred(r for r in results if r.system == "compact" and r.kind == "run")
    row = next(line for line in lines if line.startswith("| accuracy on the test split |"))
    assert row.split(" | ")[1] == f"{100 * best.metrics['accuracy']:.1f} %"
    assert f"| {best.id} |" in lines[-2]
    assert "| recall, happy |" in text
    assert f"| weights | {best.weights_sha256[:8]} | " in text
    assert "not measured yet" in render(block.format("turtle"), results, Ledger(root / "results" / "ledger.jsonl"))


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
        ("<!-- mien:results -->x<!-- /mien:results -->", "says table=…, value"),
        ("<!-- mien:results table=rankin -->x<!-- /mien:results -->", "did you mean 'ranking'"),
        ("<!-- mien:results value=acuracy -->x<!-- /mien:results -->", "did you mean 'accuracy'"),
        ("<!-- mien:results value=nll sytem=x -->x<!-- /mien:results -->", "did you mean 'system'"),
        ("<!-- mien:results value=nll value=ece -->x<!-- /mien:results -->", "each key once"),
        ("<!-- mien:results table=ranking system=x -->x<!-- /mien:results -->", "narrowed"),
        ("<!-- mien:results table=measured -->x<!-- /mien:results -->", "of which system"),
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


def test_facts_and_recorded_measurements_are_quoted(root):
    folder = root / "benchmarks" / "recorded"
    folder.mkdir(parents=True)
    (folder / "m.json").write_text(
        '{"a b": {"c.d": [0.98765, 1234]}, "text": "so", '
        '"t": {"columns": ["x", "y"], "rows": [["<b>", 1234], ["q", null]]}}'
    )
    (root / "docs" / "f.md").write_text(
        "<!-- mien:results fact=copies.PrivateTest.Training -->1<!-- /mien:results -->|"
        "<!-- mien:results recorded=m value=a_b.c_d.0 form=percent -->1<!-- /mien:results -->|"
        "<!-- mien:results recorded=m value=a_b.c_d.0 form=2 -->1<!-- /mien:results -->|"
        "<!-- mien:results recorded=m value=a_b.c_d.1 -->1<!-- /mien:results -->|"
        "<!-- mien:results recorded=m value=text --><!-- /mien:results -->|"
        "<!-- mien:results recorded=m value=t --><!-- /mien:results -->"
    )
    assert root / "docs" / "f.md" in {found.file for found in fill(root, check=True)}
    fill(root)
    bodies = [part.split("<!--")[0] for part in (root / "docs" / "f.md").read_text().split("-->")[1::2]]
    assert bodies == [
        "288",
        "98.8 %",
        "0.99",
        "1,234",
        "so",
        "\n| x | y |\n|---|---:|\n| &lt;b&gt; | 1,234 |\n| q | – |\n",
    ]
    assert fill(root, check=True) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("fact=copies.PrivatTest.Training", "did you mean 'copies.PrivateTest.Training'"),
        ("fact=faces protocol=x", "says table=…"),
        ("recorded=m value=x", "nothing is recorded as 'm'"),
        ("recorded=../m value=x", "nothing is recorded as"),
        ("recorded=m", "says recorded=FILE value=PATH"),
        ("frozen=here", "says frozen=SOURCE digest"),
        ("frozen=here digest=0011aabb", "a frozen passage was edited"),
    ],
)
def test_what_cannot_be_quoted(root, words, message):
    (root / "docs" / "f.md").write_text(f"text\n<!-- mien:results {words} -->1<!-- /mien:results -->")
    with pytest.raises(MienError, match=message) as error:
        fill(root)
    assert "f.md, line 2" in str(error.value)


def test_a_frozen_passage_stays_as_it_was_measured(root):
    path = root / "docs" / "f.md"
    path.write_text("<!-- mien:results frozen=paper digest=new -->\n71.3 % of\n12,345 faces\n<!-- /mien:results -->")
    assert fill(root, check=True)[-1].file == path
    fill(root)
    sealed = path.read_text()
    assert "frozen=paper digest=" in sealed
    assert "digest=new" not in sealed
    assert fill(root, check=True) == []
    path.write_text(sealed.replace("% of\n12,345", "%   of 12,345"))  # another line break is no other number
    assert fill(root, check=True) == []
    path.write_text(sealed.replace("71.3", "81.3"))
    with pytest.raises(MienError, match="was edited"):
        fill(root, check=True)


def test_numbers_that_look_measured_are_not_typed(root):
    fill(root)
    path = root / "docs" / "f.md"
    for text, typed in (
        ("It reaches\n73.28 % there", "73.28 %"),
        ("of 3,589 faces", "3,589"),
        ("at 64%", "64%"),
        ("a 95 % interval of `2,000` draws at `12.5 %`, 48 px", None),
        ("```\n73.28 %\n```\n", None),
        ("<!-- Generated by x -->\n73.28 %", None),
    ):
        path.write_text(text)
        found = [(stale.file.name, stale.typed) for stale in fill(root, check=True)]
        assert found == ([("f.md", typed)] if typed else []), text
    path.unlink()
    (root / "docs" / "LOG.md").write_text("73.28 %")
    assert fill(root, check=True) == []


def test_what_is_said_of_the_shipped_bundle_was_measured_with_that_file():
    """Another export of the same run may do better on the selection split; it is not what people get."""
    root = Path(__file__).parents[2]
    recorded = Ledger(root / "results" / "ledger.jsonl")
    block = "<!-- mien:results value=id bundle=default views={} --><!-- /mien:results -->"
    text = " ".join(block.format(view) for view in ("one", "flip"))
    card = default_bundle().card
    shipped, weights = card.results, {"default": card.sha256}
    filled = render(text, load_all(root / "results"), recorded, root, shipped=weights)
    assert [filled.split("-->")[part].split("<!--")[0] for part in (1, 3)] == [shipped["one"], shipped["flip"]]
    with pytest.raises(MienError, match="default"):
        render(text.replace("default", "defualt"), [], recorded, root, shipped=weights)
    with pytest.raises(MienError, match="none was given"):
        render(text, [], recorded, root)
    other = render(text, load_all(root / "results"), recorded, root, shipped={"default": "0" * 64})
    assert "-->not measured yet<!--" in other
