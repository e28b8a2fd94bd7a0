"""A system around a network of timm, with published weights."""

from __future__ import annotations

import timm
from torch import Tensor, nn

from mien.systems.base import System
from mien.systems.card import Card, Pretrained, grey


class Trunked(System):
    def __init__(self, *, classes: int, channels: int, inner: int = 0) -> None:
        super().__init__()
        self.trunk = timm.create_model("test_resnet", pretrained=False, num_classes=inner, in_chans=channels)
        self.head = nn.Linear(inner or self.trunk.num_features, classes)

    def embed(self, images: Tensor) -> Tensor:
        out: Tensor = self.trunk(images)
        return out

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(images))
        return out


CARDS = {
    "trunked": Card(
        "trunked",
        "Trunked",
        Trunked,
        grey(48, resize=54),
        0,
        options={"inner": 0},
        recipes={"mien": {}},
        pretrained=Pretrained("test_resnet.r160_in1k", size=32, options={"inner": 4}),
    )
}
