"""Documents hold together: links lead somewhere, commands exist, generated pages are fresh."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from document_blocks import ROOT, Block, blocks, check_form, no_default_model

import mien

pytest.importorskip("torch")

DOCUMENTS = sorted(
    {*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/*.md"), ROOT / "examples/README.md"}
)
# The reference shows signatures, which are no code that runs.
BLOCKS = [block for document in DOCUMENTS if document.parent.name != "reference" for block in blocks(document)]
PICTURE = "examples/astronaut.faces.webp"  # drawn by the default bundle: `make picture`
_LINK = re.compile(r"(?<!\\)\]\(([^)\s]+)\)")


@pytest.mark.parametrize("block", [pytest.param(block, id=block.name) for block in BLOCKS])
def test_the_block_has_the_form_of_something_that_runs(block: Block) -> None:
    check_form(block)


@pytest.mark.parametrize("document", [pytest.param(d, id=str(d.relative_to(ROOT))) for d in DOCUMENTS])
def test_links_lead_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    dead = []
    for link in _LINK.findall(text):
        path, _, anchor = link.partition("#")
        if "://" in path or (path == PICTURE and no_default_model() is not None):
            continue
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            dead.append(link)
    assert dead == []


def test_generated_pages_are_fresh() -> None:
    generator = runpy.run_path(str(ROOT / "docs" / "generate.py"))
    stale = [str(path.relative_to(ROOT)) for path in generator["find_stale"]()]
    assert stale == [], "run `make docs`"


def test_pictures_show_the_default_bundle() -> None:
    if reason := no_default_model():
        pytest.skip(reason)
    drawer = runpy.run_path(str(ROOT / "docs" / "draw.py"))
    stale = [str(path.relative_to(ROOT)) for path in drawer["find_stale"]()]
    assert stale == [], "run `make screenshots`"


def test_the_citation_is_valid() -> None:
    yaml = pytest.importorskip("yaml")
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    # What the Citation File Format 1.2.0 requires, and what has to agree with the package.
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert citation["type"] == "software"
    assert citation["version"] == mien.__version__
    assert citation["license"] == "MIT"
    for work in (citation, *citation["references"]):
        assert work["title"]
        assert all("name" in author or "family-names" in author for author in work["authors"])
        assert work["type"] in ("software", "article", "conference-paper", "dataset")
        assert re.fullmatch(r"10\.\d+/\S+", work.get("doi", "10.1/x"))


def test_the_changelog_says_which_numbers_change() -> None:
    assert "### Numbers that change" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_ci_runs_the_test_command_of_the_readme() -> None:
    lines = (ROOT / ".ci" / "run").read_text().split("\n")
    assert [line for line in lines if line.startswith("make")] == ["make test"]
    assert "make test" in (ROOT / "README.md").read_text(encoding="utf-8")


def _anchors(document: Path) -> set[str]:
    """Names that a hosting page gives to headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
