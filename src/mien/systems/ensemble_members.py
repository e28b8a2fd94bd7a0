"""The plain members of the Residual Masking Network's ensemble: ResNet18, 50 and 101, CBAM-ResNet50, EfficientNet-b2.

Paper: L. Pham, T. H. Vu, T. A. Tran, "Facial Expression Recognition using Residual Masking Network", ICPR 2020, table
of the ensemble. Public code: github.com/phamquiluan/ResidualMaskingNetwork (MIT): `models/__init__.py`,
`script/gen_results.py`, `script/gen_ensemble.py`.
Known from the code: which networks, and that all are trained as the Residual Masking Network is; eight random
rotations per face at the test, drawn here once (`rot8`).
Reconstructed: nothing. Every network is timm's: `resnet18`, `resnet50`, `resnet101`, `resnet50` with the gates of
CBAM (S. Woo et al., ECCV 2018) in every block, `efficientnet_b2`.

Recipe `mien`: starts from random weights instead of ImageNet's, sees 48 px and takes an early reduction out
(`stem_stride`); the ResNets get a dropout of 0.2, and the blocks of EfficientNet-b2 begin as their shortcuts
(`quiet_start`). AdamW on a cosine for 150 epochs, with mixup, smoothed labels, stronger augmentation and a moving
average, instead of RAdam on plateaus: fresh weights need more epochs and overfit in them, and under SGD the deep
ResNets learn much more slowly.

Deviations:
- The source's ResNet50 starts from VGGFace2 faces. timm has no such weights; `faithful` starts from ImageNet.
- The source takes CBAM-ResNet50 and EfficientNet-b2 from pytorchcv, with its ImageNet weights. Ours have the same
  parameters; for the former timm has no weights, so its `faithful` starts afresh. The latter pads symmetrically
  where pytorchcv's imitates TensorFlow.
- The source's dropout before EfficientNet's classifier (0.3) is kept; its ResNets have none.
- Faces enter `faithful` between 0 and 1, as in the source, although ImageNet's weights expect normalised ones.
- Faces are enlarged bilinearly in training, as in the source, and bicubically in evaluation, as everywhere here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import timm
from timm.models.efficientnet import EfficientNet
from torch import Tensor, nn

from mien.errors import RecipeError
from mien.layers.cbam import Cbam
from mien.layers.residual import begin_as_shortcuts
from mien.layers.stem import soften_stem
from mien.systems.base import System
from mien.systems.card import Card, Pretrained
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_count, check_network, check_stride
from mien.systems.papers import RESIDUAL_MASKING
from mien.systems.residual_masking import FAITHFUL, INPUT


class Member(System):
    """A published trunk, pooled, and one linear layer.

    Args:
        trunk: gives (N, features) for images; its width is ``num_features``.
        classes: number of outputs.
        dropout: probability of the dropout before the last layer.
    """

    def __init__(self, trunk: Any, classes: int, dropout: float) -> None:
        super().__init__()
        self.trunk = trunk
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(trunk.num_features, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, features)."""
        features: Tensor = self.trunk(images)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes)."""
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits


class ResNet(Member):
    """A residual network of timm.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        model: timm's name of it.
        depths: residual blocks of the four stages.
        widths: channels of the four stages (a quarter of them, where blocks are bottlenecks).
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        dropout: probability of the dropout before the last layer, 0 to 1.
        gates: made for every block from its channels and put behind its last normalisation.

    Raises:
        RecipeError: ``depths`` or ``widths`` has not four values.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        model: str,
        depths: tuple[int, ...],
        widths: tuple[int, ...],
        stem_stride: int,
        dropout: float,
        gates: Callable[..., nn.Module] | None = None,
    ) -> None:
        for option, of_stages in (("depths", depths), ("widths", widths)):
            check_count(option, of_stages, 4, "stage")  # timm would pass over a fifth
        trunk = timm.create_model(
            model,
            num_classes=0,
            in_chans=channels,
            layers=tuple(depths),
            channels=tuple(widths),
            block_args={"attn_layer": gates} if gates else None,
        )
        soften_stem(trunk, "conv1", "maxpool", stem_stride)
        super().__init__(trunk, classes, dropout)


class ResNet18(ResNet):
    """timm's ``resnet18``.

    Args:
        depths: residual blocks of the four stages.
        widths: channels of the four stages.
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        dropout: probability of the dropout before the last layer, 0 to 1.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(model="resnet18", **options)


class ResNet50(ResNet):
    """timm's ``resnet50``.

    Args:
        depths: residual blocks of the four stages.
        widths: channels of the four stages, a quarter of those that leave a bottleneck.
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        dropout: probability of the dropout before the last layer, 0 to 1.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(model="resnet50", **options)


class ResNet101(ResNet):
    """timm's ``resnet101``.

    Args:
        depths: residual blocks of the four stages.
        widths: channels of the four stages, a quarter of those that leave a bottleneck.
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        dropout: probability of the dropout before the last layer, 0 to 1.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(model="resnet101", **options)


class CbamResNet50(ResNet):
    """timm's ``resnet50`` with the gates of CBAM in every block.

    Args:
        depths: residual blocks of the four stages.
        widths: channels of the four stages, a quarter of those that leave a bottleneck.
        stem_stride: by which the stem reduces the face: 4 (as published), 2 or 1.
        dropout: probability of the dropout before the last layer, 0 to 1.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(model="resnet50", gates=lambda channels, **_: Cbam(channels), **options)


class EfficientNetB2(Member):
    """timm's ``efficientnet_b2``.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        model: timm's name of the trunk, an EfficientNet; tests take a smaller one.
        stem_stride: of the first convolution: 2 (as published) or 1, which leaves small faces more pixels.
        dropout: probability of the dropout before the last layer, 0 to 1.
        quiet_start: the blocks with a shortcut begin as that shortcut.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        model: str = "efficientnet_b2",
        stem_stride: int = 2,
        dropout: float = 0.3,
        quiet_start: bool = False,
    ) -> None:
        check_stride(stem_stride)
        check_network("model", model, ("efficientnet_b2",))
        trunk: Any = timm.create_model(model, num_classes=0, in_chans=channels)
        if not isinstance(trunk, EfficientNet):
            raise RecipeError(f"model = {model!r}: give an EfficientNet of timm, such as efficientnet_b2")
        if quiet_start:
            begin_as_shortcuts(trunk)
        trunk.conv_stem.stride = (stem_stride, stem_stride)
        super().__init__(trunk, classes, dropout)


def _card(identity: str, title: str, module: type[System], parameters: int, weights: str, **of_card: Any) -> Card:
    return Card(
        id=identity,
        title=title,
        module=module,
        input=INPUT,
        parameters=parameters,
        paper=RESIDUAL_MASKING,
        extra_data=("VGGFace2",) if identity == "resnet50" else ("ImageNet-1k",),
        views=("rot8",),
        pretrained=Pretrained(weights) if weights else None,
        **of_card,
    )


def _resnet(
    identity: str, title: str, module: type[System], parameters: int, depths: tuple[int, ...], weights: str
) -> Card:
    return _card(
        identity,
        title,
        module,
        parameters,
        weights,
        options={"depths": depths, "widths": (64, 128, 256, 512), "stem_stride": 4, "dropout": 0.0},
        recipes={
            "faithful": FAITHFUL if weights else {**FAITHFUL, "start": {"kind": "fresh"}},
            # In a few epochs ResNet50 has 46 % with AdamW's small steps and 25 % with SGD at 0.1 (docs/LOG.md).
            "mien": from_scratch(
                48,
                # The deep ones learn more in small steps.
                optim={"name": "adamw", "lr": 1e-3 if identity == "resnet18" else 4e-4, "weight_decay": 0.05},
                schedule={"name": "cosine", "warmup": 5.0},
                system={"stem_stride": 2, "dropout": 0.2},
            ),
        },
        tiny={"depths": (1, 1, 1, 1), "widths": (8, 12, 16, 24) if identity == "resnet18" else (4, 4, 8, 8)},
        tiny_size=32,
    )


CARDS = {
    card.id: card
    for card in (
        _resnet("resnet18", "ResNet18", ResNet18, 11_180_103, (2, 2, 2, 2), "resnet18.tv_in1k"),
        _resnet("resnet50", "ResNet50", ResNet50, 23_522_375, (3, 4, 6, 3), "resnet50.tv_in1k"),
        _resnet("resnet101", "ResNet101", ResNet101, 42_514_503, (3, 4, 23, 3), "resnet101.tv_in1k"),
        _resnet("cbam-resnet50", "CBAM-ResNet50", CbamResNet50, 26_054_967, (3, 4, 6, 3), ""),
        _card(
            "efficientnet-b2",
            "EfficientNet-b2",
            EfficientNetB2,
            7_710_857,
            "efficientnet_b2.ra_in1k",
            options={"model": "efficientnet_b2", "stem_stride": 2, "dropout": 0.3, "quiet_start": False},
            recipes={
                "faithful": FAITHFUL,
                "mien": from_scratch(
                    48,
                    optim={"name": "adamw", "lr": 1.4e-3, "weight_decay": 0.05},
                    schedule={"name": "cosine", "warmup": 5.0},
                    system={"stem_stride": 1, "quiet_start": True},
                ),
            },
            tiny={"model": "test_efficientnet", "dropout": 0.0},
            tiny_size=32,
        ),
    )
}
