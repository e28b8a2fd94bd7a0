from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien import systems
from mien.errors import InputError, RecipeError
from mien.systems.base import (
    System,
    build,
    composite_elements,
    count_layers,
    count_macs,
    count_parameters,
    plain_sequences,
)
from mien.systems.options import check_values
from mien.systems.sides import check_side


def test_macs_and_parameters_of_a_known_network() -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 3)
    )
    assert count_parameters(module) == 36 + 8 + 771
    assert count_macs(module.train(), 1, 8) == 64 * 36 + 768
    assert module.training, "counting left the network in another mode"
    assert int(module[1].num_batches_tracked) == 0


@pytest.mark.parametrize(("system", "macs"), [("compact", 77_000_000), ("vggnet", 450_000_000)])
def test_macs_at_the_cards_input(system: str, macs: int) -> None:
    card = systems.card(system)
    found = count_macs(systems.create(system), card.input.channels, card.input.size)
    assert 0.5 < found / macs < 2


def test_the_default_loss_is_the_recipes() -> None:
    class One(System):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(()))

        def forward(self, images: Tensor) -> Tensor:
            return images.mean((2, 3)) * self.weight

    images, targets = torch.ones(2, 3, 4, 4), torch.eye(3)[:2]
    terms = One().loss(images, targets, lambda logits, wanted: (logits - wanted).abs().sum())
    assert {name: float(value.detach()) for name, value in terms.items()} == {"loss": 4.0}
    with pytest.raises(NotImplementedError, match="One has no penultimate features"):
        One().embed(images)


def test_names_and_cards_load_no_torch_before_they_are_asked() -> None:
    code = "import sys; from mien import systems; systems.names(); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_torch_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["torch"] = None
from mien import systems
from mien.errors import MissingExtraError
try:
    systems.card("compact")
except MissingExtraError as error:
    assert "mien[train]" in str(error)
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


WITHOUT = {
    "turtle": "training turtle needs packages that are not installed: pip install 'mien[classical]'",
    "compact": "training compact needs packages that are not installed: pip install 'mien[train]'",
    "turtel": "no system is called 'turtel'; did you mean 'turtle'?",
}


@pytest.mark.parametrize("missing", ["torch", "sklearn"])
def test_training_names_the_extra_of_the_system_as_the_command_does(missing: str) -> None:
    code = f"""
import sys
sys.modules[{missing!r}] = None
import mien
from mien.cli import main
for system in {list(WITHOUT)}:
    try:
        mien.train(system, None, None)
    except mien.errors.MienError as error:
        print(error)
    try:
        main(["train", system])
    except SystemExit as end:
        assert end.code == 2
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == list(WITHOUT.values())
    assert done.stderr.splitlines() == [f"mien: {said}" for said in WITHOUT.values()]


def test_an_element_stands_for_the_few_of_its_layers_that_are_sequences_of_sequences() -> None:
    def convolution() -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(2, 2, 1), nn.ReLU())

    class Inception(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = convolution()
            self.pool = nn.Sequential(nn.MaxPool2d(1), convolution())

    module, stem = Inception(), convolution()
    assert count_layers([module]) == 2
    assert composite_elements(nn.Sequential(stem, module)) == [stem, module]
    lists = nn.ModuleDict({"a": nn.ModuleList([module, nn.ReLU()])})
    assert composite_elements(lists) == [module]
    assert composite_elements(nn.ModuleList([module, module])) == [module]


def test_plain_sequences_are_the_outermost_ones_outside_of_blocks() -> None:
    block = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    trunk = nn.Sequential(nn.Linear(2, 2), nn.Flatten(), nn.Linear(2, 2))
    parts = nn.ModuleDict({"with": nn.Sequential(block), "trunk": trunk, "one": nn.Sequential(nn.Linear(2, 2))})
    assert plain_sequences(parts, [block]) == [trunk]
    assert plain_sequences(parts, [])[1] is trunk


META = torch.device("meta")


@pytest.mark.parametrize(
    ("system", "options", "said"),
    [
        ("deepemotion", {"width": "two"}, "width = 'two': expected a whole number of at least 1, such as 1"),
        ("deepemotion", {"width": 0}, "width = 0: expected a whole number of at least 1"),
        ("deepemotion", {"width": True}, "width = True: expected a whole number"),
        ("deepemotion", {"width": 1.0}, "width = 1.0: expected a whole number"),
        ("deepemotion", {"dropout": 2}, "dropout = 2: expected a number from 0 to 1, such as 0.5"),
        ("deepemotion", {"penalty": float("nan")}, "penalty = nan: expected a number, such as 0.0"),
        ("deepemotion", {"initial_std": -1.0}, "initial_std = -1.0: give a number of at least 0"),
        ("emonext-t", {"drop_path": -0.1}, "drop_path = -0.1: expected a number from 0 to 1"),
        ("efficientfer", {"width": 0.0}, "width = 0.0: expected a number above 0, such as 1.0"),
        ("vggnet", {"width": -4}, "width = -4: expected a whole number of at least 1, such as 64"),
        ("cnn-search", {"filters": [8, 8]}, "filters = [8, 8]: expected a list of lists of whole numbers of at"),
        ("cnn-search", {"filters": [[8], [0]]}, "filters = [[8], [0]]: expected a list of lists of whole"),
        ("cnn-search", {"padded": 1}, "padded = 1: expected true or false, such as False"),
        ("cnn-search", {"pool": 2}, "pool = 2: expected a name, such as 'max'"),
        ("cnn-search", {"pool": "mx"}, "cnn-search: pool = 'mx': choose max or avg"),
        ("cnn-search", {"hidden": "64"}, "hidden = '64': expected a list of whole numbers"),
        ("lhc-netc", {"gates": [0.0, "open"]}, "expected a list of numbers, such as (0.0, 0.0"),
        ("ad-corre", {"trunk": "nothing"},
         "trunk = 'nothing': give the name of a network of timm, such as legacy_xception or resnet50"),
        ("resemotenet", {"width": 4, "strides": [2, 2]},
         "resemotenet: strides = [2, 2]: give 3 values, one for each residual block, not 2"),
        ("lhc-netc", {"gates": [0.0, 0.0]}, "gates = [0.0, 0.0]: give 5 values, one for each module, not 2"),
        ("lhc-net", {"size": 64}, "7 heads do not share the 8 × 8 pixels of a map evenly; 1 or 2 or 4 or 8 do"),
        ("cnn-search", {"filters": []}, "filters = []: give at least one block"),
        ("cnn-search", {"filters": [[8], []]}, "and one convolution in each"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused_by_name(system: str, options: dict[str, Any], said: str) -> None:
    with META, pytest.raises(RecipeError) as caught:
        systems.create(system, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    card = systems.card(system)
    with pytest.raises(RecipeError):  # as a training does before it writes anything
        check_side(card, card.input.size, channels=card.input.channels, options=options)


@pytest.mark.parametrize("name", systems.networks())
def test_every_value_that_a_card_names_passes(name: str) -> None:
    card = systems.card(name)
    of_weights = card.pretrained.options if card.pretrained else {}
    for options in (
        card.options,
        card.tiny,
        of_weights,
        *(recipe.get("system", {}) for recipe in card.recipes.values()),
    ):
        check_values(card, options)
        check_values(card, {name: _lists(value) for name, value in options.items()})


def _lists(value: object) -> object:
    return [_lists(item) for item in value] if isinstance(value, tuple) else value


def test_whole_numbers_do_for_numbers_lists_for_tuples_and_anything_for_none() -> None:
    class One(System):
        def __init__(self, *, classes: int, channels: int, **options: Any) -> None:
            super().__init__()
            self.chosen = options

    defaults = {
        "rate": 0.5,
        "sizes": (4, 8),
        "teacher": None,
        "skip": 0,
        "shifts": (0, 3),
        "few": (),
        "mixed": (1, "a"),
    }
    card = dataclasses.replace(systems.card("compact"), id="one", module=One, options=defaults)
    options = {"rate": 1, "sizes": [4], "teacher": "x", "skip": -1, "shifts": [-2], "few": ["x"], "mixed": [None]}
    assert build(card, classes=7, channels=1, options=options).options == {"classes": 7, "channels": 1, **options}
    for name, value in {"sizes": [4, 0], "skip": 0.5, "shifts": [0.5], "rate": float("inf")}.items():
        with pytest.raises(RecipeError, match=f"^one: {name} = "):
            build(card, classes=7, channels=1, options={name: value})


def test_a_constructor_that_fails_shows_why_and_its_own_faults_stay_as_they_are() -> None:
    class Picky(System):
        def __init__(self, *, classes: int, channels: int, sides: tuple[int, ...]) -> None:
            super().__init__()
            self.side = sides[2]
            if self.side == 5:
                raise InputError("no 5")
            if self.side == 6:
                raise FileNotFoundError("gone")

    card = dataclasses.replace(systems.card("compact"), id="picky", module=Picky, options={"sides": (1, 2)})
    with pytest.raises(IndexError):
        build(card, classes=7, channels=1, options={})
    with pytest.raises(IndexError):
        build(card, classes=7, channels=1, options={"sides": [1, 2]})
    with pytest.raises(
        RecipeError, match=r"^picky cannot be built with sides = \[1\] \(by default \(1, 2\)\): "
    ) as caught:
        build(card, classes=7, channels=1, options={"sides": [1]})
    assert isinstance(caught.value.__cause__, IndexError)
    for side, kind, said in ((5, InputError, "no 5"), (6, FileNotFoundError, "gone")):
        with pytest.raises(kind, match=f"^{said}$"):
            build(card, classes=7, channels=1, options={"sides": [1, 2, side]})
