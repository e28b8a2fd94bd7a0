"""Convolutions on maps of a few pixels, computed as matrix products: the same network, quicker."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from mien.training.compute import small_maps
from mien.training.compute.convolutions import quickened


@pytest.fixture(autouse=True)
def few_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_maps, "CHANNELS", 4)
    monkeypatch.setattr(small_maps, "MANY_CHANNELS", 4)


def both(layer: nn.Conv2d, images: Tensor) -> list[dict[str, Tensor]]:
    """Answers and gradients of a layer as it is, and quickened."""
    found = []
    for module in (copy.deepcopy(layer), quickened(nn.Sequential(copy.deepcopy(layer)))[0]):
        seen = images.clone().requires_grad_()
        out = module(seen)
        out.square().sum().backward()
        assert seen.grad is not None
        gradients = {name: parameter.grad for name, parameter in module.named_parameters()}
        found.append({"out": out.detach(), "images": seen.grad, **gradients})
    assert type(module) is not nn.Conv2d
    return found


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize(
    ("side", "settings"),
    [
        ((1, 1), {"kernel_size": 3, "padding": 1}),
        ((2, 2), {"kernel_size": 3, "padding": 1}),
        ((2, 2), {"kernel_size": 3, "padding": 1, "stride": 2, "bias": False}),
        ((3, 3), {"kernel_size": 3, "padding": 1, "stride": 2}),
        ((3, 2), {"kernel_size": (5, 3), "padding": (2, 1)}),
        ((4, 4), {"kernel_size": 3}),
        ((4, 4), {"kernel_size": 3, "padding": 2, "dilation": 2}),
        ((4, 3), {"kernel_size": (1, 3), "padding": (0, 1), "stride": (2, 1)}),
        ((4, 4), {"kernel_size": 7, "padding": 3, "stride": 4}),
        ((1, 3), {"kernel_size": 2, "padding": 1}),
        ((4, 4), {"kernel_size": 1, "stride": 2}),
        ((2, 1), {"kernel_size": 1}),
    ],
)
def test_the_layer_computes_what_it_did(side: tuple[int, int], settings: dict[str, Any], channels_last: bool) -> None:
    torch.manual_seed(0)
    layer, images = nn.Conv2d(5, 6, **settings), torch.randn(3, 5, *side)
    if channels_last:
        layer, images = (thing.to(memory_format=torch.channels_last) for thing in (layer, images))
    plain, quick = both(layer, images)
    assert plain.keys() == quick.keys()
    assert plain["out"].stride() == quick["out"].stride()
    for name, expected in plain.items():
        torch.testing.assert_close(quick[name], expected, rtol=1e-5, atol=1e-5, msg=name)


def test_gradients_in_double_precision() -> None:
    torch.manual_seed(0)
    layer = quickened(nn.Sequential(nn.Conv2d(4, 5, 3, padding=1).double()))
    images = torch.randn(2, 4, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (images,))


def test_matrix_products_are_used_on_small_maps_only(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    apply = small_maps._SmallMap.apply
    monkeypatch.setattr(small_maps._SmallMap, "apply", lambda *given: calls.append(given[0].shape) or apply(*given))
    layer = quickened(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    for side in (5, 4, 2):
        layer(torch.randn(2, 4, side, side))
    assert [shape[-1] for shape in calls] == [4, 2]
    quickened(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, stride=2)))(torch.randn(2, 4, 4, 4))
    assert [shape[-1] for shape in calls] == [4, 2, 4], "windows of a pixel on the smallest outputs alone"
    del calls[2:]
    with torch.no_grad():
        layer(torch.randn(2, 4, 2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 4, 2, 2)).dtype == torch.bfloat16
    assert len(calls) == 2


@pytest.mark.parametrize(
    "layer", [nn.Conv2d(4, 3, 3), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(4, 4, 3, padding="same")]
)
def test_other_convolutions_stay(layer: nn.Conv2d) -> None:
    assert type(quickened(nn.Sequential(layer))[0]) is nn.Conv2d


def test_fewer_channels_pay_on_the_smallest_outputs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_maps, "MANY_CHANNELS", 5)
    layer = quickened(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))[0]
    assert [layer._small(torch.empty(1, 4, side, side)) for side in (1, 2, 3)] == [True, True, False]


def test_only_what_is_asked_for_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    backward = small_maps._SmallMap.backward
    monkeypatch.setattr(
        small_maps._SmallMap, "backward", staticmethod(lambda *given: found.append(backward(*given)) or found[-1])
    )
    layer = quickened(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    images = torch.randn(2, 4, 2, 2)
    layer(images).sum().backward()
    layer[0].weight.requires_grad_(False)
    layer(images.requires_grad_()).sum().backward()
    assert [[part is not None for part in given[:3]] for given in found] == [[False, True, True], [True, False, True]]


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3])
def test_what_follows_may_work_in_place(count: int, kernel: int) -> None:
    """A view of the sums would be refused by autograd, and on a single pixel every other order of axes is a view."""
    layer = quickened(nn.Sequential(nn.Conv2d(4, 4, kernel, padding=kernel // 2), nn.ReLU(inplace=True)))
    for side in (1, 2):
        layer(torch.randn(count, 4, side, side)).sum().backward()


def test_a_map_that_is_too_small_is_refused_as_before() -> None:
    layer = nn.Conv2d(4, 4, 3)
    for side in (1, 2):
        for module in (layer, quickened(nn.Sequential(copy.deepcopy(layer)))):
            with pytest.raises(RuntimeError, match=r"Kernel size can't be greater than actual input size"):
                module(torch.randn(2, 4, side, side))


def test_no_face_at_all() -> None:
    layer = quickened(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1)))
    out = layer(torch.randn(0, 4, 2, 2))
    out.sum().backward()
    assert out.shape == (0, 4, 2, 2)
    assert not layer[0].weight.grad.any()


def test_activations_may_be_computed_anew() -> None:
    plain = nn.Sequential(nn.Conv2d(4, 6, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(6, 4, 3, padding=1))
    quick, images = quickened(copy.deepcopy(plain)), torch.randn(2, 4, 3, 3, requires_grad=True)
    plain(images).square().sum().backward()
    torch.utils.checkpoint.checkpoint(quick, images, use_reentrant=False).square().sum().backward()
    for one, other in zip(plain.parameters(), quick.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad, rtol=1e-5, atol=1e-5)
