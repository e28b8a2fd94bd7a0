"""Training: recipes, augmentation, the loop, runs. Needs the extra ``train``."""

from mien.errors import MissingExtraError

try:
    from mien.training.begin import train
    from mien.training.classical import ClassicalRecipe, ClassicalRun, recipe_of
    from mien.training.progress import Progress
    from mien.training.recipe import Recipe
    from mien.training.reproduction import reproduce
    from mien.training.run import Run
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] in ("torch", "lightning_fabric", "lightning", "safetensors", "timm"):
        raise MissingExtraError("training", "train") from error
    raise

__all__ = ["ClassicalRecipe", "ClassicalRun", "Progress", "Recipe", "Run", "recipe_of", "reproduce", "train"]
