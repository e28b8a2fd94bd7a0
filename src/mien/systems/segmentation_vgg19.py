"""Segmentation VGG-19 (Vignesh et al. 2023): VGG19-BN whose stages are weighed by shallow masks.

Paper: S. Vignesh, M. Savithadevi, M. Sridevi, R. Sridhar (names from memory), "A Novel Facial Emotion Recognition Model
Using Segmentation VGG-19 Architecture", International Journal of Information Technology, 2023. Public code:
github.com/VigneshS10/Segmentation-VGG19 (its README says MIT): `models/vgg_19_bn_mask.py`, `models/segmentation.py`,
`configs/config.json`, `trainers/trainer.py`; forked from the code of the Residual Masking Network.
Known from the code: the architecture (169.2 million parameters for seven classes), both stages of the training,
optimiser, schedule, augmentation. The masks follow the second, fourth, eighth and sixteenth convolution, before the
pooling; there is none after the twelfth. All have depth 1, so they neither pool nor enlarge.
Reconstructed: nothing in the network. The paper's text was not available.

Recipe `mien`: starts from random weights instead of ImageNet's and sees 48 px, which leave the two hidden layers of
4,096 units nothing to look at: it classifies the average of the last stage, without its pooling (`pooled_head`), and
trains in one stage. AdamW in small steps on a cosine for 150 epochs, with mixup, smoothed labels, stronger augmentation
and a moving average, instead of RAdam on plateaus: fresh weights need more epochs and overfit in them.

Deviations:
- The released model starts from a checkpoint of plain VGG19-BN on FER2013 that lies on a private disk. `faithful`
  trains that network as its first stage (`plain`), from ImageNet weights as the sibling file does, and then
  switches the masks on (`masks`), with the same settings: those of the first training are not documented. The source
  gives the network with masks a fresh classifier; here the masks join the one that was learnt.
- Faces enter `faithful` between 0 and 1, as in the source, although the ImageNet weights expect normalised ones.
- Faces are enlarged bilinearly in training, as in the source, and bicubically in evaluation, as everywhere here.
- The source's test averages ten random rotations without a seed; the view is `rot10`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from timm.models.vgg import VGG
from torch import Tensor, nn

from mien.errors import InputError
from mien.layers.channel_mask import ChannelMask
from mien.systems.card import Card, Paper, Pretrained
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_count
from mien.systems.residual_masking import FAITHFUL, INPUT, MaskedSystem

_CONVOLUTIONS = (2, 2, 4, 4, 4)
_MASKED = (0, 1, 2, 4)


class SegmentationVGG19(MaskedSystem):
    """VGG19-BN with masks at the end of its first, second, third and fifth stage.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        widths: channels of the five stages.
        dropout: probability of both dropouts in the head, 0 to 1.
        pooled_head: classify the average of the last stage, without its pooling and without hidden layers.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
        dropout: float = 0.5,
        pooled_head: bool = False,
    ) -> None:
        super().__init__()
        check_count("widths", widths, 5, "stage")
        stages = [[width] * count for width, count in zip(widths, _CONVOLUTIONS, strict=True)]
        layers = list(itertools.chain.from_iterable([*stage, "M"] for stage in stages))
        trunk: Any = VGG(layers, num_classes=0, in_chans=channels, norm_layer=nn.BatchNorm2d, drop_rate=dropout)
        if pooled_head:
            trunk.features, trunk.pre_logits = trunk.features[:-1], nn.Identity()
        self.trunk = trunk
        self.masks = nn.ModuleDict({str(stage): ChannelMask(widths[stage], depth=1) for stage in _MASKED})
        self.head = nn.Linear(widths[-1] if pooled_head else trunk.head_hidden_size, classes)
        self.pooled_head = pooled_head

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, 4096), or (N, widths[-1]) with the pooled head."""
        if not self.pooled_head and min(images.shape[-2:]) < 224:
            raise InputError(
                f"segmentation-vgg19 takes faces of at least 224 px, not {images.shape[-1]}; with the option "
                "pooled_head it takes any from 16 px"
            )
        features = self._masked_features(images) if self.masks_active else self.trunk.features(images)
        hidden: Tensor = self.trunk.head(self.trunk.pre_logits(features))
        return hidden

    def _masked_features(self, images: Tensor) -> Tensor:
        features, stage = images, 0
        for layer in self.trunk.features:
            if isinstance(layer, nn.MaxPool2d):
                features, stage = self._weighed(features, stage), stage + 1
            features = layer(features)
        return self._weighed(features, stage) if self.pooled_head else features

    def _weighed(self, features: Tensor, stage: int) -> Tensor:
        return features * (1 + self.masks[str(stage)](features)) if stage in _MASKED else features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); S is 224 or more, from 16 with the pooled head."""
        logits: Tensor = self.head(self.embed(images))
        return logits


_FAITHFUL: dict[str, Any] = {
    **FAITHFUL,
    "batch_size": 8,
    "schedule": {"name": "plateau", "factor": 0.1, "patience": 3, "floor": 0.01},
    "stages": [{"name": "plain"}, {"name": "masks"}],
}

CARDS = {
    "segmentation-vgg19": Card(
        id="segmentation-vgg19",
        title="Segmentation VGG-19",
        module=SegmentationVGG19,
        input=INPUT,
        parameters=169_220_807,
        paper=Paper(
            title="A Novel Facial Emotion Recognition Model Using Segmentation VGG-19 Architecture",
            authors=("S. Vignesh", "M. Savithadevi", "M. Sridevi", "R. Sridhar"),
            year=2023,
            venue="International Journal of Information Technology",
            url="https://github.com/VigneshS10/Segmentation-VGG19",
            code=("https://github.com/VigneshS10/Segmentation-VGG19",),
            code_licence="MIT",
        ),
        options={"widths": (64, 128, 256, 512, 512), "dropout": 0.5, "pooled_head": False},
        recipes={
            "faithful": _FAITHFUL,
            "mien": from_scratch(
                48,
                # Many plain convolutions in a row stay at the most frequent expression with larger steps.
                optim={"name": "adamw", "lr": 4e-4, "weight_decay": 0.05},
                schedule={"name": "cosine", "warmup": 5.0},
                system={"pooled_head": True},
            ),
        },
        extra_data=("ImageNet-1k",),
        views=("rot10",),
        tiny={"widths": (4, 4, 8, 8, 16), "dropout": 0.0, "pooled_head": True},
        tiny_size=32,
        pretrained=Pretrained("vgg19_bn.tv_in1k", options={"pooled_head": False}, size=224),
    )
}
