"""ResEmoteNet (Roy et al. 2024), residual blocks behind a gate, and its three distilled minis (Murtada et al. 2025).

Papers: A. K. Roy, H. K. Kathania, A. Sharma, A. Dey, M. S. A. Ansari, "ResEmoteNet: Bridging Accuracy and Loss
Reduction in Facial Emotion Recognition", IEEE Signal Processing Letters 2024, arXiv 2409.10545. A. Murtada,
O. Abdelrhman, T. A. Attia, "Mini-ResEmoteNet: Leveraging Knowledge Distillation for Human-Centered Design",
arXiv 2501.18538.
Public code: github.com/ArnabKumarRoy02/ResEmoteNet (MIT): `approach/ResEmoteNet.py`, `train_files/*`. The minis' code
could not be had.
Known: architecture and count of ResEmoteNet (80,238,599), its optimiser, its input; that the minis have about 50, 75
and 87.5 % fewer channels and learn by distillation with a temperature.
Reconstructed: the minis cut convolutions and hidden layers alike (20,069,383, 5,022,215 and 1,257,991 parameters);
temperature 4 and α = 0.7 of their distillation; how long a plateau lasts (5 epochs); the rest of their recipe is
ResEmoteNet's.

Recipe `mien`: sees 48 px instead of 64 and lets the first residual block keep the 6 × 6 map (`strides`), with as many
parameters; dropouts are smaller. AdamW on a cosine for 150 epochs, because under SGD the head's hidden layers, which
have no normalisation, hardly learn; mixup, smoothed labels, stronger augmentation and a moving average. The minis have
no teacher in it.

Deviations:
- The released data copy holds processed validation and test faces in its training folders. Here the protocol's splits.
- The public code keeps mirroring active in validation and test and drops the first row of the list. Not here.
- `faithful` divides the learning rate by ten on a plateau, as the paper says; the public script keeps it constant.
- A mini's teacher is a trained `resemotenet` under this protocol, named when the distillation is started:
  `mien distill --student mini-resemotenet-c --recipe faithful --teacher RUN`. `mien train` trains the recipe `mien`
  without one, and `faithful` with `--set distill.weight=0`; a result says which it was (its recipe has `distill`).
  Those listed here are of another teacher: the default bundle (`compact`, weights `e1137861`), with a temperature of 2;
  it tells more faces right than the `resemotenet` that could be trained on two processor cores.
- The source fills its classes up with rotated, mirrored and cropped copies, made from all images before they are split
  (reported in its issues), and so tests on faces it has seen turned. Here nobody is copied: every face is augmented
  anew in every epoch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mien.layers.squeeze_excitation import squeeze_excitation
from mien.systems.base import System
from mien.systems.card import Card, Paper, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_count


class Block(nn.Module):
    """Two 3×3 convolutions with biases around a 1×1 convolution."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(incoming, outgoing, 3, stride, padding=1),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(inplace=True),
            nn.Conv2d(outgoing, outgoing, 3, padding=1),
            nn.BatchNorm2d(outgoing),
        )
        self.shortcut = nn.Sequential(nn.Conv2d(incoming, outgoing, 1, stride), nn.BatchNorm2d(outgoing))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, incoming, S, S) → (N, outgoing, S / stride, S / stride)."""
        out: Tensor = self.activation(self.body(images) + self.shortcut(images))
        return out


class ResEmoteNet(System):
    """Three convolutions, a squeeze-and-excitation gate, three residual blocks, three hidden layers.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first convolution; everything else is a multiple of it.
        strides: by which the three residual blocks reduce the map, 1 or more each.
        dropout: probability of the dropouts between convolutions, 0 to 1.
        head_dropout: probability of the dropouts after the hidden layers, 0 to 1.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        width: int = 64,
        strides: Sequence[int] = (2, 2, 2),
        dropout: float = 0.2,
        head_dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_count("strides", strides, 3, "residual block")
        stem: list[nn.Module] = []
        incoming = channels
        for outgoing in (width, 2 * width, 4 * width):
            stem += [nn.Conv2d(incoming, outgoing, 3, padding=1), nn.BatchNorm2d(outgoing), nn.ReLU(inplace=True)]
            stem += [nn.MaxPool2d(2), nn.Dropout(dropout)]
            incoming = outgoing
        self.stem = nn.Sequential(*stem[:-1])  # no dropout before the gate
        self.gate = squeeze_excitation(incoming, reduction=16, bias=False)
        blocks: list[nn.Module] = []
        for outgoing, stride in zip((8 * width, 16 * width, 32 * width), strides, strict=True):
            blocks.append(Block(incoming, outgoing, stride))
            incoming = outgoing
        self.residual = nn.Sequential(*blocks)
        hidden: list[nn.Module] = []
        for outgoing in (16 * width, 8 * width, 4 * width):
            hidden += [nn.Linear(incoming, outgoing), nn.ReLU(inplace=True), nn.Dropout(head_dropout)]
            incoming = outgoing
        self.hidden = nn.Sequential(*hidden)
        self.head = nn.Linear(incoming, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, 4 · width)."""
        features: Tensor = self.hidden(self.residual(self.gate(self.stem(images))).mean((2, 3)))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); S is at least 8 px."""
        logits: Tensor = self.head(self.embed(images))
        return logits


_PAPER = Paper(
    title="ResEmoteNet: Bridging Accuracy and Loss Reduction in Facial Emotion Recognition",
    authors=(
        "Arnab Kumar Roy",
        "Hemant Kumar Kathania",
        "Adhitiya Sharma",
        "Abhishek Dey",
        "Md. Sarfaraj Alam Ansari",
    ),
    year=2024,
    venue="IEEE Signal Processing Letters",
    url="https://arxiv.org/abs/2409.10545",
    code=("https://github.com/ArnabKumarRoy02/ResEmoteNet",),
    code_licence="MIT",
)
_MINI_PAPER = Paper(
    title="Mini-ResEmoteNet: Leveraging Knowledge Distillation for Human-Centered Design",
    authors=("Amna Murtada", "Omnia Abdelrhman", "Tahani Abdalla Attia"),
    year=2025,
    url="https://arxiv.org/abs/2501.18538",
)
_FAITHFUL: dict[str, Any] = {
    "epochs": 80,
    "batch_size": 16,
    "early_stop": 16,  # the source stops when its counter exceeds 15
    "precision": "fp32",
    "input": {"size": 64, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
    "optim": {"name": "sgd", "lr": 1e-3, "momentum": 0.9, "weight_decay": 1e-4, "decay_norms": True},
    "schedule": {"name": "plateau", "factor": 0.1, "patience": 5},
}
_MIEN = from_scratch(
    48,
    optim={"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
    system={"strides": (1, 2, 2), "dropout": 0.1, "head_dropout": 0.3},
)


def _mini(letter: str, width: int, parameters: int) -> Card:
    return Card(
        id=f"mini-resemotenet-{letter}",
        title=f"Mini-ResEmoteNet {letter.upper()}",
        module=ResEmoteNet,
        input=grey(48, channels=3),
        parameters=parameters,
        paper=_MINI_PAPER,
        extra_data=("unknown",),
        options={"width": width, "strides": (2, 2, 2), "dropout": 0.2, "head_dropout": 0.5},
        recipes={"faithful": {**_FAITHFUL, "distill": {"weight": 0.7, "temperature": 4.0}}, "mien": _MIEN},
        tiny={"width": 4, "dropout": 0.0, "head_dropout": 0.0},
    )


CARDS = {
    "resemotenet": Card(
        id="resemotenet",
        title="ResEmoteNet",
        module=ResEmoteNet,
        input=grey(48, channels=3),
        parameters=80_238_599,
        paper=_PAPER,
        extra_data=("unknown",),
        options={"width": 64, "strides": (2, 2, 2), "dropout": 0.2, "head_dropout": 0.5},
        recipes={"faithful": _FAITHFUL, "mien": _MIEN},
        tiny={"width": 4, "dropout": 0.0, "head_dropout": 0.0},
    ),
    "mini-resemotenet-a": _mini("a", 32, 20_069_383),
    "mini-resemotenet-b": _mini("b", 16, 5_022_215),
    "mini-resemotenet-c": _mini("c", 8, 1_257_991),
}
