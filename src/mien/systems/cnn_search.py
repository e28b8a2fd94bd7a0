"""The convolutional network of a hyper-parameter search (Vulpe-Grigorași & Grigore 2021), with its space as options.

Paper: A. Vulpe-Grigorași, O. Grigore, "Convolutional Neural Network Hyperparameters optimization for Facial Emotion
Recognition", ATEE 2021. Neither its text nor its code could be had.
Known from the leaderboard: no extra data. From memory: a random search over layers, filters, kernels, dropout, hidden
layers and learning rate of a small network for grey faces of 48 px.
Reconstructed: the space, which is that of this file's options and of the recipe's optimiser: 3 to 5 blocks of 1 to 3
convolutions, 32 to 96 filters that double up to 512, kernels of 3 or 5, normalisation, maximum or average pools,
dropout of 0 to 0.4 after blocks and 0.2 to 0.6 after hidden layers, 0 to 2 hidden layers of 128 to 1,024 units, ReLU or
ELU, SGD or Adam. The defaults are one point of it, not the paper's winner, so the count (3,525,015) is ours.

Deviations:
- How many trials the source made, and which split drove its search, is not known; here a search sees PublicTest alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.layers.plain import plain_stages
from mien.registry import suggestion
from mien.systems.base import System
from mien.systems.card import Card, Paper, grey
from mien.systems.from_scratch import from_scratch

_POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}
_MOST_FILTERS, _SIDE = 512, 48


class CNNSearch(System):
    """Blocks of convolutions, then hidden layers.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        blocks: how many blocks, 1 to 5; a pool ends each.
        convolutions: in each block.
        filters: of the first block; they double from block to block, up to 512.
        kernel: side of the convolutions, odd.
        batch_norm: whether each convolution is normalised.
        pool: ``max`` or ``avg``.
        dropout: probability of the dropout after each block.
        hidden_layers: between the last map and the classifier; may be 0.
        hidden: units of each.
        hidden_dropout: probability of the dropout after each.
        activation: ``relu`` or ``elu``.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        blocks: int = 4,
        convolutions: int = 2,
        filters: int = 48,
        kernel: int = 3,
        batch_norm: bool = True,
        pool: str = "max",
        dropout: float = 0.2,
        hidden_layers: int = 1,
        hidden: int = 256,
        hidden_dropout: float = 0.4,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if not 1 <= blocks <= 5:
            raise RecipeError(f"blocks = {blocks}: 1 to 5 pools fit into {_SIDE} px")
        if kernel % 2 == 0:
            raise RecipeError(f"kernel = {kernel}: an odd one, 3 or 5, keeps the side of the map")
        chosen = _choose("activation", activation, _ACTIVATIONS)
        widths = [[min(filters << block, _MOST_FILTERS)] * convolutions for block in range(blocks)]
        self.features = plain_stages(
            channels,
            widths,
            kernel=kernel,
            batch_norm=batch_norm,
            dropout=dropout,
            pool=_choose("pool", pool, _POOLS),
            activation=chosen,
        )
        incoming = widths[-1][-1] * (_SIDE >> blocks) ** 2
        layers: list[nn.Module] = []
        for _ in range(hidden_layers):
            layers += [nn.Linear(incoming, hidden), chosen(), nn.Dropout(hidden_dropout)]
            incoming = hidden
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(incoming, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, D): the last hidden layer, or the last map where there is none."""
        features: Tensor = self.hidden(torch.flatten(self.features(images), 1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, 48, 48) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits


def _choose(option: str, name: str, choices: dict[str, type[nn.Module]]) -> type[nn.Module]:
    if name not in choices:
        raise RecipeError(f"{option} = {name!r}: {suggestion(name, choices)}")
    return choices[name]


CARDS = {
    "cnn-search": Card(
        id="cnn-search",
        title="CNN of a hyper-parameter search",
        module=CNNSearch,
        input=grey(48),
        parameters=3_525_015,
        paper=Paper(
            title="Convolutional Neural Network Hyperparameters optimization for Facial Emotion Recognition",
            authors=("Adrian Vulpe-Grigorași", "Ovidiu Grigore"),
            year=2021,
            venue="International Symposium on Advanced Topics in Electrical Engineering (ATEE)",
        ),
        options={
            "blocks": 4,
            "convolutions": 2,
            "filters": 48,
            "kernel": 3,
            "batch_norm": True,
            "pool": "max",
            "dropout": 0.2,
            "hidden_layers": 1,
            "hidden": 256,
            "hidden_dropout": 0.4,
            "activation": "relu",
        },
        recipes={
            "faithful": {
                "epochs": 150,
                "batch_size": 64,
                "augment": {"scale": [0.81, 1.21], "translate": 0.1, "rotate": 10.0},
                "optim": {"name": "adam", "lr": 1e-3, "weight_decay": 1e-4},
                "schedule": {"name": "plateau", "factor": 0.5, "patience": 5},
            },
            "mien": from_scratch(48, channels=1, system={"dropout": 0.1}),
        },
        tiny={"blocks": 3, "convolutions": 1, "filters": 8, "hidden": 32, "dropout": 0.0, "hidden_dropout": 0.0},
    )
}
