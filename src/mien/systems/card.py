"""What is known of a system before it is built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from mien.errors import RecipeError
from mien.registry import suggestion

if TYPE_CHECKING:
    from mien.bundle import InputSpec
    from mien.systems.base import System
    from mien.systems.classical import ClassicalSystem


@dataclass(frozen=True)
class Paper:
    """Where a system comes from. Empty fields are unknown, never guessed."""

    title: str = ""
    authors: tuple[str, ...] = ()
    year: int = 0
    venue: str = ""
    url: str = ""
    code: tuple[str, ...] = ()
    code_licence: str = ""


@dataclass(frozen=True)
class Pretrained:
    """Published weights that a system can start from, and what they expect.

    Args:
        model: timm's name of them, tag included (``resnet34.a1_in1k``).
        extra_data: what they were trained on; it goes into every result.
        mean: per channel, on the 0–1 scale.
        std: likewise.
        options: architecture options of the card without which the weights do not fit.
        size: side in pixels that a recipe written for fresh weights is brought to; 0 leaves it.
    """

    model: str
    extra_data: tuple[str, ...] = ("ImageNet-1k",)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    options: Mapping[str, Any] = field(default_factory=dict)
    size: int = 0


@dataclass(frozen=True)
class Card:
    """One system of the registry.

    Args:
        id: its name on the command line, in results and in paths.
        title: its name in tables.
        module: the `System` class; a `ClassicalSystem` where it is no network.
        paper: where it comes from.
        input: what the network takes where a recipe says nothing else.
        parameters: of the network for seven classes, with the defaults of its options at that input, checked by a
            test; 0 where none are learnt.
        options: architecture options and their defaults.
        recipes: recipe name → nested mapping over the default recipe, in the shape of its TOML.
        extra_data: data beyond FER2013 that the source used.
        unused: parameters that get no gradient → the reason.
        views: the view that the source reports.
        tiny: options of a small variant that learns in seconds, for tests.
        tiny_size: side in pixels that tests feed it; 0 means the input's own. Sources at 224 px say less here.
        pretrained: published weights that fit it.
        kind: ``network``, or how its results call it: ``classical``, ``clustering``.
    """

    id: str
    title: str
    module: type[System] | type[ClassicalSystem]
    input: InputSpec
    parameters: int
    paper: Paper = Paper()
    options: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra_data: tuple[str, ...] = ()
    unused: Mapping[str, str] = field(default_factory=dict)
    views: tuple[str, ...] = ("one",)
    tiny: Mapping[str, Any] = field(default_factory=dict)
    tiny_size: int = 0
    pretrained: Pretrained | None = None
    kind: str = "network"


class Named(Protocol):
    """What has the id of a system and names its options: a card, or what is known of one without torch."""

    @property
    def id(self) -> str:
        """Of the system."""

    @property
    def options(self) -> Mapping[str, Any]:
        """Architecture options and their defaults."""


def check_options(card: Named, options: Mapping[str, object]) -> None:
    """Refuse options that the card does not name, with a suggestion (`RecipeError`)."""
    for name in options:
        if name not in card.options:
            raise RecipeError(f"{card.id} has no option {name!r}; {suggestion(name, card.options)}")


def grey(size: int, resize: int = 0, channels: int = 1) -> InputSpec:
    """A grey input with mean and standard deviation of FER2013's Training faces (0.5077 and 0.2550).

    With 3 channels the grey values are repeated: for networks whose published parameter count includes a first
    convolution over three.
    """
    from mien.bundle import InputSpec

    return InputSpec(size, channels, "grey", mean=(0.5077,) * channels, std=(0.2550,) * channels, resize=resize)
