"""A system with a part that joins in a later stage."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.systems.card import Card, grey
from mien.systems.compact import Compact


class Switching(Compact):
    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__(classes=classes, channels=channels, widths=(4, 8), depths=(1, 1), dropout=0.2)
        self.joins = nn.Linear(8, 8)
        nn.init.zeros_(self.joins.weight)
        nn.init.zeros_(self.joins.bias)
        self.joined = True
        self.told: list[str] = []

    def begin_stage(self, name: str) -> None:
        if name not in ("body", "join", "all"):
            raise RecipeError(f"switching has no stage {name!r}")
        self.joined = name != "body"
        self.told.append(name)

    def embed(self, images: Tensor) -> Tensor:
        features = super().embed(images)
        return features + torch.tanh(self.joins(features)) if self.joined else features


STAGES: tuple[dict[str, Any], ...] = (
    {"name": "body", "epochs": 2},
    {"name": "join", "epochs": 2, "trainable": ["joins", "head"], "ema": 0.0, "sampling": "balanced",
     "optim": {"name": "adamw", "lr": 0.01}, "augment": {"cutmix": 0.0}},
    {"name": "all", "epochs": 2, "monitor": "loss", "keep": "last"},
)  # fmt: skip

CARDS = {"switching": Card("switching", "Switching", Switching, grey(48), 0, recipes={"mien": {"stages": STAGES}})}
