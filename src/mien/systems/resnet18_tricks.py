"""ResNet18 with tricks (X. Yuan, USTC, 2021): ResNet18 with a 3×3 stem on 40 px crops, trained with mixup.

Paper: none. Public code: github.com/LetheSec/Fer2013-Facial-Emotion-Recognition-Pytorch (MIT): `train.py`,
`dataset.py`, `utils.py`, `models/resnet.py`, `evaluate.py`.
Known from the code: architecture (11,171,271 parameters), augmentation with five crops, mixup, smoothing, optimiser,
schedule, ten-crop test.
Reconstructed: nothing.

Recipe `mien`: averages the whole last map and shows the network no unmixed faces, since both are side effects of the
code; takes one random crop per face instead of five, which costs a fifth, with less mixup (0.2 instead of 1), a moving
average and a cosine of 150 epochs instead of 300 of plateaus.

Deviations:
- The public loader names PrivateTest "val" and drives learning rate and checkpoint with it. Here PublicTest does.
- The code decides by ten crops of each validation face as well. Here every epoch is judged by the face alone (view
  `one`), and ten crops are for the result.
- `faithful` feeds five crops per face as the code does (`augment.crops = "five"`), so a batch of 128 faces is 640.
- `faithful` draws window, shift and rotation as the code does, but looks each pixel up once, bilinearly: a shift or a
  rotation brings back what the window has cut off, where the code, one step after the other, has black; it shifts by
  a share of the face, not of the window, and in fractions of a pixel. Contrast turns about the mean of the face, not
  of the window.
- A rectangle to erase that is larger than the crop is cut to it; the code draws another one.
- `corner_pool` averages the upper left 4 × 4 of the last 5 × 5 map, as the code does at 40 px.
- `unmixed_forward` shows the network each batch before mixup as well, in training mode, as the code does to count hits:
  it moves the running statistics of the normalisations towards unmixed faces. The code does so after the step and in
  single precision, here it comes before.
- The code divides pixels by 255 twice; here once, which the first normalisation makes equal up to its epsilon.
- Residual blocks begin as their shortcut, and convolutions by fan-out; the code has PyTorch's initial weights.
- The code's mixed precision is fp16 with a scaled loss; here bf16 without.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from mien.layers.residual import residual_block
from mien.systems.base import System
from mien.systems.card import Card, Paper, grey
from mien.systems.from_scratch import from_scratch


class ResNet18Tricks(System):
    """ResNet18 with a 3×3 stem that keeps the side.

    Args:
        classes: number of outputs.
        channels: 1 or 3.
        width: channels of the first stage; they double three times.
        corner_pool: average the upper left 4 × 4 places of the last map, not all of them.
        unmixed_forward: let the running statistics of the normalisations see each batch before mixup, too.
    """

    def __init__(
        self,
        *,
        classes: int,
        channels: int,
        width: int = 64,
        corner_pool: bool = False,
        unmixed_forward: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        blocks: list[nn.Module] = []
        incoming = width
        for stage in range(4):
            outgoing = width << stage
            blocks += [residual_block(incoming, outgoing, 2 if stage else 1), residual_block(outgoing, outgoing)]
            incoming = outgoing
        self.stages = nn.Sequential(*blocks)
        self.head = nn.Linear(incoming, classes)
        self.corner_pool, self.unmixed_forward = corner_pool, unmixed_forward

    def embed(self, images: Tensor) -> Tensor:
        """float32 (N, 8 · width)."""
        maps: Tensor = self.stages(self.stem(images))
        return functional.avg_pool2d(maps, 4)[:, :, 0, 0] if self.corner_pool else maps.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, channels, S, S) → logits (N, classes); S is at least 8 px, with `corner_pool` 25 px."""
        logits: Tensor = self.head(self.embed(images))
        return logits

    def before_mixing(self, images: Tensor) -> None:
        """The second forward pass, whose only effect are the running statistics."""
        if self.unmixed_forward:
            self(images)


_AUGMENT = {
    "scale": [0.8, 1.2],
    "aspect": [0.75, 1.333],
    "translate": 0.2,
    "translate_probability": 0.5,
    "rotate": 10.0,
    "rotate_probability": 0.5,
    "brightness": 0.5,
    "contrast": 0.5,
    "light_probability": 0.5,
    "erase_probability": 0.5,
    "outside": "black",
}

_FAITHFUL_AUGMENT = {**_AUGMENT, "window": "inside", "erase_fill": "black", "light": "factor"}
"""The code's windows lie within the face although their areas go to 1.2: one that does not fit is drawn again."""

CARDS = {
    "resnet18-tricks": Card(
        id="resnet18-tricks",
        title="ResNet18 with tricks",
        module=ResNet18Tricks,
        input=grey(40, resize=48),
        parameters=11_171_271,
        paper=Paper(
            title="",
            authors=("Xiaojian Yuan",),
            year=2021,
            code=("https://github.com/LetheSec/Fer2013-Facial-Emotion-Recognition-Pytorch",),
            code_licence="MIT",
        ),
        options={"width": 64, "corner_pool": False, "unmixed_forward": False},
        recipes={
            "faithful": {
                "epochs": 300,
                "batch_size": 128,
                "input": {"mean": [0.0], "std": [1.0]},
                "augment": {**_FAITHFUL_AUGMENT, "crops": "five", "mixup": 1.0},
                "optim": {
                    "name": "sgd",
                    "lr": 0.1,
                    "momentum": 0.9,
                    "nesterov": True,
                    "weight_decay": 1e-4,
                    "decay_norms": True,
                },
                "schedule": {"name": "plateau", "factor": 0.75, "patience": 5},
                "loss": {"smoothing": 0.1},
                "system": {"corner_pool": True, "unmixed_forward": True},
            },
            "mien": from_scratch(
                40, input={}, augment={**_AUGMENT, "crops": "random", "mixup": 0.2, "outside": "edge"}
            ),
        },
        views=("tencrop@40",),
        tiny={"width": 8},
        tiny_size=24,
    )
}
