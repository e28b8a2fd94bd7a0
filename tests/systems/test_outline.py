from __future__ import annotations

import torch
from torch import Tensor, nn

from mien import systems
from mien.systems.base import count_macs, count_parameters
from mien.systems.outline import outline


class Odd(nn.Module):
    """Parts that are called out of order, not called, called twice, or that are no modules."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 7)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)) for _ in range(2))
        self.first = nn.Conv2d(1, 4, 1)
        self.idle = nn.Linear(2, 2)
        self.gain = nn.Parameter(torch.ones(4, 4))

    def forward(self, images: Tensor) -> Tensor:
        out = self.first(images)
        for block in self.blocks:
            out = block(block(out))
        pooled = out.mean((2, 3)) @ self.gain
        logits: Tensor = self.last(pooled)
        return logits


def test_the_sums_are_those_of_the_network() -> None:
    odd = Odd().train()
    rows = outline(odd, 1, 8)
    assert sum(row.parameters for row in rows) == count_parameters(odd)
    assert sum(row.macs for row in rows) == count_macs(odd, 1, 8)
    assert odd.training
    assert [row.name for row in rows] == ["first", "blocks.0.0–1", "blocks.1.0–1", "last", "idle", "gain", ""]
    assert rows[1].macs == 2 * 4 * 4 * 9 * 64
    assert (rows[-1].what, rows[-1].macs) == ("between the parts", 16)


def test_like_blocks_are_one_part() -> None:
    rows = outline(systems.create("compact"), 1, 48)
    assert [(row.what, row.output) for row in rows[1:4]] == [
        ("2 × Block", (32, 24, 24)),
        ("3 × Block", (64, 12, 12)),
        ("3 × Block", (160, 6, 6)),
    ]


def test_the_largest_networks_need_no_memory() -> None:
    with torch.device("meta"):
        module = systems.create("segmentation-vgg19")
        rows = outline(module, 3, 224)
    assert sum(row.parameters for row in rows) == count_parameters(module) == 169_220_807
    assert [row.name for row in rows if row.what == "ChannelMask"] == [f"masks.{stage}" for stage in (0, 1, 2, 4)]
