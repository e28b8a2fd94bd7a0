"""Whether a network can be trained as a recipe says: asked of shapes alone, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from mien.systems.card import check_options
from mien.systems.sides import check_side, made
from mien.training.recipe import Recipe
from mien.training.trainable import Trainable

if TYPE_CHECKING:
    from mien.systems.card import Card


def check_feasible(card: Card, recipe: Recipe, *, classes: int, tried: Iterable[Recipe] = ()) -> None:
    """Refuse options, stages, trainable parts and sides that the network does not have or take.

    Args:
        card: of the network.
        recipe: of its training.
        classes: expressions that it tells apart.
        tried: recipes that this was asked of before: what a recipe has in common with them is not tried again, for
            each side takes a second.

    Raises:
        RecipeError: an option, a stage or a part that the network does not have.
        InputError: a side or a number of channels that it does not take; the message says which it takes.

    Example:
        >>> from mien.systems import card
        >>> own = card("vggnet")
        >>> check_feasible(own, Recipe.of(own, "mien"), classes=7)
    """
    check_options(card, recipe.system)
    _check_stages(card, recipe, classes)
    known = {trial for one in tried for trial in _trials(one)}
    for side, channels, _, stage in sorted(_trials(recipe) - known):
        check_side(card, side, channels=channels, options=recipe.system, stage=stage)


def _trials(recipe: Recipe) -> set[tuple[int, int, str, str]]:
    """Side, channels, options and stage of what the network is fed.

    A stage learns from faces of its own side and is judged on those of the input.
    """
    options = repr(sorted(recipe.system.items()))
    return {
        (side or recipe.input.size, recipe.input.channels, options, stage.name if recipe.stages else "")
        for stage in recipe.staged
        for side in (0, stage.augment.size)
    }


def _check_stages(card: Card, recipe: Recipe, classes: int) -> None:
    stages = [stage for stage in recipe.staged if recipe.stages or stage.trainable]
    if not stages:
        return
    module = made(card, classes=classes, channels=recipe.input.channels, options=recipe.system)
    trainable = Trainable(module)
    for stage in stages:
        if recipe.stages:
            module.begin_stage(stage.name)
        trainable.choose(stage.trainable)
