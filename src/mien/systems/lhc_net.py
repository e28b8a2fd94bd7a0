"""LHC-Net (Pecoraro et al. 2022): ResNet34v2 with five modules in which channels attend to channels.

Paper: R. Pecoraro, V. Basile, V. Bono, S. Gallo, "Local Multi-Head Channel Self-Attention for Facial Expression
Recognition", arXiv 2111.07224; Information 13(9):419, 2022. Public code: github.com/Bodhis4ttva/LHC_Net (MIT):
`Lib/LHC_Net.py`, `Lib/LHC_Net_Controller.py`, `Lib/Utils.py`, `ResNet34_Train.py`, `LHC_Train.py`,
`Controller_Train.py`, `Settings/LHC_Settings.json`.
Known from the code: the modules, where they stand, heads 8, 8, 7, 7, 1 and their embeddings (half the pixels of a
head), the hidden layers of 4,096 and 1,024 units; the modular training in five steps; its test average (`lhc60`).
LHC-NetC adds a controller: one number per module, w, through which a module's output counts 1 + tanh(w) times.
Reconstructed: nothing in the modules.

Recipe `mien`: starts from random weights instead of ImageNet's and sees 56 px (`size`) with `stem_stride = 2`, so that
the modules stand at 28, 28, 14, 7 and 4 px with the source's heads. They and the residual blocks begin as no-ops
(`quiet_start`), without which fresh weights learn nothing in an epoch, and everything learns at once instead of in four
stages, with AdamW on a cosine for 150 epochs, mixup, smoothed labels and a moving average. In LHC-NetC the controller
then learns alone, from gates of 0, which change nothing, for the published ones halve modules that were learnt with.

Deviations:
- The trunk is timm's `resnetv2_34`. The source's, of the package image-classifiers, also normalises the input by batch
  statistics, has a normalisation after its first convolution and a 1 × 1 convolution on its first shortcut: 4,227
  parameters of 32.4 million. The mean and deviation that timm's weights expect stand in the recipe's input instead.
- Faces are enlarged bilinearly in training, as in the source, and bicubically in evaluation, as everywhere here.
- The source's Adam and normalisations have an epsilon of 1e-7 and of 2e-5, and its running statistics move by a
  hundredth per step, as Keras' do; here PyTorch's 1e-8, 1e-5 and a tenth.
- The source picks its starting network among several trainings, and its result is that of one seed and one kind of
  GPU. Here the seed is the caller's.
- The source's zoom in training draws width and height apart, each evenly within ± 10 %; here their ratio (`aspect`)
  and the area (`scale`) are drawn, with the same spread.
- A recipe of one's own may let the trunk learn from smaller faces before the modules join, in stages whose names begin
  with `rotated`, `shifted` or `upright` and which set `augment.size`; only the modules are made for one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.bundle import InputSpec
from mien.errors import InputError, RecipeError
from mien.layers.stem import soften_stem
from mien.systems.base import System
from mien.systems.card import Card, Paper, Pretrained
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_count


class ChannelAttention(nn.Module):
    """Each channel of a map becomes a weighted sum of all channels, head by head over parts of the map.

    Queries are the averages and keys the maxima of 3 × 3 windows; a head sees ``side² / heads`` pixels of every
    channel, and one linear layer per head embeds both. The scores of a head are divided by ``embedding ** (1 + p)``,
    where p, per channel, is computed from the mean scores. Values are a 3 × 3 convolution and an average over 3 × 3
    windows. Source: paper, section 3.

    Args:
        channels: of the map.
        side: height and width of the map in pixels.
        heads: they divide ``side²`` evenly.
        quiet_start: the values start at zero, so that the module begins as a no-op.
    """

    def __init__(self, channels: int, side: int, heads: int, *, quiet_start: bool = False) -> None:
        super().__init__()
        pixels, rest = divmod(side * side, heads)
        if rest:
            fitting = " or ".join(str(count) for count in range(1, 9) if side * side % count == 0)
            raise RecipeError(
                f"{heads} heads do not share the {side} × {side} pixels of a map evenly; {fitting} do (option heads)"
            )
        self.heads, self.embedding = heads, (pixels + 1) // 2
        bound = (6 / (pixels + self.embedding)) ** 0.5
        self.weight = nn.Parameter(torch.empty(heads, pixels, self.embedding))
        self.bias = nn.Parameter(torch.zeros(heads, 1, self.embedding))
        self.scaling = nn.Linear(channels, channels)
        self.value = nn.Conv2d(channels, channels, 3, padding=1)
        # Glorot's uniform initialisation, Keras' default.
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.xavier_uniform_(self.scaling.weight)
        nn.init.zeros_(self.scaling.bias)
        nn.init.xavier_uniform_(self.value.weight)
        nn.init.zeros_(_bias(self.value))
        if quiet_start:
            nn.init.zeros_(self.value.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Float (N, channels, side, side) → the same shape."""
        queries = self._embed(functional.avg_pool2d(features, 3, 1, 1, count_include_pad=False))
        keys = self._embed(functional.max_pool2d(features, 3, 1, 1))
        values = functional.avg_pool2d(self.value(features), 3, 1, 1, count_include_pad=False)
        # The mean of a query's scores is its score with the mean key, and a scaled query has scaled scores: so what is
        # large, channels × channels, is touched by the softmax and two products alone. It is what takes the time.
        power = 1 + torch.sigmoid(self.scaling((queries @ keys.mean(-2)[..., None])[..., 0]))
        queries = queries * torch.pow(1 / self.embedding, power)[..., None]
        mixed = torch.softmax(queries @ keys.transpose(-2, -1), -1) @ self._split(values)
        return mixed.transpose(1, 2).reshape(features.shape)

    def _split(self, features: Tensor) -> Tensor:
        """(N, C, S, S) → (N, heads, C, pixels per head)."""
        return features.reshape(*features.shape[:2], self.heads, -1).transpose(1, 2)

    def _embed(self, features: Tensor) -> Tensor:
        return self._split(features) @ self.weight + self.bias


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


class LHCNet(System):
    """ResNet34v2 with an attention module after its stem and after each stage.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        size: side of the faces in pixels; the modules are made for it.
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        heads: heads of the five modules; each number divides the pixels of its map evenly.
        hidden: units of the two hidden layers.
        dropout: probability of both dropouts in the head, 0 to 1.
        quiet_start: the modules and the residual blocks begin as no-ops.
        controller: one learned gate per module (LHC-NetC).
        gates: where the five gates begin; a module's output counts 1 + tanh(gate) times.
        depths: residual blocks of the four stages.
        widths: channels of the stem and of the four stages.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        size: int = 224,
        stem_stride: int = 4,
        heads: Sequence[int] = (8, 8, 7, 7, 1),
        hidden: Sequence[int] = (4096, 1024),
        dropout: float = 0.4,
        quiet_start: bool = False,
        controller: bool = False,
        gates: Sequence[float] = (0.0, 0.0, 0.0, -1.0, -0.5),
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 64, 128, 256, 512),
    ) -> None:
        super().__init__()
        check_count("heads", heads, 5, "module")
        check_count("gates", gates, 5, "module")
        check_count("hidden", hidden, 2, "hidden layer")
        check_count("depths", depths, 4, "stage")
        check_count("widths", widths, 5, "the stem and each stage")
        trunk: Any = timm.create_model(
            "resnetv2_34",
            num_classes=0,
            in_chans=channels,
            layers=tuple(depths),
            stem_chs=widths[0],
            channels=tuple(widths[1:]),
            zero_init_last=quiet_start,
        )
        self.trunk = trunk
        soften_stem(trunk.stem, "conv", "pool", stem_stride)
        sides = [-(-size // (stem_stride * 2**halved)) for halved in (0, 0, 1, 2, 3)]
        self.attentions = nn.ModuleList(
            ChannelAttention(*of, quiet_start=quiet_start) for of in zip(widths, sides, heads, strict=True)
        )
        self.controller = nn.Parameter(torch.tensor(gates, dtype=torch.float32)) if controller else None
        first, second = hidden
        self.hidden = nn.Sequential(
            nn.Linear(widths[-1], first),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
        )
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(second, classes)
        self.size, self.modules_active, self.controller_active = size, True, controller

    def begin_stage(self, name: str) -> None:
        """The modules join in stages of the kind ``modules``, the controller in those of the kind ``controller``.

        Before that the network takes faces of any side, which it may learn from first: the modules alone have one.
        """
        kinds = ("rotated", "shifted", "upright", "modules", *(("controller",) if self.controller is not None else ()))
        kind = self.stage_kind(name, kinds)
        self.modules_active, self.controller_active = kind in ("modules", "controller"), kind == "controller"

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, hidden[1])."""
        if self.modules_active and images.shape[-2:] != (self.size, self.size):
            raise InputError(
                f"this LHC-Net was made for faces of {self.size} px and got {images.shape[-1]}; set the option size to "
                "the side of the input"
            )
        features = self._attend(0, self.trunk.stem(images))
        for index, stage in enumerate(self.trunk.stages, 1):
            features = self._attend(index, stage(features))
        embedded: Tensor = self.hidden(self.trunk.norm(features).mean((2, 3)))
        return embedded

    def _attend(self, index: int, features: Tensor) -> Tensor:
        if not self.modules_active:
            return features
        seen = self.attentions[index](features)
        if self.controller is not None and self.controller_active:
            seen = seen * (1 + torch.tanh(self.controller[index]))
        out: Tensor = features + seen
        return out

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, size, size) → logits (N, classes)."""
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits


_PLAIN = {"flip": 0.0}
_SGD = {"name": "sgd", "lr": 1e-2, "momentum": 0.0, "decay_norms": True}
_STAGES: list[dict[str, Any]] = [
    {
        "name": "rotated",
        "batch_size": 48,
        "early_stop": 30,
        "augment": {"rotate": 30.0},
        "optim": {"name": "adam", "lr": 1e-4},
    },
    {
        "name": "shifted",
        "early_stop": 10,
        "augment": {"rotate": 10.0, "translate": 0.1, "scale": [0.87, 1.15], "aspect": [0.87, 1.15]},
    },
    {"name": "upright", "early_stop": 5, "augment": _PLAIN},
    {"name": "modules", "early_stop": 3, "augment": _PLAIN},
]
_CONTROLLER = {
    "name": "controller",
    "batch_size": 32,
    "early_stop": 1,
    "augment": _PLAIN,
    "optim": {"name": "adam", "lr": 1e-4},
    "trainable": ["controller"],
}
_FAITHFUL: dict[str, Any] = {
    "epochs": 300,
    "batch_size": 64,
    "precision": "fp32",
    "optim": _SGD,
    "schedule": {"name": "constant"},
    "start": {"kind": "pretrained"},
}
_SMALL: dict[str, Any] = {"size": 56, "stem_stride": 2, "quiet_start": True}
_ADAMW: dict[str, Any] = {
    "optim": {"name": "adamw", "lr": 5e-4, "weight_decay": 0.05},
    "schedule": {"name": "cosine", "warmup": 5.0},
}
_OPTIONS: dict[str, Any] = {
    "size": 224,
    "stem_stride": 4,
    "heads": (8, 8, 7, 7, 1),
    "hidden": (4096, 1024),
    "dropout": 0.4,
    "quiet_start": False,
    "depths": (3, 4, 6, 3),
    "widths": (64, 64, 128, 256, 512),
}
_TINY: dict[str, Any] = {
    "size": 32,
    "stem_stride": 2,
    "heads": (8, 8, 4, 4, 1),
    "hidden": (32, 16),
    "dropout": 0.0,
    "depths": (1, 1, 1, 1),
    "widths": (8, 8, 16, 16, 24),
}


def _card(identity: str, title: str, parameters: int, recipes: dict[str, dict[str, Any]], **options: Any) -> Card:
    return Card(
        id=identity,
        title=title,
        module=LHCNet,
        input=InputSpec(224, 3, "grey", mean=(0.5,) * 3, std=(0.5,) * 3),
        parameters=parameters,
        paper=Paper(
            title="Local Multi-Head Channel Self-Attention for Facial Expression Recognition",
            authors=("Roberto Pecoraro", "Valerio Basile", "Viviana Bono", "Sara Gallo"),
            year=2022,
            venue="Information",
            url="https://arxiv.org/abs/2111.07224",
            code=("https://github.com/Bodhis4ttva/LHC_Net",),
            code_licence="MIT",
        ),
        options={**_OPTIONS, **options},
        recipes=recipes,
        extra_data=("ImageNet-1k",),
        views=("lhc60",),
        tiny=_TINY,
        tiny_size=32,
        pretrained=Pretrained(
            "resnetv2_34.ra4_e3600_r224_in1k",
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            options={"size": 224, "stem_stride": 4},
            size=224,
        ),
    )


CARDS = {
    "lhc-net": _card(
        "lhc-net",
        "LHC-Net",
        32_392_075,
        {
            "faithful": {**_FAITHFUL, "stages": _STAGES},
            "mien": from_scratch(56, **_ADAMW, system=_SMALL),
        },
    ),
    "lhc-netc": _card(
        "lhc-netc",
        "LHC-NetC",
        32_392_080,
        {
            "faithful": {**_FAITHFUL, "stages": [*_STAGES, _CONTROLLER]},
            "mien": {
                # The published first gates halve modules that the network has learnt with: 45 % become 19.
                **from_scratch(56, **_ADAMW, system={**_SMALL, "gates": [0.0] * 5}),
                "stages": [
                    {"name": "modules"},
                    {"name": "controller", "epochs": 5, "trainable": ["controller"]},
                ],
            },
        },
        controller=True,
        gates=(0.0, 0.0, 0.0, -1.0, -0.5),
    ),
}
