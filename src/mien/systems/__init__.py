"""Published systems, one file each, and the table that says which file holds which.

The table is the one place that fixes the ids. Files are imported when a system of theirs is asked for, so that
listing names costs nothing and a broken plug-in breaks nobody else. Installed packages add systems of their own by
entry points; see `mien.systems.elsewhere`.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import MissingExtraError, RecipeError, UnknownNameError
from mien.registry import suggestion
from mien.systems.card import Card, Paper, Pretrained, check_options

if TYPE_CHECKING:
    from torch import Tensor

    from mien.systems.base import System

_HOME = {
    "efficientfer": "mien.systems.efficientfer",
    "fernext-sdafe": "mien.systems.fernext_sdafe",
    "resemotenet": "mien.systems.resemotenet",
    "mini-resemotenet-a": "mien.systems.resemotenet",
    "mini-resemotenet-b": "mien.systems.resemotenet",
    "mini-resemotenet-c": "mien.systems.resemotenet",
    "emonext-t": "mien.systems.emonext",
    "emonext-s": "mien.systems.emonext",
    "emonext-b": "mien.systems.emonext",
    "emonext-l": "mien.systems.emonext",
    "emonext-xl": "mien.systems.emonext",
    "segmentation-vgg19": "mien.systems.segmentation_vgg19",
    "lhc-net": "mien.systems.lhc_net",
    "lhc-netc": "mien.systems.lhc_net",
    "residual-masking-network": "mien.systems.residual_masking",
    "resnet18-tricks": "mien.systems.resnet18_tricks",
    "vggnet": "mien.systems.vggnet",
    "cnn-search": "mien.systems.cnn_search",
    "ad-corre": "mien.systems.ad_corre",
    "deepemotion": "mien.systems.deepemotion",
    "deepemotion-4": "mien.systems.deepemotion",
    "deepemotion-8": "mien.systems.deepemotion",
    "pramerdorfer-vgg": "mien.systems.pramerdorfer",
    "pramerdorfer-resnet": "mien.systems.pramerdorfer",
    "pramerdorfer-inception": "mien.systems.pramerdorfer",
    "identiface": "mien.systems.identiface",
    "vgg19-bn": "mien.systems.vgg19_bn",
    "resnet18": "mien.systems.ensemble_members",
    "resnet50": "mien.systems.ensemble_members",
    "resnet101": "mien.systems.ensemble_members",
    "cbam-resnet50": "mien.systems.ensemble_members",
    "efficientnet-b2": "mien.systems.ensemble_members",
    "compact": "mien.systems.compact",
}

_NO_NETWORKS = {
    "local-learning-bow": "mien.systems.local_learning_bow",
    "local-learning-deep-bow": "mien.systems.local_learning_deep_bow",
    "turtle": "mien.systems.turtle",
    "pramerdorfer-eight": "mien.systems.named_ensembles",
    "residual-masking-seven": "mien.systems.named_ensembles",
}
"""Systems that are fitted instead of trained."""
_CLASSICAL = ("local-learning-bow", "local-learning-deep-bow", "turtle")
_BY = ("torch", ("lightning_fabric", "lightning"), "timm", "safetensors", "sklearn", "scipy")
"""Packages that every training needs; Fabric comes with either of two."""

__all__ = [
    "Card",
    "Paper",
    "Pretrained",
    "card",
    "check_installed",
    "check_name",
    "check_options",
    "check_recipe",
    "create",
    "extra",
    "home",
    "names",
    "networks",
]


def names() -> list[str]:
    """Ids of all systems, in the order of the tables, networks first."""
    return [*_HOME, *_NO_NETWORKS]


def networks() -> list[str]:
    """Ids of the systems that are neural networks: those that `create` makes."""
    return list(_HOME)


def home(name: str) -> str:
    """The module that holds a system of ours; any other name, a plug-in's too, raises `UnknownNameError`.

    Example:
        >>> home("emonext-s")
        'mien.systems.emonext'
    """
    if name not in names():
        raise UnknownNameError(f"mien has no system {name!r}; {suggestion(name, names())}")
    return {**_HOME, **_NO_NETWORKS}[name]


def extra(name: str) -> str:
    """The extra that brings all that training a system needs.

    Example:
        >>> extra("compact"), extra("turtle")
        ('train', 'classical')
    """
    return "classical" if name in _CLASSICAL else "train"


def check_installed(system: str | Path | Card) -> None:
    """Refuse to train a system whose packages are not installed (`MissingExtraError`), without loading any of them.

    Args:
        system: an id, a file of systems, which is not run, or a card.
    """
    from mien.systems.elsewhere import file_of

    name = system.id if isinstance(system, Card) else str(system)
    if not isinstance(system, Card) and file_of(name) is None:
        check_name(name)
    MissingExtraError.check(f"training {name}", extra(name), *_BY)


def check_name(name: str) -> None:
    """Refuse an unknown id with the nearest ones (`UnknownNameError`), without loading torch."""
    if name in names():
        return
    from mien.systems.elsewhere import file_of, installed

    found = installed()
    if name not in found:
        from mien.systems.brought import brought

        if brought(name) is not None:
            return
        if (named := file_of(name)) is not None and named[0].suffix.lower() == ".py":
            raise UnknownNameError(
                f"{name!r} is a file and no id: `mien train`, `mien distill` and `mien systems check` take it"
            )
        raise UnknownNameError(f"no system is called {name!r}; {suggestion(name, [*names(), *found])}")


def check_recipe(system: str, name: str, recipes: Iterable[str]) -> None:
    """Refuse the name of a recipe that is none of the system's ``recipes``, with the nearest one (`RecipeError`).

    Example:
        >>> check_recipe("vggnet", "faithfull", ["faithful", "mien"])
        Traceback (most recent call last):
        ...
        mien.errors.RecipeError: vggnet has no recipe 'faithfull'; did you mean 'faithful'?
    """
    if name not in (known := list(recipes)):
        raise RecipeError(f"{system} has no recipe {name!r}; {suggestion(name, known)}")


def card(name: str) -> Card:
    """The card of a system; an unknown name raises `UnknownNameError` with the nearest ones."""
    check_name(name)
    if name not in names():
        from mien.systems.brought import brought
        from mien.systems.elsewhere import load_installed

        return brought(name) or load_installed(name)
    found: Card = _module(name).CARDS[name]
    return found


def create(
    name: str,
    *,
    classes: int = 7,
    channels: int | None = None,
    pretrained: bool | str | Path | Mapping[str, Tensor] = False,
    **options: object,
) -> System:
    """A system with fresh weights, drawn from torch's global generator, or with published ones below its classifier.

    Args:
        name: id of the system.
        classes: number of outputs.
        channels: 1 or 3; the card's own where it is not given.
        pretrained: published weights: true for timm's download, a local file of them, or the weights themselves
            by timm's names. They go with the input that ``card.pretrained`` states, and with its options.
        **options: architecture options of the card; an unknown one raises `RecipeError`.

    Example:
        >>> create("compact", classes=7).card.id
        'compact'
    """
    from mien.systems.base import build

    known = card(name)
    if pretrained is False:
        return build(known, classes=classes, channels=channels, options=options)
    from mien.systems.weights import fetch, published

    if not isinstance(pretrained, Mapping):
        pretrained = fetch(known, "timm" if pretrained is True else pretrained)
    module = build(
        known,
        classes=classes,
        channels=len(published(known).mean) if channels is None else channels,
        options={**published(known).options, **options},
    )
    module.load_pretrained(pretrained)
    return module


def _module(name: str) -> Any:
    try:
        return importlib.import_module(home(name))
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("torch", "torchvision", "timm"):
            raise MissingExtraError(name, extra(name)) from error
        raise
