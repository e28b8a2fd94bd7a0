"""What every system of the registry has to hold; the checks are library code (`mien.testing`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien import systems
from mien.errors import InputError, RecipeError, UnknownNameError
from mien.systems.base import System
from mien.systems.card import Card, grey
from mien.testing import SYSTEM_CHECKS, check_system, examine, system_checks

OF_THE_CARD = ("options", "parameters", "recipes")
"""Checks that look at more than the small variant."""


KIN = {"lhc-net": "lhc-netc", "resnet101": "resnet50"}
"""Small variants that are part of another's: without its gates, or the same but for the name of the class."""


def alike() -> set[str]:
    """Systems whose small variant is that of another one: EmoNeXt-S to -XL are one small network."""
    seen, found = set(), set(KIN)
    for system in systems.networks():
        card = systems.card(system)
        options = repr(sorted({**card.options, **card.tiny}.items()))
        small = (card.module, options, card.tiny_size or card.input.size, card.input.channels, repr(card.unused))
        if small in seen:
            found.add(system)
        seen.add(small)
    return found


def contracts() -> Iterator[Any]:
    """Every check of every system; of small variants that are equal, all but the first wait for the full tests."""
    again = alike()
    for system in systems.networks():
        for check in SYSTEM_CHECKS:
            waits = system in again and check not in OF_THE_CARD
            yield pytest.param(system, check, marks=[pytest.mark.full] if waits else [])


@pytest.mark.parametrize(("system", "check"), list(contracts()))
def test_contract(system: str, check: str) -> None:
    dict(system_checks(system))[check]()


def test_small_variants_that_are_equal_are_checked_once() -> None:
    waiting = alike()
    assert {"emonext-s", "emonext-xl", "mini-resemotenet-c", "deepemotion-4"} < waiting
    assert not {"emonext-t", "resemotenet", "deepemotion", *KIN.values()} & waiting
    assert KIN.keys() | waiting <= set(systems.networks())
    for name, kin in KIN.items():
        small, covering = (systems.create(one, **systems.card(one).tiny) for one in (name, kin))
        parts = {key: tensor.shape for key, tensor in covering.state_dict().items()}
        assert {key: tensor.shape for key, tensor in small.state_dict().items()}.items() <= parts.items()


@pytest.mark.parametrize("system", systems.networks())
def test_cards_say_where_a_system_comes_from(system: str) -> None:
    card = systems.card(system)
    assert card.id == system
    assert "mien" in card.recipes
    assert card.paper.url or not card.paper.title
    module = __import__(systems._HOME[system], fromlist=["CARDS"])
    assert "Deviations:" in (module.__doc__ or ""), "the header of a system names its deviations"


class Plain(System):
    """A system without fault; its children have one each."""

    def __init__(self, *, classes: int, channels: int, width: int = 16) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(channels * 48 * 48, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def embed(self, images: Tensor) -> Tensor:
        out: Tensor = self.body(images)
        return out

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(images))
        return out


class Dropping(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(images, 0.1))


class Mixing(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images - images.mean(0))


class Idle(Plain):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.idle = nn.Linear(2, 2)


class Seven(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + torch.zeros(7)


class Forgetful(Plain):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shift = torch.rand(())

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.shift = self.shift + 1
        return super().forward(images + self.shift)


class Remembering(Plain):
    """What is drawn once and kept beside the state would come back with the same seed alone."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.mask = torch.rand(48, 48)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images * self.mask)


class Swallowing(Plain):
    def __init__(self, *, classes: int, channels: int, **anything: Any) -> None:
        super().__init__(classes=classes, channels=channels, width=anything.get("width", 16))


class Overflowing(Plain):
    """Finite going forward, not so coming back: the slope of a square root at zero."""

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = super().forward(images)
        return out + (0 * out).abs().sqrt() if torch.is_autocast_enabled("cpu") else out


class Twofaced(Plain):
    """The graph computes something else than the network."""

    def embed(self, images: Tensor) -> Tensor:
        return super().embed(images) * (2 if torch.compiler.is_compiling() else 1)


class Staged(Plain):
    def begin_stage(self, name: str) -> None:
        self.stage_kind(name, ("plain",))


class Beside(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + 1


class Deaf(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(0 * images)


class Double(Plain):
    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).double()


class Leaving(Plain):
    def forward(self, images: Tensor) -> Tensor:
        raise SystemExit(0)


class Lined(Plain):
    """Without fault: rates drawn from a line while it is made are numbers that are not there without a device."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]


def own(module: type[Any], parameters: int = 48 * 48 * 16 + 16 + 16 * 7 + 7, **recipe: Any) -> Card:
    return Card("own", "Own", module, grey(48), parameters, options={"width": 16}, recipes={"mien": recipe})


@pytest.mark.parametrize("module", [Plain, Lined])
def test_a_third_party_can_check_its_own(module: type[Any]) -> None:
    check_system(own(module))


@pytest.mark.parametrize(
    ("card", "check", "message"),
    [
        (own(Double), "outputs", r"with torch\.float64 \(1, 2\), not float32"),
        (own(Dropping), "evaluation", "is random in evaluation"),
        (own(Mixing), "evaluation", "depends on batch mates"),
        (own(Idle), "gradients", r"no gradient reaches idle\.bias, idle\.weight"),
        (own(Deaf), "gradients", r"no gradient reaches body\.1\.weight"),
        (own(Deaf), "learning", "learns only"),
        (own(Forgetful), "weights", "some state is not in state_dict"),
        (own(Remembering), "weights", "some state is not in state_dict"),
        (own(Swallowing), "options", "own takes an option that its card does not name"),
        (
            replace(own(Plain), tiny={"wdth": 3}),
            "options",
            "the small variant of own sets wdth, which card.options lacks",
        ),
        (own(Overflowing), "bf16", r"the gradient of .* of own is not finite under bf16"),
        (own(Twofaced), "onnx", "the ONNX graph of own as fp32 deviates by"),
        (own(Staged, stages=[{"name": "fine"}]), "recipes", "stage 'fine': those of own are named after their kind"),
        (own(Plain, trainable=["nowhere"]), "recipes", "trainable: the network has no part 'nowhere'"),
        (own(Beside), "embedding", r"is not head\(embed\(images\)\)"),
        (own(Plain, 5), "parameters", "has 36,999 parameters and its card says 5"),
        (own(Plain, epoch=3), "recipes", "a recipe has no 'epoch'; did you mean 'epochs'"),
        (own(Plain, system={"wdth": 3}), "recipes", "own has no option 'wdth'; did you mean 'width'"),
        (own(Plain, input={"size": 64}), "recipes", "own takes no images of 64 px; it takes 48 px"),
    ],
)
def test_the_checks_can_fail(card: Card, check: str, message: str) -> None:
    with pytest.raises((AssertionError, InputError), match=message):
        dict(system_checks(card))[check]()


def test_all_that_is_wrong_is_told_at_once() -> None:
    class Failing(Plain):
        def forward(self, images: Tensor) -> Tensor:
            raise RuntimeError("no such layer\nand more")

    outcomes = {outcome.check: outcome for outcome in examine(own(Failing, 5, epoch=3))}
    assert set(outcomes) == set(SYSTEM_CHECKS)
    assert outcomes["options"].passed
    assert outcomes["parameters"].message == "own has 36,999 parameters and its card says 5"
    assert outcomes["recipes"].message.startswith("RecipeError: a recipe has no 'epoch'")
    assert outcomes["outputs"].message == "RuntimeError: no such layer"


def test_whoever_leaves_the_program_has_not_passed() -> None:
    outcomes = {outcome.check: outcome for outcome in examine(own(Leaving))}
    assert set(outcomes) == set(SYSTEM_CHECKS)
    assert outcomes["outputs"].message == "SystemExit: 0"


def test_what_is_no_network_is_not_checked() -> None:
    with pytest.raises(InputError, match="own is no network"):
        check_system(own(nn.Linear))


def test_a_fixed_number_of_classes_fails() -> None:
    with pytest.raises((AssertionError, RuntimeError)):
        dict(system_checks(own(Seven)))["outputs"]()


def test_registry_refuses_with_a_suggestion() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'compact'"):
        systems.create("compct")
    with pytest.raises(RecipeError, match="compact has no option 'width'; did you mean 'widths'"):
        systems.create("compact", width=3)
    with pytest.raises(InputError, match="at least 2 expressions"):
        systems.create("compact", classes=1)
    with pytest.raises(InputError, match="images of 1 or 3 channels, not 2"):
        systems.create("compact", channels=2)
