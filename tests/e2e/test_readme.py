"""Every command and every snippet of the README and of "Getting started" does what it says."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_blocks import ROOT, Block, Session, blocks, check_form

pytest.importorskip("torch")

DOCUMENTS = ("README.md", "docs/getting-started.md")
RUN = [block for document in DOCUMENTS for block in blocks(document)]


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[Path, Session]:
    found = {}
    for document in DOCUMENTS:
        folder = tmp_path_factory.mktemp("reader")
        (folder / "examples").symlink_to(ROOT / "examples")
        found[ROOT / document] = Session(folder)
    return found


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, id=b.name, marks=[pytest.mark.full] if b.how == "full" else []) for b in RUN],
)
def test_the_block_runs(block: Block, sessions: dict[Path, Session], mien_cache: Path) -> None:
    if block.how == "form":
        check_form(block)
    else:
        sessions[block.file].run(block)


def test_the_first_screen_says_what_it_is_shows_a_picture_and_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text(encoding="utf-8").splitlines()[:20])
    for wanted in ("expression", "offline", "![", "make demo", "make test"):
        assert wanted in screen


def test_the_readme_has_blocks_of_both_kinds() -> None:
    assert {block.language for block in RUN} >= {"bash", "python"}
    assert len(RUN) >= 10
