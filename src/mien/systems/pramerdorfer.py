"""The VGG, Inception and ResNet of Pramerdorfer & Kampel (2016), made for 48 px and small.

Paper: C. Pramerdorfer, M. Kampel, "Facial Expression Recognition using Convolutional Neural Networks: State of the
Art", arXiv 1612.02903; only its abstract was at hand. No public code.
Known from the abstract: three kinds of network, no extra data, no registration of faces, and an ensemble of eight.
From memory: depths of 10, 16 and 33 layers, about 1.8, 1.2 and 5.3 million parameters, SGD with momentum 0.9 from a
rate of 0.1 that is halved on plateaus, batches of 128, weight decay 1e-4, up to 300 epochs, mirroring, 48 px crops of
faces padded to 54 px, standardised faces.
Reconstructed: single precision, as was usual in its year; how long a plateau lasts (10 epochs); the widths, so that
depths and counts fit. VGG: eight convolutions of 32 to 256 channels and two linear layers with 256 units between (1.77
M). Inception: a convolution and seven modules of two layers each (1.19 M). ResNet: ResNet34 of half the width with a
3×3 stem, that is 33 convolutions (5.33 M).

Recipe `mien`: keeps networks and 48 px and trains for 150 epochs on a cosine with warm-up instead of plateaus, with
mixup, smoothed labels, stronger augmentation and a moving average of the weights; pixels are normalised by the mean of
all faces, not each face by its own. The VGG has Nesterov's momentum, decay of 5e-4, and smaller steps and dropouts, for
under this augmentation the source's never leave the most frequent expression; ResNet and Inception have AdamW, under
which their results were made: with SGD at 0.05 the ResNet had gained two points in three epochs.

Deviations:
- Crops of padded faces are shifts by up to 3 px here, and need not be whole pixels.
- `standardise` brings each face to mean 0 and variance 1 in the network, `faithful` only.
- The source averages crops and mirror images at test; the view for it here is `flip`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.layers.plain import plain_stages
from mien.layers.residual import residual_block
from mien.systems.base import System
from mien.systems.card import Card, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_stages
from mien.systems.papers import PRAMERDORFER


class _Small(System):
    """What the three have in common: features of a face, then a classifier."""

    features: nn.Module
    dropout: nn.Module
    standardise: bool

    def embed(self, images: Tensor) -> Tensor:
        """Features after the last pool or hidden layer, float32 (N, D)."""
        if self.standardise:
            variance, mean = torch.var_mean(images, (1, 2, 3), keepdim=True, correction=0)
            images = (images - mean) / (variance + 1e-5).sqrt()
        features: Tensor = self.features(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); the VGG takes 48 px, the others 16 px and more."""
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits


class PramerdorferVGG(_Small):
    """Four stages of two convolutions, dropout after each pool, one hidden layer.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first stage; they double three times.
        hidden: units of the hidden layer.
        dropout: probability of the dropouts after the pools, 0 to 1.
        head_dropout: probability of the dropout after the hidden layer, 0 to 1.
        standardise: bring each face to mean 0 and variance 1 first.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        width: int = 32,
        hidden: int = 256,
        dropout: float = 0.25,
        head_dropout: float = 0.5,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        self.features = nn.Sequential(
            plain_stages(channels, [[width << stage] * 2 for stage in range(4)], dropout=dropout),
            nn.Flatten(),
            nn.Linear(8 * width * 3 * 3, hidden),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(hidden, classes)
        self.standardise = standardise


class Module(nn.Module):
    """An Inception module (Szegedy et al. 2015, section 4) with batch normalisation.

    Of its ``outgoing`` channels a quarter comes from 1×1 convolutions, half from 3×3, an eighth each from 5×5 and from
    a pool. The 1×1 convolutions before those of 3×3 and 5×5 have three eighths and a sixteenth.
    """

    def __init__(self, incoming: int, outgoing: int) -> None:
        super().__init__()
        self.one = _convolutions(incoming, (outgoing // 4, 1))
        self.three = _convolutions(incoming, (3 * outgoing // 8, 1), (outgoing // 2, 3))
        self.five = _convolutions(incoming, (outgoing // 16, 1), (outgoing // 8, 5))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, padding=1), _convolutions(incoming, (outgoing // 8, 1)))

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, incoming, S, S) → (N, outgoing, S, S)."""
        return torch.cat([branch(images) for branch in (self.one, self.three, self.five, self.pool)], 1)


class PramerdorferInception(_Small):
    """A convolution, seven Inception modules at three sides, an average.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        stem: channels of the first convolution.
        widths: for each stage, the channels of its modules, 16 or more; a pool before each stage halves the side.
        head_dropout: probability of the dropout before the last layer, 0 to 1.
        standardise: bring each face to mean 0 and variance 1 first.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        stem: int = 64,
        widths: Sequence[Sequence[int]] = ((128, 192), (256, 256, 256), (320, 320)),
        head_dropout: float = 0.3,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        if not widths or not all(stage and min(stage) >= 16 for stage in widths):
            raise RecipeError(f"widths = {widths!r}: give at least one stage, and one module of 16 channels in each")
        layers: list[nn.Module] = [_convolutions(channels, (stem, 3))]
        incoming = stem
        for stage in widths:
            layers.append(nn.MaxPool2d(2))
            for outgoing in stage:
                layers.append(Module(incoming, outgoing))
                incoming = outgoing
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(incoming, classes)
        self.standardise = standardise


class PramerdorferResNet(_Small):
    """A 3×3 convolution that keeps the side, four stages of residual blocks, an average.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first stage; they double at each further one.
        depths: blocks of each stage, one number for each; each stage after the first halves the side.
        head_dropout: probability of the dropout before the last layer, 0 to 1.
        standardise: bring each face to mean 0 and variance 1 first.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        width: int = 32,
        depths: Sequence[int] = (3, 4, 6, 3),
        head_dropout: float = 0.3,
        standardise: bool = False,
    ) -> None:
        super().__init__()
        check_stages(depths=depths)
        layers: list[nn.Module] = [_convolutions(channels, (width, 3))]
        incoming = width
        for stage, depth in enumerate(depths):
            for block in range(depth):
                layers.append(residual_block(incoming, width << stage, 2 if stage and not block else 1))
                incoming = width << stage
        self.features = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(incoming, classes)
        self.standardise = standardise


def _convolutions(incoming: int, *layers: tuple[int, int]) -> nn.Sequential:
    """Convolutions given by channels and side, each normalised and activated."""
    parts: list[nn.Module] = []
    for outgoing, side in layers:
        parts.append(nn.Conv2d(incoming, outgoing, side, padding=side // 2, bias=False))
        parts += [nn.BatchNorm2d(outgoing), nn.ReLU(inplace=True)]
        incoming = outgoing
    return nn.Sequential(*parts)


def _card(
    kind: str,
    module: type[System],
    parameters: int,
    options: Mapping[str, Any],
    tiny: Mapping[str, Any],
    tiny_size: int = 0,
    **changes: Any,
) -> Card:
    """``changes`` are those of its recipe `mien` to the one that all trunks share."""
    return Card(
        id=f"pramerdorfer-{kind.lower()}",
        title=f"Pramerdorfer & Kampel {kind}",
        module=module,
        input=grey(48),
        parameters=parameters,
        paper=PRAMERDORFER,
        options={**options, "standardise": False},
        recipes={
            "faithful": {
                "epochs": 300,
                "batch_size": 128,
                "precision": "fp32",
                "input": {"mean": [0.0], "std": [1.0]},
                "augment": {"translate": 3 / 48, "outside": "black"},
                "optim": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4},
                "schedule": {"name": "plateau", "factor": 0.5, "patience": 10},
                "system": {"standardise": True},
            },
            "mien": from_scratch(48, channels=1, **changes),
        },
        views=("flip",),
        tiny=tiny,
        tiny_size=tiny_size,
    )


_ADAMW = {"name": "adamw", "lr": 2e-3, "weight_decay": 0.05}
"""Under SGD at 0.05 the ResNet hardly learns within three epochs."""

CARDS = {
    card.id: card
    for card in (
        _card(
            "VGG",
            PramerdorferVGG,
            1_765_479,
            {"width": 32, "hidden": 256, "dropout": 0.25, "head_dropout": 0.5},
            {"width": 6, "hidden": 32, "dropout": 0.0, "head_dropout": 0.0},
            # With five dropouts of 0.25 to 0.5 under strong augmentation it never leaves the most frequent expression.
            system={"dropout": 0.05, "head_dropout": 0.2},
            optim={"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
        ),
        _card(
            "ResNet",
            PramerdorferResNet,
            5_325_159,
            {"width": 32, "depths": (3, 4, 6, 3), "head_dropout": 0.3},
            {"width": 8, "depths": (1, 1, 1, 1), "head_dropout": 0.0},
            24,
            optim=_ADAMW,
        ),
        _card(
            "Inception",
            PramerdorferInception,
            1_186_767,
            {"stem": 64, "widths": ((128, 192), (256, 256, 256), (320, 320)), "head_dropout": 0.3},
            {"stem": 8, "widths": ((16,), (32,), (32,)), "head_dropout": 0.0},
            24,
            optim=_ADAMW,
        ),
    )
}
