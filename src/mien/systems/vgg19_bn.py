"""VGG19 with batch normalisation and one linear layer: the strong open baseline of WuJie1010.

Paper: none; the trunk is that of K. Simonyan, A. Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", arXiv 1409.1556, configuration E. Public code: github.com/WuJie1010/Facial-Expression-Recognition.Pytorch
(MIT): `mainpro_FER.py`, `models/vgg.py`.
Known from the code: architecture (20,038,983 parameters), crops, optimiser, schedule, each number of the gradient cut
to ± 0.1, ten-crop test.
Reconstructed: nothing.

Recipe `mien`: keeps network, crops and 44 px; Nesterov's momentum on a cosine for 150 epochs instead of 250 that end in
steps, with mixup, smoothed labels, stronger augmentation and a moving average against overfitting, faces normalised by
the mean of all, and a clipped norm of the gradient instead of clipped numbers.

Deviations:
- The source notes the best epoch of PublicTest and that of PrivateTest side by side, and states the latter. Here the
  epoch is chosen on PublicTest alone (its users measure about half a point less that way, issue 27).
- The code judges an epoch by ten crops of each face. Here the face alone does (view `one`), and ten crops are for the
  result.
- The source's last 1 × 1 map is flattened; ours is averaged, which is the same at 44 px and lets other sides in.
"""

from __future__ import annotations

from torch import Tensor, nn

from mien.layers.plain import plain_stages
from mien.systems.base import System
from mien.systems.card import Card, Paper, grey
from mien.systems.from_scratch import from_scratch


class VGG19BN(System):
    """Sixteen convolutions in five stages, then the classifier.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first stage; they double three times.
        dropout: probability of the dropout before the last layer, 0 to 1.
    """

    def __init__(self, *, classes: int, channels: int, width: int = 64, dropout: float = 0.5) -> None:
        super().__init__()
        depths, factors = (2, 2, 4, 4, 4), (1, 2, 4, 8, 8)
        widths = [[width * factor] * depth for depth, factor in zip(depths, factors, strict=True)]
        self.features = plain_stages(channels, widths)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(8 * width, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, 8 · width)."""
        features: Tensor = self.features(images).mean((2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); S is at least 32 px."""
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits


CARDS = {
    "vgg19-bn": Card(
        id="vgg19-bn",
        title="VGG19-BN",
        module=VGG19BN,
        input=grey(44, resize=48, channels=3),
        parameters=20_038_983,
        paper=Paper(
            title="",
            authors=("WuJie1010",),
            code=("https://github.com/WuJie1010/Facial-Expression-Recognition.Pytorch",),
            code_licence="MIT",
        ),
        options={"width": 64, "dropout": 0.5},
        recipes={
            "faithful": {
                "epochs": 250,
                "batch_size": 128,
                "precision": "fp32",
                "input": {"mean": [0.0] * 3, "std": [1.0] * 3},
                "optim": {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "decay_norms": True},
                # The source starts to count at 80: 0.9 ** ((epoch - 80) // 5).
                "schedule": {"name": "step", "factor": 0.9, "every": 5, "after": 85},
                "clip_value": 0.1,
            },
            "mien": from_scratch(
                44,
                input={},
                # Many plain convolutions in a row stay at the most frequent expression with 0.05.
                optim={"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
            ),
        },
        views=("tencrop@44",),
        tiny={"width": 6, "dropout": 0.0},
        tiny_size=32,
    )
}
