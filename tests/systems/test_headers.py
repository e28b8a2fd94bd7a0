"""What the header, the class and the recipes of every system say, so that no system tells less than another."""

from __future__ import annotations

import importlib
import inspect
import re

import pytest

from mien import systems
from mien.training import Recipe


def _header(name: str) -> str:
    return importlib.import_module(systems.home(name)).__doc__ or ""


@pytest.mark.parametrize("name", systems.names())
def test_a_header_begins_with_a_sentence_that_says_what_the_system_is(name: str) -> None:
    first, blank, *_ = _header(name).splitlines()
    assert first.endswith(".")
    assert not blank
    said = re.sub(r"\([^)]*\)", "", first)
    assert len(said.split()) >= 7, f"{first!r} only names it"


@pytest.mark.parametrize("name", systems.names())
def test_a_header_says_in_one_paragraph_what_the_recipe_mien_does_otherwise(name: str) -> None:
    header = _header(name)
    assert header.count("\n\nRecipe `mien`: ") == 1
    assert header.index("\nRecipe `mien`: ") < header.index("\nDeviations:")
    _, _, deviations = header.partition("\nDeviations:")
    assert "\n- `mien` " not in deviations
    paragraph = header.split("\nRecipe `mien`: ")[1].split("\n\n")[0]
    assert not re.search(r"\d ?%", paragraph), "measured numbers stand in results"


@pytest.mark.parametrize("name", systems.names())
def test_the_class_explains_every_option_of_the_card(name: str) -> None:
    card = systems.card(name)
    _, _, arguments = (inspect.getdoc(card.module) or "").partition("\nArgs:\n")
    explained = set(re.findall(r"^ {4}(\w+): \S", arguments, re.MULTILINE))
    assert set(card.options) <= explained


@pytest.mark.parametrize("name", systems.networks())
def test_a_faithful_recipe_in_bf16_says_so(name: str) -> None:
    card = systems.card(name)
    if "faithful" in card.recipes and Recipe.of(card, "faithful").precision == "bf16":
        assert re.search(r"\bbf16\b", _header(name)), "the source computed in another precision, or its header says so"
