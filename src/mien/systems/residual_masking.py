"""Residual Masking Network (Pham et al. 2020): ResNet34 whose stages are weighed by small U-shaped networks.

Paper: L. Pham, T. H. Vu, T. A. Tran, "Facial Expression Recognition using Residual Masking Network", ICPR 2020.
Public code: github.com/phamquiluan/ResidualMaskingNetwork (MIT): `models/resmasking.py`, `models/masking.py`,
`configs/fer2013_config.json`, `trainers/tta_trainer.py`, `utils/radam.py`.
Known from the code: the architecture, whose `resmasking_dropout1` is the published model; optimiser, schedule,
augmentation and the ten random rotations of the test. After stage i the features x become x · (1 + mask(x)).
Reconstructed: nothing.

Recipe `mien`: starts from random weights instead of ImageNet's, sees 48 px and leaves the max pooling of the stem out
(`stem_stride = 2`), so that the masks work on maps of 24, 12, 6 and 3 px; the network is the source's otherwise. AdamW
on a cosine for 150 epochs, with mixup, smoothed labels, stronger augmentation and a moving average, instead of RAdam on
plateaus: fresh weights need larger steps and more epochs.

Deviations:
- The paper states 142.9 million parameters. The public class has 137.8 million for seven classes, and so has this one.
- The lines that load ImageNet weights are commented out in the public code; its authors say that the claim needs them,
  so `faithful` starts from them. Which ResNet34 weights they were is known (torchvision's first), and timm has them.
- Faces enter `faithful` between 0 and 1, as in the source, although the ImageNet weights expect normalised ones.
- Faces are enlarged bilinearly in training, as in the source, and bicubically in evaluation, as everywhere here.
- A recipe may have stages without masks (`plain`), as the sibling Segmentation VGG-19 is trained: the masks are five
  sixths of the work. The source, `faithful` and `mien` train in one stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
from torch import Tensor, nn

from mien.bundle import InputSpec
from mien.errors import InputError
from mien.layers.channel_mask import ChannelMask
from mien.layers.stem import soften_stem
from mien.systems.base import System
from mien.systems.card import Card, Pretrained
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_count
from mien.systems.papers import RESIDUAL_MASKING


class MaskedSystem(System):
    """A network with masks, which stages may leave out: a sixth of the work where the masks are deep.

    A mask that joins begins with a softmax of random weights, which over C channels is 1/C in the mean.
    """

    masks_active = True

    def begin_stage(self, name: str) -> None:
        """Stages of the kind ``plain`` train without masks, those of the kind ``masks`` with them."""
        self.masks_active = self.stage_kind(name, ("plain", "masks")) == "masks"


class ResidualMaskingNetwork(MaskedSystem):
    """ResNet34 with a mask after each of its four stages.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        dropout: probability of the dropout before the last layer, 0 to 1.
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        mask_depths: levels of the masks of the four stages; each level after a mask's first halves the map once more.
        depths: residual blocks of the four stages.
        widths: channels of the four stages.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        dropout: float = 0.4,
        stem_stride: int = 4,
        mask_depths: Sequence[int] = (4, 3, 2, 1),
        depths: Sequence[int] = (3, 4, 6, 3),
        widths: Sequence[int] = (64, 128, 256, 512),
    ) -> None:
        super().__init__()
        for option, of_stages in (("mask_depths", mask_depths), ("depths", depths), ("widths", widths)):
            check_count(option, of_stages, 4, "stage")
        self.trunk: Any = timm.create_model(
            "resnet34", num_classes=0, in_chans=channels, layers=tuple(depths), channels=tuple(widths)
        )
        soften_stem(self.trunk, "conv1", "maxpool", stem_stride)
        self.masks = nn.ModuleList(ChannelMask(*of) for of in zip(widths, mask_depths, strict=True))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)
        # A mask of depth d halves its stage's map d - 1 times, and stage i (from 0) halves the stem's i times.
        self.multiple = stem_stride * 2 ** max(stage + depth - 1 for stage, depth in enumerate(mask_depths))

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, widths[-1])."""
        height, width = images.shape[-2:]
        if self.masks_active and (height % self.multiple or width % self.multiple):
            raise InputError(f"the masks halve the face evenly: its side is a multiple of {self.multiple}, not {width}")
        trunk = self.trunk
        features = trunk.maxpool(trunk.act1(trunk.bn1(trunk.conv1(images))))
        for stage, mask in zip((trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4), self.masks, strict=True):
            features = stage(features)
            if self.masks_active:
                features = features * (1 + mask(features))
        pooled: Tensor = features.mean((2, 3))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes).

        Where masks work, S is a multiple of `multiple`: by default of 8 · ``stem_stride``, with deeper masks of more.
        """
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits


INPUT = InputSpec(224, 3, "grey", mean=(0.0,) * 3, std=(1.0,) * 3)
"""What the public code feeds: grey values from 0 to 1, repeated."""

FAITHFUL: dict[str, Any] = {
    "epochs": 51,  # the source stops when it has done more than 50
    "batch_size": 48,
    "early_stop": 9,
    "precision": "fp32",
    "augment": {"rotate": 30.0, "outside": "black"},
    # The source's own RAdam takes the decay from the weights.
    "optim": {"name": "radam", "lr": 1e-4, "weight_decay": 1e-3, "decay_norms": True, "decoupled": True},
    "schedule": {"name": "plateau", "factor": 0.1, "patience": 2, "floor": 0.01},
    "start": {"kind": "pretrained"},
}
"""How the public code trains every one of its networks."""

CARDS = {
    "residual-masking-network": Card(
        id="residual-masking-network",
        title="Residual Masking Network",
        module=ResidualMaskingNetwork,
        input=INPUT,
        parameters=137_796_423,
        paper=RESIDUAL_MASKING,
        options={
            "dropout": 0.4,
            "stem_stride": 4,
            "mask_depths": (4, 3, 2, 1),
            "depths": (3, 4, 6, 3),
            "widths": (64, 128, 256, 512),
        },
        recipes={
            "faithful": FAITHFUL,
            "mien": from_scratch(
                48,
                optim={"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
                schedule={"name": "cosine", "warmup": 5.0},
                system={"stem_stride": 2},
            ),
        },
        extra_data=("ImageNet-1k",),
        views=("rot10",),
        tiny={"dropout": 0.0, "mask_depths": (2, 1, 1, 1), "depths": (1, 1, 1, 1), "widths": (8, 12, 16, 24)},
        tiny_size=32,
        pretrained=Pretrained("resnet34.tv_in1k"),
    )
}
