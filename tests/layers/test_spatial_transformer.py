from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from mien.layers.spatial_transformer import SpatialTransformer


def transformer(align_corners: bool = False, channels: int = 1, side: int = 12) -> SpatialTransformer:
    torch.manual_seed(0)
    localisation = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.MaxPool2d(2), nn.ReLU())
    return SpatialTransformer(localisation, 4 * ((side - 2) // 2) ** 2, align_corners=align_corners)


def moved(warp: SpatialTransformer, theta: list[float]) -> SpatialTransformer:
    with torch.no_grad():
        warp.regression[-1].bias.copy_(torch.tensor(theta))
    return warp


@pytest.mark.parametrize("align_corners", [False, True])
def test_it_starts_as_the_identity(align_corners: bool) -> None:
    images = torch.rand(3, 1, 12, 12)
    assert torch.allclose(transformer(align_corners)(images), images, atol=1e-5)


@pytest.mark.parametrize(("align_corners", "pixel"), [(False, 2 / 12), (True, 2 / 11)])
def test_it_mirrors_and_shifts(align_corners: bool, pixel: float) -> None:
    images = torch.rand(1, 1, 12, 12)
    mirrored = moved(transformer(align_corners), [-1, 0, 0, 0, 1, 0])(images)
    assert torch.allclose(mirrored, images.flip(3), atol=1e-5)
    shifted = moved(transformer(align_corners), [1, 0, pixel, 0, 1, 0])(images)
    assert torch.allclose(shifted[..., :-1], images[..., 1:], atol=1e-5)
    assert float(shifted[..., -1].detach().abs().max()) < 1e-5, "outside of an image is black"


def test_all_of_it_learns_after_a_step() -> None:
    warp, images = transformer(), torch.rand(4, 1, 12, 12)
    optimizer = torch.optim.SGD(warp.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        (warp(images) - images.roll(1, 3)).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in warp.parameters())


def test_bf16_keeps_coordinates_exact() -> None:
    warp, images = transformer(side=100), torch.rand(2, 1, 100, 100)
    with torch.autocast("cpu", torch.bfloat16):
        warped = warp(images)
    assert torch.allclose(warped, images, atol=1e-4)


@pytest.mark.parametrize("align_corners", [False, True])
def test_the_onnx_graph_warps_alike(align_corners: bool) -> None:
    from mien.bundle import InputSpec
    from mien.export.onnx import to_onnx
    from mien.systems.base import System

    class Warped(System):
        def __init__(self) -> None:
            super().__init__()
            self.warp = moved(transformer(align_corners), [0.8, 0.1, -0.2, -0.1, 0.9, 0.1])

        def forward(self, images: Tensor) -> Tensor:
            warped: Tensor = self.warp(images).flatten(1)
            return warped

    module, images = Warped().eval(), torch.rand(3, 1, 12, 12)
    model = to_onnx(module, InputSpec(12, 1, "grey", (0.0,), (1.0,)))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["logits"], {"input": images.numpy()})
    with torch.no_grad():
        assert np.abs(module(images).numpy() - theirs).max() < 1e-5
