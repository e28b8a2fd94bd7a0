"""EfficientFER (Konuk & Kılıç 2025): EfficientNetV2-S with self-attention and CBAM side by side on its features.

Paper: M. E. Konuk, E. Kılıç, "EfficientFER: EfficientNetv2 Based Deep Learning Approach for Facial Expression
Recognition", ICHORA 2025. Public code: github.com/mkonuk66/EfficientFER (MIT; its README and its issues could be read,
its code could not); what looks like a copy lies in github.com/Matankl/Face_expression_recognition_model (no licence was
seen), folder `EfficientNetv2`, first at commit b00f197, which is meant by "the source" here.
Known from the copy: architecture, whose count (23,797,177) agrees with the abstract's 23.8 million; loss, optimiser,
schedule, augmentation, bf16. Its values may carry small edits by whoever copied them; the early stop waits 7 epochs in
that commit, as in `faithful`, and 5 in later ones.
Reconstructed: nothing in the network. The generated training images of the paper are not released: give your own with
``--extra-images``.

Recipe `mien`: starts from random weights instead of ImageNet's and sees 64 px, with a first convolution that steps over
every pixel (`stem_stride = 1`), so that small faces keep a map to attend to (`attend = "map"`); blocks begin as their
shortcuts (`quiet_start`), without which fresh weights do not learn in an epoch. AdamW on a cosine for 120 epochs, with
smoothed cross-entropy without class weights instead of the focal loss, mixup and stronger augmentation.

Deviations:
- The trunk is timm's `tf_efficientnetv2_s`: as many parameters (20,177,488) as torchvision's, which the source uses,
  and the only one of that size for which timm has ImageNet-1k weights. It pads as TensorFlow does, and its weights
  expect a mean and standard deviation of 0.5, so `faithful` feeds that.
- The source pools before it attends, so that self-attention has one position, its softmax is 1, and the spatial gate
  is one number (`attend = "pooled"`, in `faithful`). `mien` attends over the last map ("map"); the count is the same.
- The source steps a one-cycle schedule once per epoch instead of once per step, so its learning rate of 5e-3 stays at
  the cycle's start, 2e-4, throughout, and the first moment's decay, which that schedule turns as well, at 0.95:
  `faithful` has a constant 2e-4 and `betas = [0.95, 0.999]`.
- The source clips the gradients to a norm of 1 while they are still multiplied by the scale of its mixed precision,
  which begins at 65,536 and doubles every 2,000 steps: after it is divided out the norm is at most 1.5e-5 and falls,
  and AdamW's epsilon of 1e-8 then damps the steps more and more. `faithful` clips the gradients themselves to 1; `--set
  clip=1.5e-5` is what the source begins with.
- Faces are enlarged by one bilinear lookup together with everything that is drawn, not by Lanczos before it; in
  evaluation bicubically, as everywhere here.
- The second change of brightness and contrast (p = 0.2) is folded into the first; contrast turns about mid-grey, in the
  source about black; histogram equalisation stands in for CLAHE.
- Of the faces that get noise or blur, three in eight get noise in the source and half of them here. Its strength is
  drawn from nothing to 7.65 grey values of 255, one drawing for all channels; the source's, by the older defaults of
  its library, from 3.2 to 7.1, each channel for itself. Blur begins at no width at all, the source's at about 0.8 px.
- The source watches the weighted focal loss of the validation faces (early stop, kept epoch); here `monitor = "loss"`
  is their mean negative log-likelihood, without weights.
- The source's moving average starts after 100 steps and warms up so slowly that it does not reach its decay of 0.999 in
  50 epochs (after some 31,700 steps); here it warms up from the first step and reaches it after 9,000.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.models import create_model
from torch import Tensor, nn
from torch.nn import functional

from mien.bundle import InputSpec
from mien.layers.cbam import Cbam
from mien.layers.residual import begin_as_shortcuts
from mien.systems.base import System
from mien.systems.card import Card, Paper, Pretrained, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_choice, check_stride


class SelfAttention(nn.Module):
    """Multi-head attention between places, through fewer channels than it is given.

    Args:
        channels: of the input and the output.
        heads: number of heads.
        width: channels of each.
    """

    def __init__(self, channels: int, heads: int = 8, width: int = 64) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * heads * width)
        self.out = nn.Linear(heads * width, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Float (N, channels, H, W) → the same shape."""
        tokens = maps.flatten(2).transpose(1, 2)
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        attended = functional.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.out(attended.transpose(1, 2).flatten(2))
        return mixed.transpose(1, 2).reshape(maps.shape)


class EfficientFER(System):
    """EfficientNetV2-S; self-attention and CBAM side by side on its features; two hidden layers.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        attend: what both attend to: the ``pooled`` features, one position, or the ``map`` before pooling.
        stem_stride: of the first convolution: 2 (as published) or 1, which leaves small faces more pixels.
        heads: number of heads of the self-attention, 64 channels each; 1 or more.
        hidden: units of the hidden layers, one number for each; may be empty.
        dropout: probability of the dropouts after the hidden layers, 0 to 1.
        drop_path: probability that the last block of the trunk is left out in training, 0 to 1.
        quiet_start: the blocks with a shortcut begin as that shortcut.
        width: factor on the trunk's channels, above 0.
        depth: factor on the trunk's blocks per stage, above 0.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        attend: str = "pooled",
        stem_stride: int = 2,
        heads: int = 8,
        hidden: Sequence[int] = (512, 256),
        dropout: float = 0.3,
        drop_path: float = 0.2,
        quiet_start: bool = False,
        width: float = 1.0,
        depth: float = 1.0,
    ) -> None:
        super().__init__()
        check_choice("attend", attend, ("pooled", "map"))
        check_stride(stem_stride)
        self.trunk: nn.Module = create_model(
            "tf_efficientnetv2_s",
            in_chans=channels,
            num_classes=0,
            drop_path_rate=drop_path,
            channel_multiplier=width,
            depth_multiplier=depth,
        )
        if quiet_start:
            begin_as_shortcuts(self.trunk)
        stem = self.trunk.get_submodule("conv_stem")
        assert isinstance(stem, nn.Conv2d)
        stem.stride = (stem_stride, stem_stride)
        incoming = int(self.trunk.num_features)  # type: ignore[arg-type]
        self.attend = attend
        self.attention = SelfAttention(incoming, heads)
        self.cbam = Cbam(incoming, reduction=16, bias=False, norm=False)
        layers: list[nn.Module] = []
        for units in hidden:
            layers += [nn.Linear(incoming, units), nn.BatchNorm1d(units), nn.ReLU(inplace=True), nn.Dropout(dropout)]
            incoming = units
        self.hidden = nn.Sequential(*layers)
        self.head = nn.Linear(incoming, classes)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, hidden[-1])."""
        maps: Tensor = self.trunk.forward_features(images)  # type: ignore[operator]
        if self.attend == "pooled":
            maps = maps.mean((2, 3), keepdim=True)
        features: Tensor = self.hidden((self.attention(maps) + self.cbam(maps)).mean((2, 3)))
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits


_HALF = InputSpec(224, 3, "grey", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))

CARDS = {
    "efficientfer": Card(
        id="efficientfer",
        title="EfficientFER",
        module=EfficientFER,
        input=grey(64, channels=3),
        parameters=23_797_177,
        paper=Paper(
            title="EfficientFER: EfficientNetv2 Based Deep Learning Approach for Facial Expression Recognition",
            authors=("Mehmet Emin Konuk", "Erdal Kılıç"),
            year=2025,
            venue="International Congress on Human-Computer Interaction, Optimization and Robotic Applications",
            url="https://doi.org/10.1109/ICHORA65333.2025.11017006",
            code=("https://github.com/mkonuk66/EfficientFER",),
            code_licence="MIT",
        ),
        options={
            "attend": "pooled",
            "stem_stride": 2,
            "heads": 8,
            "hidden": (512, 256),
            "dropout": 0.3,
            "drop_path": 0.2,
            "quiet_start": False,
            "width": 1.0,
            "depth": 1.0,
        },
        recipes={
            "faithful": {
                "epochs": 50,
                "batch_size": 64,
                "early_stop": 7,
                "monitor": "loss",
                "start": {"kind": "pretrained"},
                "input": {"size": 224, "mean": list(_HALF.mean), "std": list(_HALF.std)},
                "augment": {
                    "scale": [0.826, 1.235],  # areas: sides of 1 / 1.1 to 1 / 0.9
                    "translate": 0.0625,
                    "rotate": 15.0,
                    "affine_probability": 0.4,
                    "outside": "black",
                    "brightness": 0.2,
                    "contrast": 0.2,
                    "light_probability": 0.6,
                    "noise": 0.03,
                    "blur": 1.4,
                    "degrade_probability": 0.4,
                    "equalise_probability": 0.2,
                },
                "optim": {
                    "name": "adamw",
                    "lr": 2e-4,
                    "betas": [0.95, 0.999],
                    "weight_decay": 0.03,
                    "decay_norms": True,
                },
                "schedule": {"name": "constant"},
                "loss": {"name": "focal", "gamma": 2.0, "class_weights": "balanced"},
                "ema": 0.999,
                "clip": 1.0,
                "system": {"attend": "pooled"},
            },
            "mien": from_scratch(
                64,
                epochs=120,
                optim={"name": "adamw", "lr": 1e-3, "weight_decay": 0.05},
                schedule={"name": "cosine", "warmup": 5.0},
                clip=1.0,
                system={"attend": "map", "stem_stride": 1, "quiet_start": True},
            ),
        },
        extra_data=("ImageNet-1k", "unknown"),
        tiny={
            "stem_stride": 1,
            "heads": 2,
            "hidden": (48, 32),
            "dropout": 0.0,
            "drop_path": 0.0,
            "width": 0.15,
            "depth": 0.1,
        },
        tiny_size=32,
        pretrained=Pretrained(
            "tf_efficientnetv2_s.in1k", mean=_HALF.mean, std=_HALF.std, options={"stem_stride": 2}, size=224
        ),
    )
}
