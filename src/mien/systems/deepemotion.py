"""DeepEmotion (Minaee & Abdolrashidi 2019): a small network behind a spatial transformer, and two wider variants.

Paper: S. Minaee, A. Abdolrashidi, "Deep-Emotion: Facial Expression Recognition Using Attentional Convolutional
Network", arXiv 1902.01019; only its abstract was at hand. Public code, not the authors':
github.com/omarsayed7/Deep-Emotion (no licence was seen): `deep_emotion.py`, `main.py`.
Known from that code: the architecture (66,877 parameters), optimiser and batch. The paper's L2 penalty on the last
layers, its oversampling of rare expressions, its normal initial weights and its up to 500 epochs are from memory.
Reconstructed: how fast the rate decays (by one in ten thousand steps, inversely), and `width`. A network of 67 thousand
weights is unlikely to reach what the paper states, and its text gives no width; `deepemotion-4` and `deepemotion-8`
have 4 and 8 times as many channels and hidden units after the warp.

Recipe `mien`: shows each face once per epoch and has no penalty; AdamW on a cosine for 200 epochs, smoothed labels and
a moving average. The narrower a variant, the less it overfits and the more augmentation and dropout hinder it: mixup
and erasing are the widest one's alone, and the published width has dropout of 0.1.

Deviations:
- The public code leaves dropout active in evaluation and validates on the first rows of Training. Not here.
- Users of that code, which has neither penalty nor oversampling nor augmentation, report about 47 %; `faithful` has
  them, as the paper does.
- "Small distortions" became a rotation of ±5° and a shift of 4 % of the side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mien.layers.spatial_transformer import SpatialTransformer
from mien.systems.base import Criterion, System
from mien.systems.card import Card, Paper, grey
from mien.systems.options import check_not_negative


class DeepEmotion(System):
    """A spatial transformer, four convolutions without padding, one hidden layer.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: factor on the channels of the convolutions and on the hidden units, whole.
        dropout: probability of the dropout before the hidden layer, 0 to 1.
        penalty: weight of the squared weights of the last two layers in the loss, 0 or more.
        initial_std: standard deviation of normal initial weights behind the warp; 0 keeps PyTorch's.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        width: int = 1,
        dropout: float = 0.5,
        penalty: float = 0.0,
        initial_std: float = 0.0,
    ) -> None:
        super().__init__()
        check_not_negative(penalty=penalty, initial_std=initial_std)
        localisation = nn.Sequential(
            nn.Conv2d(channels, 8, 7), nn.MaxPool2d(2), nn.ReLU(), nn.Conv2d(8, 10, 5), nn.MaxPool2d(2), nn.ReLU()
        )
        self.warp = SpatialTransformer(localisation, 10 * 8 * 8)
        maps = 10 * width
        self.features = nn.Sequential(
            nn.Conv2d(channels, maps, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(maps, maps, 3),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(maps, maps, 3),
            nn.ReLU(inplace=True),
            nn.Conv2d(maps, maps, 3),
            nn.BatchNorm2d(maps),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self.hidden = nn.Sequential(nn.Dropout(dropout), nn.Linear(maps * 9 * 9, 50 * width), nn.ReLU(inplace=True))
        self.head = nn.Linear(50 * width, classes)
        self.penalty = penalty
        if initial_std:
            for layer in (*self.features, *self.hidden, self.head):
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.normal_(layer.weight, std=initial_std)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, 50 · width)."""
        features: Tensor = self.hidden(torch.flatten(self.features(self.warp(images)), 1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, 48, 48) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def loss(self, images: Tensor, targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """The recipe's loss, and the penalty on the last two layers where there is one."""
        terms = super().loss(images, targets, criterion)
        if self.penalty:
            last = (layer.weight for layer in (*self.hidden, self.head) if isinstance(layer, nn.Linear))
            terms["penalty"] = self.penalty * torch.stack([weight.square().sum() for weight in last]).sum()
        return terms


_PAPER = Paper(
    title="Deep-Emotion: Facial Expression Recognition Using Attentional Convolutional Network",
    authors=("Shervin Minaee", "Amirali Abdolrashidi"),
    year=2019,
    url="https://arxiv.org/abs/1902.01019",
    code=("https://github.com/omarsayed7/Deep-Emotion",),
)
_FAITHFUL: dict[str, Any] = {
    "epochs": 500,
    "batch_size": 128,
    "precision": "fp32",
    "input": {"mean": [0.5], "std": [0.5]},
    "augment": {"rotate": 5.0, "translate": 0.04},
    "sampling": "balanced",
    "optim": {"name": "adam", "lr": 5e-3},
    "schedule": {"name": "inverse", "decay": 1e-4},
    "system": {"penalty": 1e-3, "initial_std": 0.05},
}


def _card(name: str, width: int, parameters: int) -> Card:
    return Card(
        id=name,
        title="DeepEmotion" + (f" ×{width}" if width > 1 else ""),
        module=DeepEmotion,
        input=grey(48),
        parameters=parameters,
        paper=_PAPER,
        options={"width": width, "dropout": 0.5, "penalty": 0.0, "initial_std": 0.0},
        recipes={
            "faithful": _FAITHFUL,
            "mien": {
                "epochs": 200,
                "batch_size": 128,
                # The narrower the network, the less it overfits and the more augmentation hinders it.
                "augment": {
                    "scale": [0.8, 1.2],
                    "translate": 0.08,
                    "rotate": 10.0,
                    "brightness": 0.2,
                    "contrast": 0.3,
                    "mixup": 0.2 if width == 8 else 0.0,
                    "erase_probability": 0.5 if width == 8 else 0.0,
                    "erase_area": [0.02, 0.15],
                },
                "optim": {"name": "adamw", "lr": 2e-3 if width < 8 else 1e-3, "weight_decay": 0.02},
                "schedule": {"name": "cosine", "warmup": 2.0},
                "loss": {"smoothing": 0.1},
                "ema": 0.999,
                "clip": 1.0,
                "system": {"dropout": 0.1 if width == 1 else 0.3},
            },
        },
        tiny={"width": 1, "dropout": 0.0},
    )


CARDS = {
    "deepemotion": _card("deepemotion", 1, 66_877),
    "deepemotion-4": _card("deepemotion-4", 4, 716_527),
    "deepemotion-8": _card("deepemotion-8", 8, 2_792_327),
}
