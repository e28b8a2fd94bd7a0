from __future__ import annotations

import pytest
import torch
from timm import create_model

from mien.errors import RecipeError
from mien.layers.stem import soften_stem


@pytest.mark.parametrize(("stride", "side"), [(4, 8), (2, 16), (1, 32)])
def test_the_stem_reduces_by_what_is_asked(stride: int, side: int) -> None:
    trunk = create_model("resnet18", num_classes=0, layers=(1, 1, 1, 1), channels=(8, 8, 8, 8)).eval()
    names = set(trunk.state_dict())
    soften_stem(trunk, "conv1", "maxpool", stride)
    with torch.no_grad():
        first = trunk.layer1(trunk.maxpool(trunk.act1(trunk.bn1(trunk.conv1(torch.zeros(1, 3, 32, 32))))))
    assert first.shape == (1, 8, side, side)
    assert set(trunk.state_dict()) == names


def test_other_strides_are_refused() -> None:
    with pytest.raises(RecipeError, match="stem_stride = 3: the stem reduces faces by 4"):
        soften_stem(create_model("resnet18", num_classes=0), "conv1", "maxpool", 3)
