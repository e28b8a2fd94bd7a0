"""The complete system file in CONTRIBUTING is one: it passes the contract that every system has to pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from document_blocks import blocks

pytest.importorskip("torch")

from mien.systems.card import Card
from mien.systems.elsewhere import load_file


@pytest.fixture
def card(tmp_path: Path) -> Iterator[Card]:
    source = next(block.text for block in blocks("CONTRIBUTING.md") if "class Tiny" in block.text)
    assert len(source.splitlines()) <= 30, "the example is one that a reader takes in at a glance"
    path = tmp_path / "tiny.py"
    path.write_text(source, encoding="utf-8")
    before = set(sys.modules)
    yield load_file(path)["tiny"]
    for name in set(sys.modules) - before:
        if name.startswith("mien_file_"):
            del sys.modules[name]


def test_its_recipe_is_one(card: Card) -> None:
    from mien.training import Recipe

    assert Recipe.of(card).optim.name == "adamw"


def test_it_passes_the_contract(card: Card) -> None:
    from mien.testing import examine

    outcomes = list(examine(card))
    assert [outcome for outcome in outcomes if not outcome.passed] == []
    assert len(outcomes) > 9
