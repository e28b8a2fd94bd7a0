from __future__ import annotations

import pytest
import torch
from torch import nn

from mien.layers.plain import plain_stages
from mien.systems.base import count_parameters


def test_layers_follow_each_other_as_said() -> None:
    stages = plain_stages(1, [[4], [8, 8]], kernel=5, dropout=0.1, pool=nn.AvgPool2d, activation=nn.ELU)
    first = ["Conv2d", "BatchNorm2d", "ELU", "AvgPool2d", "Dropout"]
    second = ["Conv2d", "BatchNorm2d", "ELU", "Conv2d", "BatchNorm2d", "ELU", "AvgPool2d", "Dropout"]
    assert [type(layer).__name__ for layer in stages] == first + second
    assert stages(torch.zeros(1, 1, 13, 13)).shape == (1, 8, 3, 3)


@pytest.mark.parametrize(("batch_norm", "parameters"), [(True, 40 + 8 + 296 + 16), (False, 40 + 296)])
def test_parameters(batch_norm: bool, parameters: int) -> None:
    stages = plain_stages(1, [[4], [8]], batch_norm=batch_norm)
    assert count_parameters(stages) == parameters
    assert not any(isinstance(layer, nn.Dropout) for layer in stages)
