from __future__ import annotations

import pytest
import timm
import torch

from mien.layers.residual import begin_as_shortcuts, residual_block


@pytest.mark.parametrize(("incoming", "outgoing", "stride"), [(8, 8, 1), (8, 16, 1), (8, 16, 2), (8, 8, 2)])
def test_a_fresh_block_is_its_shortcut(incoming: int, outgoing: int, stride: int) -> None:
    block = residual_block(incoming, outgoing, stride).eval()
    features = torch.randn(2, incoming, 6, 6)
    with torch.no_grad():
        shortcut = features if block.downsample is None else block.downsample(features)
        out = block(features.clone())
    assert out.shape == (2, outgoing, 6 // stride, 6 // stride)
    assert torch.equal(out, shortcut.relu())
    assert (block.downsample is None) == (incoming == outgoing and stride == 1)


def test_the_body_takes_part_once_its_norm_has_moved() -> None:
    block = residual_block(8, 8).eval()
    features = torch.randn(2, 8, 6, 6)
    torch.nn.init.ones_(block.bn2.weight)
    with torch.no_grad():
        assert not torch.allclose(block(features.clone()), features.relu(), atol=1e-2)


def test_the_blocks_of_an_efficientnet_can_begin_as_shortcuts() -> None:
    trunk = timm.create_model("tf_efficientnetv2_b0", num_classes=0, channel_multiplier=0.25, depth_multiplier=0.5)
    blocks = [block for stage in trunk.eval().blocks for block in stage if block.has_skip]
    given = [torch.randn(2, next(block.parameters()).shape[1], 6, 6) for block in blocks]
    assert {type(block).__name__ for block in blocks} == {"ConvBnAct", "InvertedResidual"}
    with torch.no_grad():
        assert not any(torch.equal(block(of), of) for block, of in zip(blocks, given, strict=True))
        begin_as_shortcuts(trunk)
        assert all(torch.equal(block(of), of) for block, of in zip(blocks, given, strict=True))
    with pytest.raises(ValueError, match="no block"):
        begin_as_shortcuts(torch.nn.Conv2d(1, 1, 1))
