"""Depthwise convolutions whose weights' gradient is computed another way than by PyTorch: the same network, quicker."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mien.training.compute.convolutions import quickened


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1),
        nn.Conv2d(16, 16, 7, padding=3, groups=16),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5, stride=2, padding=2, groups=16, bias=False),
        nn.Conv2d(16, 16, (1, 5), padding=(0, 4), dilation=2, groups=16),
    ).to(memory_format=torch.channels_last)


def gradients(module: nn.Module, images: Tensor, *, bf16: bool = True) -> tuple[Tensor, dict[str, Tensor]]:
    images = images.clone().requires_grad_()
    module.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        out = module(images)
    out.float().square().sum().backward()
    assert images.grad is not None
    found = {name: parameter.grad.clone() for name, parameter in module.named_parameters()}
    return out.detach(), found | {"images": images.grad}


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 20, 20, generator=torch.Generator().manual_seed(1))


def test_the_network_computes_what_it_did(images: Tensor) -> None:
    plain, quick = network(), quickened(network())
    assert [type(now) is not type(then) for now, then in zip(quick, plain, strict=True)] == [
        False,
        True,
        False,
        True,
        True,
    ]
    before, after = gradients(plain, images), gradients(quick, images)
    assert torch.equal(before[0], after[0])
    exact = gradients(plain, images, bf16=False)[1]
    for name, gradient in after[1].items():
        assert gradient.dtype == torch.float32
        off = (gradient - exact[name]).norm()
        assert off < 0.1 * exact[name].norm(), name
        # Nearer to what fp32 finds than bf16 was, or as near.
        assert off <= 1.01 * (before[1][name] - exact[name]).norm(), name


def test_without_autocast_nothing_changes_on_maps_larger_than_the_window(images: Tensor) -> None:
    before, after = gradients(network(), images, bf16=False), gradients(quickened(network()), images, bf16=False)
    assert torch.equal(before[0], after[0])
    assert all(torch.equal(before[1][name], after[1][name]) for name in after[1])


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    ("side", "layer"),
    [
        ((1, 1), {"kernel_size": 3, "padding": 1}),
        ((2, 2), {"kernel_size": 3, "padding": 1}),
        ((2, 3), {"kernel_size": 5, "padding": 2, "bias": False}),
        ((3, 3), {"kernel_size": 5, "padding": 2, "stride": 2}),
        ((6, 6), {"kernel_size": 7, "padding": 3}),
        ((6, 5), {"kernel_size": 7, "padding": 4, "stride": 3}),
        ((4, 4), {"kernel_size": (5, 1), "padding": (2, 0)}),
        ((4, 4), {"kernel_size": 3, "padding": 2, "dilation": 2}),
        ((2, 12), {"kernel_size": 3, "padding": (1, 0), "stride": (1, 2)}),
    ],
)
def test_on_a_map_smaller_than_the_window_the_gradients_are_those_of_fp64(
    side: tuple[int, int], layer: dict[str, Any], bf16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(2)
    plain = nn.Sequential(nn.Conv2d(6, 6, groups=6, **layer))
    quick = quickened(copy.deepcopy(plain))
    images = torch.randn(3, 6, *side, generator=torch.Generator().manual_seed(3))
    exact = gradients(copy.deepcopy(plain).double(), images.double(), bf16=False)
    kernel = torch.ops.aten.convolution_backward
    asked: list[list[bool]] = []

    def derive(*arguments: Any) -> Any:
        asked.append(arguments[-1])
        return kernel(*arguments)

    monkeypatch.setattr(torch.ops.aten, "convolution_backward", derive)
    out, found = gradients(quick, images, bf16=bf16)
    # The kernel was asked for the gradient of the images alone.
    assert asked == [[True, False, False]]
    tolerance = 2e-2 if bf16 else 1e-5
    assert torch.allclose(out.double(), exact[0], rtol=tolerance, atol=tolerance)
    for name, gradient in found.items():
        assert gradient.dtype == torch.float32
        assert (gradient - exact[1][name]).norm() <= tolerance * exact[1][name].norm(), name


def test_weights_keep_their_names_and_a_copy_is_whole(images: Tensor) -> None:
    quick = quickened(network())
    assert list(quick.state_dict()) == list(network().state_dict())
    out = gradients(copy.deepcopy(quick), images)[0]
    assert torch.equal(out, gradients(quick, images)[0])


def test_what_is_frozen_gets_no_gradient(images: Tensor) -> None:
    quick = quickened(network())
    quick[1].requires_grad_(False)
    with torch.autocast("cpu", torch.bfloat16):
        quick(images).float().sum().backward()
    assert quick[1].weight.grad is None
    assert quick[3].weight.grad is not None


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(8, 8, 1, groups=8),
        nn.Conv2d(8, 8, 5, groups=4),
        nn.Conv2d(8, 16, 5, groups=8),
        nn.Conv2d(1, 1, 5),
        nn.Conv2d(8, 8, 5, groups=8, padding="same"),
        nn.Conv2d(8, 8, 5, groups=8, padding=2, padding_mode="reflect"),
    ],
)
def test_all_others_stay(layer: nn.Conv2d) -> None:
    assert type(quickened(nn.Sequential(layer))[0]) is nn.Conv2d


class Doubled(nn.Conv2d):
    """Scales its weights, as layers with standardised weights do, in the place that is replaced."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(input, 2 * weight, bias)


def test_a_convolution_of_its_own_stays() -> None:
    layer = Doubled(8, 8, 5, groups=8, padding=2)
    assert type(quickened(nn.Sequential(layer))[0]) is Doubled


def test_one_image_without_a_batch_is_computed_as_before() -> None:
    layer = nn.Conv2d(8, 8, 5, groups=8, padding=2)
    image = torch.randn(8, 3, 3)
    expected = layer(image)
    torch.testing.assert_close(quickened(nn.Sequential(layer))(image), expected)
