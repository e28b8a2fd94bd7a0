"""What the values of a recipe may be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mien.errors import RecipeError
from mien.registry import suggestion

if TYPE_CHECKING:
    from mien.training.recipe import Recipe

_CHOICES = {
    ("augment", "crops"): ("random", "centre", "five", "ten"),
    ("augment", "outside"): ("edge", "black"),
    ("augment", "window"): ("centre", "inside"),
    ("augment", "light"): ("offset", "factor"),
    ("augment", "erase_fill"): ("grey", "black"),
    ("optim", "name"): ("sgd", "adam", "adamw", "radam", "rmsprop"),
    ("schedule", "name"): ("constant", "cosine", "onecycle", "restarts", "step", "plateau", "inverse"),
    ("loss", "name"): ("cross_entropy", "focal"),
    ("loss", "class_weights"): ("none", "balanced"),
    ("loss", "targets"): ("majority", "probability", "crossentropy", "multi-target"),
    ("keep",): ("best", "last"),
    ("monitor",): ("accuracy", "loss"),
    ("sampling",): ("none", "balanced"),
    ("start", "kind"): ("fresh", "pretrained", "run"),
    ("distill", "targets"): ("views", "face"),
    ("precision",): ("bf16", "fp32"),
}
_RANGES = {
    ("epochs",): (1, 100_000),
    ("batch_size",): (1, 1_000_000),
    ("ema",): (0, 0.999999),
    ("clip",): (0, 1e9),
    ("clip_value",): (0, 1e9),
    ("early_stop",): (0, 100_000),
    ("ema_every",): (1, 100_000),
    ("evaluate_every",): (1, 100_000),
    ("augment", "flip"): (0, 1),
    ("augment", "vertical_flip"): (0, 1),
    ("augment", "rotate"): (0, 180),
    ("augment", "rotate_probability"): (0, 1),
    ("augment", "translate"): (0, 1),
    ("augment", "translate_probability"): (0, 1),
    ("augment", "brightness"): (0, 1),
    ("augment", "contrast"): (0, 1),
    ("augment", "erase_probability"): (0, 1),
    ("augment", "mixup"): (0, 100),
    ("augment", "cutmix"): (0, 100),
    ("augment", "affine_probability"): (0, 1),
    ("augment", "light_probability"): (0, 1),
    ("augment", "noise"): (0, 1),
    ("augment", "blur"): (0, 20),
    ("augment", "degrade_probability"): (0, 1),
    ("augment", "equalise_probability"): (0, 1),
    ("augment", "size"): (0, 1024),
    ("optim", "lr"): (1e-9, 1e3),
    ("optim", "momentum"): (0, 0.9999),
    ("optim", "weight_decay"): (0, 10),
    ("schedule", "warmup"): (0, 1000),
    ("schedule", "final"): (0, 1),
    ("schedule", "rise"): (0.001, 0.999),
    ("schedule", "factor"): (0.001, 1),
    ("schedule", "patience"): (0, 1000),
    ("schedule", "every"): (1, 100_000),
    ("schedule", "after"): (0, 100_000),
    ("schedule", "floor"): (0, 1),
    ("schedule", "decay"): (0, 1e3),
    ("schedule", "cycle"): (0.001, 100_000),
    ("loss", "smoothing"): (0, 0.99),
    ("loss", "gamma"): (0, 20),
    ("loss", "share"): (0.001, 1),
    ("distill", "weight"): (0, 1),
    ("distill", "temperature"): (0.01, 1000),
}


_HASH = re.compile(r"[0-9a-f]{64}")
# It names the run's folder.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}")


def check(recipe: Recipe) -> None:
    """Refuse values outside of what the loop can do, by name (`RecipeError`)."""

    def at(path: tuple[str, ...]) -> Any:
        value: Any = recipe
        for part in path:
            value = getattr(value, part)
        return value

    if not _NAME.fullmatch(recipe.name):
        raise RecipeError(f"name = {recipe.name!r}: name a recipe with letters, digits, '-', '_', '+' and '.'")
    for path, choices in _CHOICES.items():
        if at(path) not in choices:
            near = suggestion(at(path), choices)
            said = ", ".join(choices) + (f"; {near}" if near.startswith("did you mean") else "")
            raise RecipeError(f"{'.'.join(path)} = {at(path)!r}: choose one of {said}")
    for path, (low, high) in _RANGES.items():
        if not low <= at(path) <= high:
            raise RecipeError(f"{'.'.join(path)} = {at(path)!r} lies outside {low:g}–{high:g}")
    for name in ("scale", "aspect", "erase_area"):
        low, high = getattr(recipe.augment, name)
        if not 0 < low <= high <= 10:
            raise RecipeError(f"augment.{name} = [{low:g}, {high:g}]: two numbers above 0, the smaller first")
    if recipe.augment.erase_area[1] > 1:
        raise RecipeError(f"augment.erase_area = {list(recipe.augment.erase_area)}: fractions of the face, up to 1")
    if not all(0 <= beta < 1 for beta in recipe.optim.betas):
        raise RecipeError(f"optim.betas = {list(recipe.optim.betas)}: two numbers from 0 to below 1")
    if recipe.evaluate_every > 1 and (recipe.early_stop or recipe.schedule.name == "plateau"):
        raise RecipeError("early_stop and the schedule plateau watch every epoch; set evaluate_every=1 or do without")
    if recipe.optim.name == "sgd" and recipe.optim.nesterov and not recipe.optim.momentum:
        raise RecipeError("optim.nesterov needs optim.momentum above 0; set one or the other")
    if recipe.augment.crops in ("five", "ten") and not recipe.input.resize:
        raise RecipeError(f"augment.crops = {recipe.augment.crops!r} needs input.resize above input.size")
    loss, mixed = recipe.loss, recipe.augment.mixup or recipe.augment.cutmix
    if loss.share < 1 and loss.targets in ("majority", "multi-target"):
        raise RecipeError(f"loss.share mixes shares of votes with labels; loss.targets = {loss.targets!r} has none")
    if loss.targets == "multi-target" and (
        loss.name != "cross_entropy" or loss.smoothing or loss.class_weights != "none" or mixed
    ):
        raise RecipeError(
            "loss.targets = 'multi-target' is a loss of its own: set loss.name cross_entropy, loss.class_weights none, "
            "and loss.smoothing, augment.mixup and augment.cutmix 0"
        )
    if recipe.schedule.name == "restarts" and recipe.schedule.warmup >= recipe.schedule.cycle:
        raise RecipeError("schedule.warmup lies within each cycle of restarts; set it below schedule.cycle")
    for what, text in (("start.weights", recipe.start.weights), ("distill.teacher", recipe.distill.teacher),
                       ("extra_images", recipe.extra_images), ("votes", recipe.votes)):  # fmt: skip
        if text and not _HASH.fullmatch(text):
            raise RecipeError(f"{what} = {text!r}: the hash of 64 digits that a training fills in, or nothing")
    if recipe.start.kind == "fresh" and recipe.start.weights:
        raise RecipeError("start.weights belongs to start.kind pretrained or run; fresh weights come from the seed")
