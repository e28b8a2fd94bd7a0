"""What a training asks of an accelerator: operations, kernels, and from both an estimate of its seconds.

Nothing is measured here and no device is needed: networks are walked through on PyTorch's `meta` device. A step is
bound by arithmetic, which is a share of the chip's peak, or by its kernels, each of which costs its launch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.training import Recipe

PEAKS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "V100": 125e12, "T4": 65e12}
"""Dense 16-bit floating-point operations per second by the makers' data sheets, by a part of the device's name."""
SHARE = 0.3
"""Of that peak: what convolutions of this size are expected to reach; to be replaced by what a run measures."""
LAUNCH, REPLAY = 10e-6, 3e-6
"""Seconds per small kernel, launched by Python one by one, and within a recorded step."""
FACES = 28_709
"""Of FER2013's Training split."""
_BESIDES = 150
"""Kernels of augmentation, mixing, optimiser and moving average."""
_BACKWARDS = 2
"""Kernels of the gradients for each of the network; the same holds for its operations."""
_FREE = {"view", "_unsafe_view", "t", "transpose", "permute", "expand", "slice", "select", "unsqueeze", "squeeze",
         "alias", "detach", "as_strided", "split", "unbind", "reshape"}  # fmt: skip


@dataclass(frozen=True)
class Estimate:
    """One face's and one step's work of a stage.

    Args:
        macs: multiply-accumulates of the network for one face.
        kernels: of a whole training step.
        crops: images that become of a face.
        half: bytes of the weights when matrices and kernels are rounded to half precision.
    """

    macs: int
    kernels: int
    crops: int = 1
    half: int = 0

    @property
    def flops(self) -> int:
        """Floating-point operations of learning from one face: two for each multiply-accumulate, forwards and back."""
        return 2 * self.macs * self.crops * (1 + _BACKWARDS)

    def seconds(self, faces: int, batch: int, *, peak: float, share: float = SHARE, recorded: bool = False) -> float:
        """Of an epoch."""
        arithmetic = self.flops * faces / (share * peak)
        return max(arithmetic, math.ceil(faces / batch) * self.kernels * (REPLAY if recorded else LAUNCH))


def peak_of(device: str) -> float | None:
    """Of a device by its name; None for one that is not in the table."""
    return next((peak for part, peak in PEAKS.items() if part in device), None)


def estimates(recipe: Recipe) -> list[tuple[Recipe, Estimate]]:
    """Of each stage, at the side that it trains with and of the parts that work in it."""
    return [
        (stage, _estimate(stage, recipe.input.channels, stage.name if recipe.stages else "")) for stage in recipe.staged
    ]


def _estimate(stage: Recipe, channels: int, name: str) -> Estimate:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from mien import systems
    from mien.systems.base import count_macs

    class Counting(TorchDispatchMode):
        def __init__(self) -> None:
            TorchDispatchMode.__init__(self)  # untyped: by this name pyproject.toml lets mypy pass it
            self.kernels = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.kernels += func.overloadpacket.__name__ not in _FREE
            return func(*args, **(kwargs or {}))

    side = stage.augment.size or stage.input.size
    with torch.device("meta"), torch.random.fork_rng(devices=[]):
        module = systems.create(stage.system_id, classes=7, channels=channels, **stage.system)
        if name:
            module.begin_stage(name)
        macs = count_macs(module, channels, side)
        counting = Counting()
        with counting, torch.no_grad():
            module.train()(torch.zeros(2, channels, side, side))
    crops = {"five": 5, "ten": 10}.get(stage.augment.crops, 1)
    half = sum(
        value.numel() * (2 if value.is_floating_point() and value.ndim > 1 else value.element_size())
        for value in module.state_dict().values()
    )
    return Estimate(macs, (1 + _BACKWARDS) * counting.kernels + _BESIDES, crops, half)
