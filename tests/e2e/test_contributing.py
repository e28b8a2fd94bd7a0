"""The complete system file in CONTRIBUTING is one: it passes the contract that every system has to pass."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from document_blocks import blocks

pytest.importorskip("torch")


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    source = next(block.text for block in blocks("CONTRIBUTING.md") if "class Tiny" in block.text)
    path = tmp_path / "tiny_of_contributing.py"
    path.write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, path.stem, module)
    spec.loader.exec_module(module)
    return module


def test_its_card_tells_the_truth_and_its_recipe_is_one(example: Any) -> None:
    from mien.systems.base import build, count_parameters
    from mien.training import Recipe

    card = example.CARDS["tiny"]
    assert count_parameters(build(card, classes=7, channels=None, options={})) == card.parameters
    assert Recipe.of(card).optim.name == "adamw"


def test_it_passes_the_contract(example: Any) -> None:
    testing = pytest.importorskip("mien.testing", reason="mien.testing is not there yet")
    testing.check_system(example.CARDS["tiny"])
