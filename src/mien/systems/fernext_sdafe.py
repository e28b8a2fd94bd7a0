"""FERNeXt with SDAFE (Zhao, Chen, Lyu, Du, Lv & Wang 2025): a reconstruction from an abstract.

Paper: M. Zhao et al., "SDAFE: A Dual-filter Stable Diffusion Data Augmentation Method for Facial Expression
Recognition", 2025; of it an abstract and the leaderboard's entry, neither the text nor code could be had. ("FerNeXt:
ConvNeXt with Channel Attention" is another paper of almost the same name.)
Known from the abstract: SDAFE edits neutral faces with Stable Diffusion until all classes are equally frequent, keeps
what has an adequate PSNR against its source, and of that what CLIP finds to show the label; FERNeXt is "a new model".
Reconstructed: everything else. The name says ConvNeXt: here ConvNeXt-T with efficient channel attention (Wang et al.
2020, "ECA-Net", CVPR) after each stage, and a recipe as ConvNeXts are fine-tuned, in bf16. No parameter count was
published; 27,825,529 is this file's. A number measured with it says nothing about the paper's own network.

Recipe `mien`: starts from random weights instead of ImageNet-22k's and sees 64 px with a stem that reduces by 2 instead
of 4 (`stem_stride`), and blocks that begin at a tenth instead of a millionth (`layer_scale`); faces are drawn as often
as they are there, since accuracy counts them so. Larger steps, 120 epochs, mixup and stronger augmentation, because
fresh weights need more epochs and overfit in them.

Deviations:
- Which split the edited neutral faces come from is not stated. Here a manifest (``--extra-images``) whose sources lie
  in PublicTest or PrivateTest is refused; ``mien data sdafe`` applies both filters to what you generated.
- Without such images `faithful` draws all classes equally often (`sampling = "balanced"`), which changes nothing
  where a manifest has balanced them already.
"""

from __future__ import annotations

from collections.abc import Sequence

from timm.layers.eca import EcaModule
from torch import Tensor, nn

from mien.layers.convnext import convnext, convnext_map
from mien.systems.base import System
from mien.systems.card import Card, Paper, Pretrained, grey
from mien.systems.from_scratch import from_scratch
from mien.systems.options import check_count, check_not_negative


class FERNeXt(System):
    """ConvNeXt with efficient channel attention after each stage.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        dims: channels of the four stages.
        depths: blocks of the four stages.
        stem_stride: by which the stem reduces the image: 4 (as published) or 2, which leaves small faces more pixels.
        drop_path: probability that the last block is left out in training, 0 to 1.
        layer_scale: by what the outcome of a block is scaled at first, 0 or more.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        dims: Sequence[int] = (96, 192, 384, 768),
        depths: Sequence[int] = (3, 3, 9, 3),
        stem_stride: int = 4,
        drop_path: float = 0.1,
        layer_scale: float = 1e-6,
    ) -> None:
        super().__init__()
        check_not_negative(layer_scale=layer_scale)
        check_count("dims", dims, 4, "stage")
        check_count("depths", depths, 4, "stage")
        self.trunk = convnext(
            channels, dims, depths, stem_stride=stem_stride, drop_path=drop_path, layer_scale=layer_scale
        )
        self.gates = nn.ModuleList(EcaModule(dim) for dim in dims)
        self.head = nn.Linear(dims[-1], classes)
        nn.init.trunc_normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, dims[-1])."""
        maps = convnext_map(self.trunk, images, after_stage=lambda stage, maps: self.gates[stage](maps))
        pooled: Tensor = self.trunk.get_submodule("head")(maps)
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes)."""
        logits: Tensor = self.head(self.embed(images))
        return logits


CARDS = {
    "fernext-sdafe": Card(
        id="fernext-sdafe",
        title="FERNeXt-SDAFE",
        module=FERNeXt,
        input=grey(64, channels=3),
        parameters=27_825_529,
        paper=Paper(
            title="SDAFE: A Dual-filter Stable Diffusion Data Augmentation Method for Facial Expression Recognition",
            authors=("Minghao Zhao", "Yifei Chen", "Jiahao Lyu", "Shuangli Du", "Zhiyong Lv", "Lin Wang"),
            year=2025,
            url="https://sotaverified.org/papers/sdafe-a-dual-filter-stable-diffusion-data",
        ),
        options={
            "dims": (96, 192, 384, 768),
            "depths": (3, 3, 9, 3),
            "stem_stride": 4,
            "drop_path": 0.1,
            "layer_scale": 1e-6,
        },
        recipes={
            "faithful": {
                "epochs": 40,
                "batch_size": 64,
                "sampling": "balanced",
                "start": {"kind": "pretrained"},
                "input": {"size": 224, "resize": 0, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
                "augment": {"scale": [0.8, 1.2], "rotate": 10.0, "brightness": 0.2, "contrast": 0.2},
                "optim": {"name": "adamw", "lr": 1e-4, "weight_decay": 0.05},
                "schedule": {"name": "cosine", "warmup": 5.0},
                "loss": {"smoothing": 0.1},
                "ema": 0.9999,
                "clip": 1.0,
            },
            "mien": from_scratch(
                64,
                epochs=120,
                optim={"name": "adamw", "lr": 8e-4, "weight_decay": 0.05},
                schedule={"name": "cosine", "warmup": 5.0},
                clip=1.0,
                system={"stem_stride": 2, "layer_scale": 0.1},
            ),
        },
        extra_data=("images made with Stable Diffusion",),
        tiny={"dims": (16, 24, 32, 48), "depths": (1, 1, 1, 1), "stem_stride": 2, "drop_path": 0.0},
        tiny_size=32,
        pretrained=Pretrained("convnext_tiny.fb_in22k", ("ImageNet-22k",), options={"stem_stride": 4}, size=224),
    )
}
