"""EmoNeXt in five sizes (El Boudouri & Bohi 2023): ConvNeXt behind a spatial transformer, with gates between stages.

Paper: Y. El Boudouri, A. Bohi, "EmoNeXt: an Adapted ConvNeXt for Facial Emotion Recognition", IEEE MMSP 2023,
arXiv 2501.08199. Public code: github.com/yelboudouri/EmoNeXt (no licence was seen), `models.py`, `train.py`. A second
implementation with fixes is described in github.com/wuanhi/EmoNeXt-FER-Optimized.
Known from the code: architecture and with it the counts (30.6, 52.2, 91.8, 204.6, 362.3 million), augmentation,
optimiser, loss, the ten crops of the test, and that PublicTest chooses.
Reconstructed: nothing in the network.

Three things are added to ConvNeXt: a spatial transformer in front, a squeeze-and-excitation gate after each of the
three convolutions between stages, and a term in the loss that draws attention weights towards their mean. What that
attention computes is thrown away; it exists for its weights only, so it costs nothing when faces are recognised.

Recipe `mien`: starts from random weights instead of ImageNet-22k's and sees 64 px (`side`) with a stem that reduces by
2 instead of 4 (`stem_stride`), so that the last map has places left; it has the attention between those ("tokens") at a
tenth of the weight (`attention_weight`), more `drop_path` the larger the network, blocks that begin at a tenth instead
of a millionth (`layer_scale`), without which fresh ones learn more slowly, no vertical mirroring, a cosine of 120
epochs instead of warm restarts, and mixup with stronger augmentation against overfitting.

Deviations:
- The released attention is between the samples of a batch (`attention = "batch"`, in `faithful`): the term then
  depends on batch mates, the answers do not. "tokens" has it between the places of the last map, as the second
  implementation does. Its ``value`` layer is never used in either, and stays for the published count.
- The released schedule (warm restarts, peak 1e-3) overrides the learning rate of 1e-4 on its command line; `faithful`
  follows the schedule.
- `faithful` turns faces upside down with p = 0.5, as the code does.
- The public code validates on random crops with the raw weights and tests the averaged ones of the last epoch. Here
  the averaged weights are selected on centre crops; `faithful` keeps the last epoch all the same (`keep`).
- The code draws the first layer of what computes the warp from a truncated normal of 0.02 and the classifier as
  PyTorch does; here each as the other: a sixth as large, and between equal and 1.6 times as large.
- `faithful` feeds 0–1 without mean and standard deviation to ImageNet's weights, as the code does.
- The code's moving average is a copy in its first 100 steps and reaches its decay of 0.99 after 1,100; here its warm-up
  counts updates, of which there is one in 16 steps, and reaches it after 14,240.
- Faces are enlarged bilinearly in training, as in the source, and bicubically in evaluation, as everywhere here.
- The code's mixed precision (`--amp`, off unless given) is fp16; here bf16. With it the code clips the gradients to a
  norm of 1 while they are multiplied by the scale of the loss, 65,536 at first; here the gradients themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from mien.errors import InputError, RecipeError
from mien.layers.convnext import convnext, convnext_map
from mien.layers.spatial_transformer import SpatialTransformer
from mien.layers.squeeze_excitation import squeeze_excitation
from mien.systems.base import Criterion, System
from mien.systems.card import Card, Paper, Pretrained, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_choice, check_count, check_not_negative


class AttentionWeights(nn.Module):
    """Weights of dot-product self-attention, for a term in the loss.

    Scores are scaled by the fourth root of the width, as released, not by its square root.

    Args:
        width: of the vectors.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)

    def forward(self, vectors: Tensor) -> Tensor:
        """Float (…, T, width) → (…, T, T); rows sum to 1."""
        vectors = self.norm(vectors)
        # A bias of the keys adds the same to every score of a row, which the softmax does not see.
        keys = functional.linear(vectors, self.key.weight)
        scores = self.query(vectors) @ keys.transpose(-2, -1) * vectors.shape[-1] ** -0.25
        weights: Tensor = scores.float().softmax(-1)
        return weights


class EmoNeXt(System):
    """Spatial transformer, ConvNeXt with gates between its stages, one linear layer.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        dims: channels of the four stages.
        depths: blocks of the four stages.
        side: side of the images in pixels, 18 or more; the spatial transformer's first linear layer depends on it.
        stem_stride: by which the stem reduces the image: 4 (as published) or 2, which leaves small faces more pixels.
        drop_path: probability that the last block is left out in training, 0 to 1.
        layer_scale: by what the outcome of a block is scaled at first, 0 or more.
        attention: between what the attention of the loss is: ``batch`` (samples) or ``tokens`` (places).
        attention_weight: weight of the attention's term in the loss, 0 or more.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (3, 3, 9, 3),
        side: int = 224,
        stem_stride: int = 4,
        drop_path: float = 0.1,
        layer_scale: float = 1e-6,
        attention: str = "batch",
        attention_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_choice("attention", attention, ("batch", "tokens"))
        check_not_negative(attention_weight=attention_weight, layer_scale=layer_scale)
        check_count("dims", dims, 4, "stage")
        check_count("depths", depths, 4, "stage")
        after = ((side - 6) // 2 - 4) // 2  # two unpadded convolutions, two pools
        if after < 1:
            raise RecipeError(f"side = {side}: the spatial transformer needs images of at least 18 px")
        localisation = nn.Sequential(
            nn.Conv2d(channels, 8, 7),
            nn.BatchNorm2d(8),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 10, 5),
            nn.BatchNorm2d(10),
            nn.MaxPool2d(2),
            nn.ReLU(inplace=True),
        )
        self.gates = nn.ModuleList(squeeze_excitation(dim, reduction=16, bias=False) for dim in dims[1:])
        self.attention = AttentionWeights(dims[-1])
        self.head = nn.Linear(dims[-1], classes)
        for part in (localisation, self.gates, self.attention, self.head):
            part.apply(_initialise)
        self.warp = SpatialTransformer(localisation, 10 * after * after, align_corners=True)
        self.trunk = convnext(
            channels, dims, depths, stem_stride=stem_stride, drop_path=drop_path, layer_scale=layer_scale
        )
        self.side, self.attended, self.attention_weight = side, attention, attention_weight

    def map(self, images: Tensor) -> Tensor:
        """The last map of the trunk: float (N, channels, side, side) → (N, dims[-1], H, W)."""
        if images.shape[-1] != self.side or images.shape[-2] != self.side:
            raise InputError(
                f"this EmoNeXt takes images of {self.side} px, not {images.shape[-1]} × {images.shape[-2]}; set its "
                "option side and input.size alike"
            )
        return convnext_map(
            self.trunk, self.warp(images), after_downsampling=lambda stage, maps: self.gates[stage - 1](maps)
        )

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, dims[-1])."""
        return self._pool(self.map(images))

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, side, side) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def loss(self, images: Tensor, targets: Tensor, criterion: Criterion) -> dict[str, Tensor]:
        """The recipe's loss, and the mean squared deviation of attention weights from their mean."""
        maps = self.map(images)
        pooled = self._pool(maps)
        vectors = pooled if self.attended == "batch" else maps.flatten(2).transpose(1, 2)
        weights = self.attention(vectors)
        spread = (weights - weights.mean()).square().mean()
        return {"loss": criterion(self.head(pooled), targets), "attention": self.attention_weight * spread}

    def _pool(self, maps: Tensor) -> Tensor:
        pooled: Tensor = self.trunk.get_submodule("head")(maps)
        return pooled


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


_PAPER = Paper(
    title="EmoNeXt: an Adapted ConvNeXt for Facial Emotion Recognition",
    authors=("Yassine El Boudouri", "Amine Bohi"),
    year=2023,
    venue="IEEE International Workshop on Multimedia Signal Processing (MMSP)",
    url="https://arxiv.org/abs/2501.08199",
    code=("https://github.com/yelboudouri/EmoNeXt",),
)
_FAITHFUL: dict[str, Any] = {
    "epochs": 300,
    "batch_size": 64,
    "early_stop": 12,
    "keep": "last",
    "start": {"kind": "pretrained"},
    "input": {"mean": [0.0, 0.0, 0.0], "std": [1.0, 1.0, 1.0]},
    "augment": {"vertical_flip": 0.5, "rotate": 20.0, "outside": "black"},
    "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.01, "decay_norms": True},
    # 1,024 steps of 64 faces are a cycle, its first 128 a warm-up.
    "schedule": {"name": "restarts", "cycle": 2.283, "warmup": 0.285},
    # PyTorch's smoothing of 0.2 leaves the right class its share of it; ours does not.
    "loss": {"smoothing": round(0.2 * 6 / 7, 6)},
    "ema": 0.99,
    "ema_every": 16,
    "clip": 1.0,
    "system": {"attention": "batch", "attention_weight": 1.0},
}


def _mien(drop_path: float, rate: float) -> dict[str, Any]:
    return from_scratch(
        64,
        epochs=120,
        optim={"name": "adamw", "lr": rate, "weight_decay": 0.05},
        schedule={"name": "cosine", "warmup": 5.0},
        clip=1.0,
        system={
            "side": 64,
            "stem_stride": 2,
            "drop_path": drop_path,
            "layer_scale": 0.1,
            "attention": "tokens",
            "attention_weight": 0.1,
        },
    )


def _card(
    letter: str, size: str, dims: Sequence[int], depth: int, parameters: int, drop_path: float, rate: float = 7e-4
) -> Card:
    return Card(
        id=f"emonext-{letter}",
        title=f"EmoNeXt-{letter.upper()}",
        module=EmoNeXt,
        input=grey(224, resize=236, channels=3),
        parameters=parameters,
        paper=_PAPER,
        options={
            "dims": tuple(dims),
            "depths": (3, 3, depth, 3),
            "side": 224,
            "stem_stride": 4,
            "drop_path": 0.1,
            "layer_scale": 1e-6,
            "attention": "batch",
            "attention_weight": 1.0,
        },
        recipes={"faithful": _FAITHFUL, "mien": _mien(drop_path, rate)},
        extra_data=("ImageNet-22k",),
        unused=_UNUSED,
        views=("tencrop@224",),
        tiny={"dims": (24, 32, 48, 64), "depths": (1, 1, 1, 1), "side": 32, "stem_stride": 2, "drop_path": 0.0},
        tiny_size=32,
        pretrained=Pretrained(f"convnext_{size}.fb_in22k", ("ImageNet-22k",), options=_PUBLISHED, size=224),
    )


_UNUSED: Mapping[str, str] = {
    "attention.value.weight": "what the attention computes is thrown away, in the paper's code as here",
    "attention.value.bias": "likewise",
    "attention.key.bias": "the softmax over keys does not change when the same is added to all of them",
}
_PUBLISHED = {"side": 224, "stem_stride": 4}
_CARDS = (
    _card("t", "tiny", (96, 192, 384, 768), 9, 30_564_331, 0.1),
    _card("s", "small", (96, 192, 384, 768), 27, 52_198_891, 0.2),
    _card("b", "base", (128, 256, 512, 1024), 27, 91_765_259, 0.3, 5e-4),
    _card("l", "large", (192, 384, 768, 1536), 27, 204_582_475, 0.4, 5e-4),
    _card("xl", "xlarge", (256, 512, 1024, 2048), 27, 362_312_331, 0.4, 3e-4),
)
CARDS = {card.id: card for card in _CARDS}
