"""The expression branch of IdentiFace (Rabea et al. 2024): seven plain convolutions and one large hidden layer.

Paper: M. Rabea, H. Ahmed, S. Mahmoud, N. Sayed, "IdentiFace: A VGG Based Multimodal Facial Biometric System",
arXiv 2401.01227. Public code: github.com/MahmoudRabea13/IdentiFace (no licence was seen), the notebook of the
expression branch.
Known from the notebook: the architecture (20,625,095 parameters for seven classes), optimiser, batch, early stop, class
weights, no augmentation.
Reconstructed: single precision, since nothing else is said.

Recipe `mien`: puts a batch normalisation behind each convolution (`batch_norm`), without which the network needs a tiny
learning rate. SGD on a cosine for 120 epochs instead of Adam with an early stop, mixup, smoothed labels and strong
augmentation instead of class weights, and a moving average: the source has no augmentation at all and overfits.

Deviations:
- The source leaves disgust and fear out and measures on a random fifth of the training folder; its figure is one for
  five classes. Here seven classes under the protocol.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mien.layers.plain import plain_stages
from mien.systems.base import System
from mien.systems.card import Card, Paper, grey
from mien.systems.from_scratch import from_scratch


class IdentiFace(System):
    """Seven convolutions in three stages, then one hidden layer.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first stage; they double twice.
        hidden: units of the hidden layer.
        dropout: probability of the dropout behind the hidden layer, 0 to 1.
        batch_norm: whether each convolution is normalised.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        width: int = 64,
        hidden: int = 2048,
        dropout: float = 0.5,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        widths = [[width] * 2, [2 * width] * 2, [4 * width] * 3]
        self.features = plain_stages(channels, widths, batch_norm=batch_norm)
        self.hidden = nn.Sequential(nn.Linear(4 * width * 6 * 6, hidden), nn.ReLU(inplace=True), nn.Dropout(dropout))
        self.head = nn.Linear(hidden, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, hidden)."""
        features: Tensor = self.hidden(torch.flatten(self.features(images), 1))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, 48, 48) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits


CARDS = {
    "identiface": Card(
        id="identiface",
        title="IdentiFace",
        module=IdentiFace,
        input=grey(48),
        parameters=20_625_095,
        paper=Paper(
            title="IdentiFace: A VGG Based Multimodal Facial Biometric System",
            authors=("Mahmoud Rabea", "Hanya Ahmed", "Sohaila Mahmoud", "Nourhan Sayed"),
            year=2024,
            url="https://arxiv.org/abs/2401.01227",
            code=("https://github.com/MahmoudRabea13/IdentiFace",),
        ),
        options={"width": 64, "hidden": 2048, "dropout": 0.5, "batch_norm": False},
        recipes={
            "faithful": {
                "epochs": 40,
                "batch_size": 128,
                "precision": "fp32",
                "early_stop": 7,
                "monitor": "loss",
                "input": {"mean": [0.0], "std": [1.0]},
                "augment": {"flip": 0.0},
                "optim": {"name": "adam", "lr": 1e-4},
                "schedule": {"name": "constant"},
                "loss": {"class_weights": "balanced"},
            },
            "mien": from_scratch(
                48,
                channels=1,
                epochs=120,
                # Many plain convolutions in a row stay at the most frequent expression with 0.05.
                optim={"name": "sgd", "lr": 0.01, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4},
                system={"batch_norm": True},
            ),
        },
        tiny={"width": 6, "hidden": 48, "dropout": 0.0},
    )
}
