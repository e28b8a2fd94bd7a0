"""VGGNet on FER2013 (Khaireddin & Chen 2021): eight convolutions, two hidden layers, 40 px crops.

Paper: Y. Khaireddin, Z. Chen, "Facial Emotion Recognition: State of the Art Performance on FER2013",
arXiv 2105.03588. Public code: github.com/usef-kh/fer (MIT), `models/vgg.py`, `train.py`, `data/fer2013.py`.
Known from the code: architecture, parameter count (29,890,759), augmentation, optimiser, schedule, ten-crop test.
Reconstructed: nothing in the network. The paper's final phase (low learning rate with cosine restarts, training on
the validation faces too) is not in the code that was read and would break the protocol; it is left out.

Recipe `mien`: takes one random crop per face instead of ten, which costs a tenth, and adds mixup, smoothed labels, a
moving average and dropout of 0.4, without which the wide head overfits; larger steps on a cosine for 120 epochs replace
300 epochs of plateaus.

Deviations:
- The public loader names PrivateTest "val" and drives learning rate and checkpoint with it. Here PublicTest does.
- The code decides by ten crops of each validation face as well. Here every epoch is judged by the face alone (view
  `one`), and ten crops are for the result.
- `faithful` feeds ten crops per face as the code does (`augment.crops = "ten"`), so a batch of 64 faces is 640 crops.
- `faithful` draws window, shift and rotation as the code does, but looks each pixel up once, bilinearly: a shift or a
  rotation brings back what the window has cut off, where the code, one step after the other, has black; it shifts by
  a share of the face, not of the window, and in fractions of a pixel.
- A rectangle to erase that is larger than the crop is cut to it; the code draws another one.
- Dropout stands before the ReLU, as in the code, and has p = 0.1, its hyper-parameter, not the class default of 0.2.
- The code's mixed precision is fp16 with a scaled loss; here bf16 without.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.systems.base import System
from mien.systems.card import Card, Paper, grey


class VGGNet(System):
    """Four stages of two 3×3 convolutions, then two hidden layers of 4,096 units.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first stage; they double three times.
        hidden: units of each of the two hidden layers.
        dropout: probability of the two dropouts in the head, 0 to 1.
    """

    def __init__(
        self, *, classes: int, channels: int, width: int = 64, hidden: int = 4096, dropout: float = 0.1
    ) -> None:
        super().__init__()
        stages: list[nn.Module] = []
        incoming = channels
        for outgoing in (width, 2 * width, 4 * width, 8 * width):
            for _ in range(2):
                stages += [nn.Conv2d(incoming, outgoing, 3, padding=1), nn.BatchNorm2d(outgoing), nn.ReLU(inplace=True)]
                incoming = outgoing
            stages.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*stages)
        self.hidden = nn.Sequential(
            nn.Linear(incoming * 2 * 2, hidden),
            nn.Dropout(dropout),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.Dropout(dropout),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(hidden, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, hidden)."""
        features: Tensor = self.hidden(torch.flatten(self.features(images), 1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); S is 32 to 47 px, as published 40."""
        logits: Tensor = self.head(self.embed(images))
        return logits


_AUGMENT = {
    "scale": [0.8, 1.2],
    "aspect": [0.75, 1.333],
    "translate": 0.2,
    "translate_probability": 0.5,
    "rotate": 10.0,
    "rotate_probability": 0.5,
    "erase_probability": 0.5,
    "outside": "black",
}

_FAITHFUL_AUGMENT = {**_AUGMENT, "window": "inside", "erase_fill": "black"}
"""The code's windows lie within the face although their areas go to 1.2: one that does not fit is drawn again."""

CARDS = {
    "vggnet": Card(
        id="vggnet",
        title="VGGNet",
        module=VGGNet,
        input=grey(40, resize=48),
        parameters=29_890_759,
        paper=Paper(
            title="Facial Emotion Recognition: State of the Art Performance on FER2013",
            authors=("Yousif Khaireddin", "Zhuofa Chen"),
            year=2021,
            url="https://arxiv.org/abs/2105.03588",
            code=("https://github.com/usef-kh/fer",),
            code_licence="MIT",
        ),
        options={"width": 64, "hidden": 4096, "dropout": 0.1},
        recipes={
            "faithful": {
                "epochs": 300,
                "batch_size": 64,
                "input": {"mean": [0.0], "std": [1.0]},
                "augment": {**_FAITHFUL_AUGMENT, "crops": "ten"},
                "optim": {
                    "name": "sgd",
                    "lr": 0.01,
                    "momentum": 0.9,
                    "nesterov": True,
                    "weight_decay": 1e-4,
                    "decay_norms": True,
                },
                "schedule": {"name": "plateau", "factor": 0.75, "patience": 5},
            },
            "mien": {
                "epochs": 120,
                "batch_size": 128,
                "augment": {**_AUGMENT, "crops": "random", "mixup": 0.2},
                "optim": {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
                "schedule": {"name": "cosine", "warmup": 1.0},
                "loss": {"smoothing": 0.1},
                "ema": 0.999,
                "system": {"dropout": 0.4},
            },
        },
        views=("tencrop@40",),
        tiny={"width": 8, "hidden": 64},
    )
}
