from __future__ import annotations

import pytest

from mien.errors import UnknownNameError
from mien.registry import Registry, suggestion


def test_entries_keep_their_order_and_their_names() -> None:
    registry = Registry[int]("colour")
    assert [registry.add(name, value) for name, value in (("red", 1), ("blue", 2))] == [1, 2]
    assert list(registry) == ["red", "blue"]
    assert dict(registry.items()) == {"red": 1, "blue": 2}
    assert "red" in registry
    assert len(registry) == 2
    with pytest.raises(ValueError, match="two entries claim the colour name 'red'"):
        registry.add("red", 3)
    assert registry["red"] == 1


def test_an_unknown_name_is_a_key_error_with_a_suggestion() -> None:
    registry = Registry[int]("colour")
    with pytest.raises(UnknownNameError, match="no colour is called 'red'; none is registered"):
        registry["red"]
    registry.add("red", 1)
    with pytest.raises(KeyError) as caught:
        registry["rde"]
    assert str(caught.value) == "no colour is called 'rde'; did you mean 'red'?"


def test_suggestions() -> None:
    assert suggestion("VGGNET", ["vggnet"]) == "did you mean 'vggnet'?"
    known = ["cbam-resnet50", "emonext-t", "residual-masking-network", "resnet18", "resnet50", "vgg19-bn", "vggnet"]
    assert suggestion("rmn", known) == "did you mean 'residual-masking-network'?"
    assert suggestion("CBAM", known) == "did you mean 'cbam-resnet50'?"
    assert suggestion("resnet", known).count(" or ") == 2, "three at most"
    for letter in "rtv":
        assert suggestion(letter, known).startswith("known: "), "a letter is in many names, and begins many"
    assert suggestion("q", [f"name{i:02}" for i in range(30)]).endswith("name19, …")
