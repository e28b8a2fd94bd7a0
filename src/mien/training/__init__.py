"""Training: recipes, augmentation, the loop, runs. Needs the extra ``train``."""

from mien.errors import MissingExtraError

try:
    from mien.training.loop import Progress, train
    from mien.training.recipe import Recipe
    from mien.training.reproduction import reproduce
    from mien.training.run import Run
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in ("torch", "lightning", "safetensors", "timm"):
        raise MissingExtraError("training", "train") from error
    raise

__all__ = ["Progress", "Recipe", "Run", "reproduce", "train"]
