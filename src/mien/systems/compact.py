"""Compact: the network of the default bundle, judged by accuracy per microsecond on a CPU.

No paper; designed here. The log in `docs/LOG.md` holds what was measured and what was not.

- One 5×5 convolution with stride 2 takes 48 px to 24 px at once: layers at 48 px are bound by memory, and a 5×5 window
  over grey pixels costs little.
- Then plain residual blocks at 24, 12 and 6 px: dense 3×3 convolutions are what int8 kernels do best, and at equal
  multiply-accumulates depth beat width. No depthwise convolutions, gates or attention: they save
  multiply-accumulates, not time.
- Shortcuts that change size average 2×2 pixels before their 1×1 convolution, so no activation is thrown away
  (ResNet-D: He et al., "Bag of Tricks for Image Classification with CNNs", CVPR 2019, section 4.2).

The default bundle is the recipe `taught`: a network of the recipe `mien` goes on from its own weights, taught by itself
and by a trained `vggnet`
(`mien distill --student compact --recipe taught --init RUN --teacher BUNDLE --teacher RUN`, the bundle being that very
network in int8).

Recipe `mien`: there is no source that it could differ from. Mixup, erasing and smoothed labels keep so small a network
from learning faces by heart, the moving average steadies it; `taught` has smaller steps, fewer epochs and teachers.

Deviations: none; there is no source to deviate from.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mien.systems.base import System
from mien.systems.card import Card, grey
from mien.systems.options import check_stages


class Block(nn.Module):
    """Two 3×3 convolutions around a shortcut."""

    def __init__(self, incoming: int, outgoing: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(incoming, outgoing, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outgoing),
            nn.ReLU(inplace=True),
            nn.Conv2d(outgoing, outgoing, 3, padding=1, bias=False),
            nn.BatchNorm2d(outgoing),
        )
        # A block starts as its shortcut; depth then costs no accuracy early on (Goyal et al. 2017, section 5.1).
        last = self.body[-1]
        assert isinstance(last, nn.BatchNorm2d)
        nn.init.zeros_(last.weight)
        shortcut: list[nn.Module] = [nn.AvgPool2d(stride)] if stride > 1 else []
        if incoming != outgoing:
            shortcut += [nn.Conv2d(incoming, outgoing, 1, bias=False), nn.BatchNorm2d(outgoing)]
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, incoming, S, S) → (N, outgoing, S / stride, S / stride)."""
        out: Tensor = self.activation(self.body(images) + self.shortcut(images))
        return out


class Compact(System):
    """A residual network for small grey faces.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        widths: channels of each stage, one number for each; each stage after the first halves the resolution.
        depths: blocks of each stage, as many numbers as there are widths.
        dropout: probability of the dropout before the last layer, 0 to 1.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        widths: Sequence[int] = (32, 64, 160),
        depths: Sequence[int] = (2, 3, 3),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_stages(widths=widths, depths=depths)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 5, 2, padding=2, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        blocks: list[nn.Module] = []
        incoming = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            for block in range(depth):
                blocks.append(Block(incoming, width, 2 if stage and not block else 1))
                incoming = width
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(incoming, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, widths[-1])."""
        features: Tensor = self.blocks(self.stem(images)).mean((2, 3))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); as published S is a multiple of 8, or 1 px less."""
        logits: Tensor = self.head(self.dropout(self.embed(images)))
        return logits


_SGD = {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}
_MIEN = {
    "epochs": 90,
    "batch_size": 128,
    "augment": {
        "scale": [0.72, 1.32],
        "translate": 0.12,
        "rotate": 15.0,
        "brightness": 0.2,
        "contrast": 0.3,
        "erase_probability": 0.5,
        "erase_area": [0.03, 0.15],
        "mixup": 0.2,
    },
    "optim": _SGD,
    "schedule": {"name": "cosine", "warmup": 2.0},
    "loss": {"smoothing": 0.1},
    "ema": 0.999,
    "compile": True,
}

CARDS = {
    "compact": Card(
        id="compact",
        title="Compact",
        module=Compact,
        input=grey(48),
        parameters=1_501_447,
        options={"widths": (32, 64, 160), "depths": (2, 3, 3), "dropout": 0.0},
        recipes={
            "mien": _MIEN,
            "taught": {
                **_MIEN,
                "epochs": 60,
                "optim": {**_SGD, "lr": 0.05},
                "schedule": {"name": "cosine", "warmup": 1.0},
                "distill": {"weight": 0.7, "temperature": 2.0, "targets": "views"},
                "start": {"kind": "run"},
            },
        },
        tiny={"widths": (8, 12, 16), "depths": (1, 1, 1)},
    )
}
