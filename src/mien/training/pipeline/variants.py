"""One batch as a training shows it: varied, mixed, and on several processes only the share of one of them."""

from __future__ import annotations

import torch
from torch import Tensor

from mien.training.pipeline.augmentation import Amount, Mixing, Share, augment, mix
from mien.training.pipeline.streaming import Faces
from mien.training.recipe import Recipe


class Varied:
    """Augmented faces of a batch, and those that they are mixed with.

    The partner of a face may be in the share of another process. It is made here once more, from the same random
    numbers, instead of being sent.

    Args:
        faces: all of them, by row.
        rows: int64 (N,), which of them are the batch.
        recipe: how they vary.
        generator: the only source of randomness, on their device.
        share: the part of the batch that is made; None for all of it.

    Attributes:
        images: float32 (crops · n, channels, S, S), normalised; of the share's n faces, or of all.
        crops: how many images become of a face.
    """

    def __init__(
        self, faces: Tensor | Faces, rows: Tensor, recipe: Recipe, generator: torch.Generator, share: Share | None
    ) -> None:
        self.faces, self.rows, self.recipe, self.generator, self.share = faces, rows, recipe, generator, share
        self._before = generator.get_state() if share is not None else None
        if share is None:
            self.images = augment(faces[rows], recipe.augment, recipe.input, generator)
        else:
            self.images = self._made(share, generator)
        self.crops = len(self.images) // len(rows if share is None else share.rows)

    def mixed(self, targets: Tensor, amount: Amount | None) -> tuple[Tensor, Tensor]:
        """Images and targets after mixup or CutMix, where the recipe has them.

        Args:
            targets: float (crops · N, classes) of the whole batch.
            amount: how much is mixed; None for nothing.

        Returns:
            Float (crops · n, channels, S, S) and (crops · n, classes).
        """
        share = self.share
        if share is None:
            return mix(self.images, targets, amount, self.generator)
        own = torch.cat([share.rows + crop * share.count for crop in range(self.crops)])
        if amount is None:
            return self.images, targets[own]
        mixing = Mixing.drawn(self.crops * share.count, amount, self.generator)
        partners = mixing.partners[own]
        images = mixing.of(self.images, self._others(partners, share.count))
        return images, mixing.of_targets(targets[own], targets[partners])

    def _others(self, images: Tensor, count: int) -> Tensor:
        """Images of the whole batch, by their places."""
        rows, places = torch.unique(images % count, return_inverse=True)
        again = torch.Generator(self.generator.device)
        assert self._before is not None
        again.set_state(self._before)
        return self._made(Share(rows, count), again)[images // count * len(rows) + places]

    def _made(self, share: Share, generator: torch.Generator) -> Tensor:
        chosen = self.faces[self.rows[share.rows]]
        return augment(chosen, self.recipe.augment, self.recipe.input, generator, share)
