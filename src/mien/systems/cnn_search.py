"""The convolutional network of a hyper-parameter search (Vulpe-Grigorași & Grigore 2021), with its space as options.

Paper: A. Vulpe-Grigorași, O. Grigore, "Convolutional Neural Network Hyperparameters optimization for Facial Emotion
Recognition", ATEE 2021; its text was not at hand. Public code: none of the authors'; a reimplementation by others that
cites the paper by its DOI (a Keras file with the function `create_grigorasi_model`, whose repository and licence are
not known to us) gives its network.
Known from that, and from nothing else: five convolutions of 256, 512, 384, 192 and 384 filters of 3×3 without padding,
activated, normalised once before each of the four pools, dropout of 0.4, one hidden layer of 256 units, normalised,
dropout of 0.3: 4,384,071 parameters. From the leaderboard: no extra data. From memory: a random search over discrete
values.
Reconstructed: the training, in single precision as was usual in its year, and the space of a search: 3 to 5 blocks of 1
to 3 convolutions, 32 to 512 filters, kernels of 3 or 5, padded or not, normalised per block, per convolution or not at
all, maximum or average pools, dropout of 0 to 0.4 after blocks and 0.2 to 0.6 after hidden layers, 0 to 2 hidden layers
of 128 to 1,024 units, ReLU or ELU.

Recipe `mien`: another point of that space, which needs a seventh of the multiply-accumulates: two padded convolutions
in each of four blocks of 64 to 384 filters, each normalised. SGD with Nesterov's momentum on a cosine for 150 epochs,
with mixup, smoothed labels, stronger augmentation and a moving average, which suit a network that trains in full.

Deviations:
- How many trials the source made, and which split drove its search, is not known; here a search sees PublicTest alone.
- The network of our result is neither, but one of 289,735 parameters that a search of ours found: the source's takes
  three billion multiply-accumulates per face.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.systems.base import System
from mien.systems.card import Card, Paper, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_choice

_POOLS: dict[str, type[nn.Module]] = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d}
_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU}
_NORMS = ("block", "convolution", "none")
_SIDE = 48


class CNNSearch(System):
    """Blocks of convolutions, then hidden layers.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        filters: for each block, the filters of its convolutions; a pool ends each block.
        kernel: side of the convolutions in pixels, odd.
        padded: whether convolutions keep the side of the map.
        norm: one normalisation per ``block``, behind its last activation; one per ``convolution``, before the
            activation; or ``none``. Hidden layers are normalised unless it is ``none``.
        pool: ``max`` or ``avg``.
        dropout: probability of the dropout after each block, 0 to 1.
        hidden: units of the hidden layers, one number for each; may be empty.
        hidden_dropout: probability of the dropout after each hidden layer, 0 to 1.
        activation: ``relu`` or ``elu``.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        filters: Sequence[Sequence[int]] = ((256, 512), (384,), (192,), (384,)),
        kernel: int = 3,
        padded: bool = False,
        norm: str = "block",
        pool: str = "max",
        dropout: float = 0.4,
        hidden: Sequence[int] = (256,),
        hidden_dropout: float = 0.3,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        if not filters or not all(filters):
            raise RecipeError(f"filters = {filters!r}: give at least one block, and one convolution in each")
        if kernel % 2 == 0:
            raise RecipeError(f"kernel = {kernel}: give an odd one, 3 or 5")
        check_choice("norm", norm, _NORMS)
        pooled = _POOLS[check_choice("pool", pool, _POOLS)]
        activated = _ACTIVATIONS[check_choice("activation", activation, _ACTIVATIONS)]
        layers: list[nn.Module] = []
        incoming, side = channels, _SIDE
        for block in filters:
            for outgoing in block:
                layers.append(nn.Conv2d(incoming, outgoing, kernel, padding=kernel // 2 if padded else 0))
                layers += [nn.BatchNorm2d(outgoing)] if norm == "convolution" else []
                layers.append(activated())
                incoming, side = outgoing, side if padded else side - kernel + 1
            layers += [nn.BatchNorm2d(incoming)] if norm == "block" else []
            layers += [pooled(2), nn.Dropout(dropout)]
            side //= 2
        if side < 1:
            raise RecipeError(f"filters = {filters!r}: {_SIDE} px are used up before the last block; leave blocks out")
        self.features = nn.Sequential(*layers)
        incoming *= side**2
        rest: list[nn.Module] = []
        for outgoing in hidden:
            rest += [nn.Linear(incoming, outgoing), activated()]
            rest += [nn.BatchNorm1d(outgoing)] if norm != "none" else []
            rest.append(nn.Dropout(hidden_dropout))
            incoming = outgoing
        self.hidden = nn.Sequential(*rest)
        self.head = nn.Linear(incoming, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, D): the last hidden layer, or the last map where there is none."""
        features: Tensor = self.hidden(torch.flatten(self.features(images), 1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, 48, 48) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits


CARDS = {
    "cnn-search": Card(
        id="cnn-search",
        title="CNN of a hyper-parameter search",
        module=CNNSearch,
        input=grey(48),
        parameters=4_384_071,
        paper=Paper(
            title="Convolutional Neural Network Hyperparameters optimization for Facial Emotion Recognition",
            authors=("Adrian Vulpe-Grigorași", "Ovidiu Grigore"),
            year=2021,
            venue="International Symposium on Advanced Topics in Electrical Engineering (ATEE)",
            url="https://doi.org/10.1109/ATEE52255.2021.9425073",
        ),
        options={
            "filters": ((256, 512), (384,), (192,), (384,)),
            "kernel": 3,
            "padded": False,
            "norm": "block",
            "pool": "max",
            "dropout": 0.4,
            "hidden": (256,),
            "hidden_dropout": 0.3,
            "activation": "relu",
        },
        recipes={
            "faithful": {
                "epochs": 150,
                "batch_size": 64,
                "precision": "fp32",
                "augment": {"scale": [0.81, 1.21], "translate": 0.1, "rotate": 10.0},
                "optim": {"name": "adam", "lr": 1e-3},
                "schedule": {"name": "plateau", "factor": 0.5, "patience": 5},
            },
            "mien": from_scratch(
                48,
                channels=1,
                system={
                    "filters": ((64, 64), (128, 128), (256, 256), (384, 384)),
                    "padded": True,
                    "norm": "convolution",
                    "dropout": 0.1,
                },
            ),
        },
        tiny={"filters": ((8,), (12,), (16,)), "hidden": (32,), "dropout": 0.0, "hidden_dropout": 0.0},
    )
}
