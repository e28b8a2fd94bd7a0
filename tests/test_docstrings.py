"""Docstrings have the parts that the pages of the API are made of."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"
HEADS = {"Args:", "Attributes:", "Returns:", "Yields:", "Raises:", "Example:", "References:"}


def test_nothing_stands_among_the_entries_of_a_part() -> None:
    """A paragraph between ``Args:`` and the next part makes one long line of all arguments on their page."""
    strays = []
    for path in SOURCES.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            lines = (ast.get_docstring(node) or "").splitlines()
            begun = next((number for number, line in enumerate(lines) if line in HEADS), len(lines))
            strays += [
                f"{path.relative_to(SOURCES)}, {node.name}: {line}"
                for line in lines[begun:]
                if line and not line.startswith(" ") and line not in HEADS
            ]
    assert not strays


def test_training_says_which_devices_and_which_errors_there_are() -> None:
    pytest.importorskip("torch")
    import mien
    from mien.evaluation.devices import DEVICES

    text = inspect.getdoc(mien.train) or ""
    (device,) = [line for line in text.splitlines() if line.strip().startswith("device:")]
    assert not [name for name in DEVICES if f"``{name}``" not in device]
    assert "cuda:" not in device  # which a training refuses
    assert "    InputError: " in text.partition("Raises:")[2]
