"""Ad-Corre (Fard & Mahoor 2022): ten embeddings and three losses on their correlations.

Paper: A. P. Fard, M. H. Mahoor, "Ad-Corre: Adaptive Correlation-Based Loss for Facial Expression Recognition in the
Wild", IEEE Access 2022. Public code: github.com/aliprf/Ad-Corre (no licence was seen): `cnn_model.py`,
`custom_loss.py`, `train.py`, `config.py`.
Known from the code: architecture (Xception, ten linear embeddings of 256 values; 26,070,319 parameters here), the
losses and their weights, optimiser, batch, epochs.
Reconstructed: the augmentation, which was done outside the repository: mirroring and a rotation of ±10°.

Recipe `mien`: starts from random weights instead of ImageNet's and sees 64 px, with a first convolution that steps over
every pixel (`stem_stride = 1`). The recipe's loss weighs 5 instead of 50/7 (`cross_entropy`), which was not compared,
and gradients are clipped to 10, not to the 5 of most systems, as the sum of the losses is several times as large. AdamW
on a cosine for 120 epochs, with mixup, smoothed labels, stronger augmentation and a moving average, instead of 300 of
Adam.

Deviations:
- The released code computes the three correlation losses in NumPy, outside the gradient tape: they are constants, and
  the cross-entropy alone trains the network. Here they are differentiable, as the paper means them.
- The weights by confusion matrix that gave the method its name are in the code, but the function it calls leaves them
  out. Here, too.
- The source names every epoch's checkpoint by its test accuracy, tests on PublicTest and PrivateTest together, and
  drops the last part of a batch. Not here.
- A pair of faces counts as of one class by the product of their targets, which is exact for hard labels and goes on to
  make sense for smoothed and mixed ones.
- The source's Adam has an epsilon of 1e-7, Keras' default; here PyTorch's 1e-8. Likewise Keras' batch normalisation has
  an epsilon of 1e-3 and keeps 99 % of its averages, timm's Xception 1e-5 and 90 %; and Keras draws dense layers after
  Glorot, PyTorch from ± 1 / √inputs.
- Faces enter `faithful` between 0 and 1, as in the source, although the ImageNet weights expect normalised ones.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from mien.errors import RecipeError
from mien.systems.base import Criterion, System
from mien.systems.card import Card, Paper, Pretrained, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_network, check_not_negative, check_stride


class AdCorre(System):
    """A trunk, parallel linear embeddings of unit length, a classifier on all of them.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        trunk: timm's name of the trunk, a network whose first convolution has stride 2; the source has a ResNet50 too.
        stem_stride: of the trunk's first convolution: 2 (as published) or 1, which leaves small faces more pixels.
        embeddings: number of embeddings.
        size: values in each embedding, 2 or more.
        dropout: probability of the dropout before the classifier, 0 to 1.
        cross_entropy: weight of the recipe's loss, 0 or more.
        feature: weight of the loss that pairs of faces correlate by class (`feature_discrimination`), 0 or more.
        mean: weight of the loss that mean embeddings of classes do not correlate (`mean_discrimination`), 0 or more.
        embedding: weight of the loss that a face's embeddings do not correlate (`embedding_discrimination`), 0 or more.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        trunk: str = "legacy_xception",
        stem_stride: int = 2,
        embeddings: int = 10,
        size: int = 256,
        dropout: float = 0.5,
        cross_entropy: float = 50 / 7,
        feature: float = 1.0,
        mean: float = 1.0,
        embedding: float = 1.0,
    ) -> None:
        super().__init__()
        check_network("trunk", trunk, ("legacy_xception", "resnet50"))
        check_stride(stem_stride)
        check_not_negative(cross_entropy=cross_entropy, feature=feature, mean=mean, embedding=embedding)
        if not cross_entropy + feature + mean + embedding:
            raise RecipeError("cross_entropy, feature, mean and embedding are all 0: give at least one loss a weight")
        if size < 2:  # one value has no correlation
            raise RecipeError(f"size = {size}: give a whole number of at least 2")
        made: Any = timm.create_model(trunk, num_classes=0, in_chans=channels)
        first = next((part for part in made.modules() if isinstance(part, nn.Conv2d)), None)
        if first is None or first.stride != (2, 2):
            raise RecipeError(
                f"trunk = {trunk!r}: give a network whose first convolution has stride 2, such as legacy_xception or "
                "resnet50"
            )
        first.stride = (stem_stride, stem_stride)
        self.trunk: nn.Module = made
        self.project = nn.Linear(made.num_features, embeddings * size)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(embeddings * size, classes)
        self.embeddings = embeddings
        self.weights = {
            "loss": cross_entropy,
            "feature": feature,
            "mean": mean,
            "embedding": embedding,
        }

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, embeddings · size); each embedding has length 1."""
        return torch.flatten(self._embeddings(images), 1)

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes)."""
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits

    def loss(self, images: Tensor, targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """The recipe's loss and the three correlation losses, each times its weight; those of weight 0 are left out."""
        embeddings = self._embeddings(images)
        logits = self.head(self.dropout(torch.flatten(embeddings, 1)))
        terms = {
            "loss": lambda: criterion(logits, targets),
            "feature": lambda: feature_discrimination(embeddings, targets),
            "mean": lambda: mean_discrimination(embeddings, targets),
            "embedding": lambda: embedding_discrimination(embeddings),
        }
        return {name: weight * terms[name]() for name, weight in self.weights.items() if weight}

    def _embeddings(self, images: Tensor) -> Tensor:
        """Float (N, K, size)."""
        projected = self.project(self.trunk(images)).unflatten(1, (self.embeddings, -1))
        return functional.normalize(projected.float(), dim=2, eps=1e-6)


def feature_discrimination(embeddings: Tensor, targets: Tensor) -> Tensor:
    """Faces of one class shall correlate by 1 in each embedding, faces of two classes by -1.

    Args:
        embeddings: float (N, K, size).
        targets: float (N, classes), rows sum to 1. A face without a label has a row of 0 and counts in no pair; one
            that labelled faces are mixed into has a row that sums to their share, and counts in its pairs by it.

    Returns:
        Mean absolute difference over all pairs of faces and all embeddings; a scalar.
    """
    shares = targets.sum(1)
    pairs = shares[:, None] * shares[None]
    wanted = 2 * (targets[:, None] * targets[None]).sum(2) / pairs.clamp(min=1e-9) - 1
    differences = (wanted - correlations(embeddings.transpose(0, 1))).abs() * pairs
    return differences.sum() / (len(differences) * pairs.sum()).clamp(min=1e-9)


def mean_discrimination(embeddings: Tensor, targets: Tensor) -> Tensor:
    """The mean embeddings of two classes shall not correlate; arguments as of `feature_discrimination`.

    A class that is not in the batch has the mean of the batch, as in the source.
    """
    weights = targets.float() + 1e-7
    means = torch.stack([weights[:, c, None, None] / weights[:, c].sum() for c in range(weights.shape[1])])
    means = (means * embeddings).sum(1)  # (classes, K, size)
    return _repulsion(correlations(means.transpose(0, 1)))


def embedding_discrimination(embeddings: Tensor) -> Tensor:
    """The embeddings of one face, float (N, K, size), shall not correlate with each other."""
    return _repulsion(correlations(embeddings))


def correlations(rows: Tensor) -> Tensor:
    """Pearson correlations between rows.

    Args:
        rows: float (…, R, size).

    Returns:
        Float (…, R, R).

    Example:
        >>> correlations(torch.tensor([[1.0, 2, 3], [3, 2, 1]])).round(decimals=3)
        tensor([[ 1., -1.],
                [-1.,  1.]])
    """
    unit = functional.normalize(rows - rows.mean(-1, keepdim=True), dim=-1, eps=1e-6)
    # Sums of products in float32 under autocast, too: differences between correlations are what is learnt from.
    with torch.autocast(rows.device.type, enabled=False):
        return unit @ unit.transpose(-1, -2)


def _repulsion(matrix: Tensor) -> Tensor:
    others = 1 - torch.eye(matrix.shape[-1], device=matrix.device)
    return (others * (1 + matrix)).mean()


CARDS = {
    "ad-corre": Card(
        id="ad-corre",
        title="Ad-Corre",
        module=AdCorre,
        input=grey(64, channels=3),
        parameters=26_070_319,
        paper=Paper(
            title="Ad-Corre: Adaptive Correlation-Based Loss for Facial Expression Recognition in the Wild",
            authors=("Ali Pourramezan Fard", "Mohammad H. Mahoor"),
            year=2022,
            venue="IEEE Access",
            url="https://doi.org/10.1109/ACCESS.2022.3156598",
            code=("https://github.com/aliprf/Ad-Corre",),
        ),
        options={
            "trunk": "legacy_xception",
            "stem_stride": 2,
            "embeddings": 10,
            "size": 256,
            "dropout": 0.5,
            "cross_entropy": 50 / 7,
            "feature": 1.0,
            "mean": 1.0,
            "embedding": 1.0,
        },
        recipes={
            "faithful": {
                "epochs": 300,
                "batch_size": 50,
                "precision": "fp32",
                "start": {"kind": "pretrained"},
                "input": {"size": 224, "mean": [0.0] * 3, "std": [1.0] * 3},
                "augment": {"rotate": 10.0},
                "optim": {"name": "adam", "lr": 1e-3},
                "schedule": {"name": "inverse", "decay": 1e-5},
            },
            "mien": from_scratch(
                64,
                epochs=120,
                optim={"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
                clip=10.0,
                system={"stem_stride": 1, "cross_entropy": 5.0},
            ),
        },
        extra_data=("ImageNet-1k",),
        pretrained=Pretrained(
            model="legacy_xception.tf_in1k",
            extra_data=("ImageNet-1k",),
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            size=224,
        ),
        tiny={"trunk": "test_resnet", "embeddings": 3, "size": 16, "dropout": 0.0},
        tiny_size=32,
    )
}
