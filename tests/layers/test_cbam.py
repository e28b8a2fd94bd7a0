from __future__ import annotations

import pytest
import torch

from mien.layers.cbam import Cbam


def reference(block: Cbam, features: torch.Tensor) -> torch.Tensor:
    """The two gates as the paper writes them, equations 2 and 3."""
    gate = block.channel

    def hidden(pooled: torch.Tensor) -> torch.Tensor:
        first, second = gate.fc1.weight[:, :, 0, 0], gate.fc2.weight[:, :, 0, 0]
        one = torch.relu(pooled @ first.T + (gate.fc1.bias if gate.fc1.bias is not None else 0))
        return one @ second.T + (gate.fc2.bias if gate.fc2.bias is not None else 0)

    scale = torch.sigmoid(hidden(features.mean((2, 3))) + hidden(features.amax((2, 3))))
    features = features * scale[:, :, None, None]
    maps = torch.stack([features.mean(1), features.amax(1)], 1)
    return features * torch.sigmoid(block.spatial.conv(maps))


@pytest.mark.parametrize(("bias", "norm"), [(True, True), (False, False)])
def test_gates_are_those_of_the_paper(bias: bool, norm: bool) -> None:
    torch.manual_seed(0)
    block = Cbam(32, bias=bias, norm=norm).eval()
    features = torch.randn(3, 32, 5, 5)
    with torch.no_grad():
        out, wanted = block(features), reference(block, features)
    assert torch.allclose(out, wanted, atol=1e-6)
    assert not torch.allclose(out, features, atol=1e-2)


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_the_paper(form: torch.memory_format) -> None:
    torch.manual_seed(0)
    block = Cbam(32)
    given = torch.randn(3, 32, 5, 5).contiguous(memory_format=form)
    weights = torch.randn(3, 32, 5, 5)
    gradients = []
    for compute in (block, lambda features: reference(block, features)):
        features = given.clone().requires_grad_()
        (compute(features) * weights).sum().backward()
        assert features.grad is not None
        gradients.append(features.grad)
        block.zero_grad()
    assert torch.allclose(*gradients, atol=1e-5)


def test_parameters() -> None:
    def count(block: Cbam) -> int:
        return sum(p.numel() for p in block.parameters())

    assert count(Cbam(1280, bias=False, norm=False)) == 2 * 1280 * 80 + 98
    assert count(Cbam(256)) == 2 * 256 * 16 + 256 + 16 + 98 + 2
