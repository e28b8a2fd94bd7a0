"""A spatial transformer: the network chooses the affine window through which it looks at a face."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class SpatialTransformer(nn.Module):
    """Warp images by an affine map that is computed from them (Jaderberg et al. 2015, section 3).

    It starts as the identity: the last layer has zero weights and the identity map as its bias.

    Args:
        localisation: maps images (N, C, S, S) to features that flatten to (N, ``features``).
        features: how many there are; they depend on the side of the images.
        hidden: units between features and the six numbers of the map.
        align_corners: whether -1 and 1 mean the centres of the outermost pixels, or their outer borders. The warp
            is the identity at the start either way; sources that rely on PyTorch's old default have the centres.

    Example:
        >>> warp = SpatialTransformer(nn.AvgPool2d(8), 3 * 2 * 2)
        >>> images = torch.rand(2, 3, 16, 16)
        >>> torch.allclose(warp(images), images, atol=1e-5)
        True
    """

    def __init__(
        self, localisation: nn.Module, features: int, *, hidden: int = 32, align_corners: bool = False
    ) -> None:
        super().__init__()
        self.localisation = localisation
        self.regression = nn.Sequential(nn.Linear(features, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 6))
        self.align_corners = align_corners
        last = self.regression[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 0.0]))

    def theta(self, images: Tensor) -> Tensor:
        """Float (N, C, S, S) → the maps, float (N, 2, 3), from output to input coordinates in -1…1 (x, then y)."""
        features = torch.flatten(self.localisation(images), 1)
        maps: Tensor = self.regression(features).view(-1, 2, 3)
        return maps

    def forward(self, images: Tensor) -> Tensor:
        """Float (N, C, S, S) → the same shape, bilinear, black outside."""
        # Eight bits of a bfloat16 mantissa cannot tell the pixels of a large image apart: coordinates stay float32, and
        # are put together by sums and products, which autocast leaves alone, not by a matrix product.
        theta = self.theta(images).float()[:, None, None]
        y, x = (self._coordinates(side, images)[:, None] for side in images.shape[2:])
        grid = x[None] * theta[..., 0] + y[:, None] * theta[..., 1] + theta[..., 2]
        warped = functional.grid_sample(images.float(), grid, align_corners=self.align_corners)
        return warped.to(images.dtype)

    def _coordinates(self, side: int, images: Tensor) -> Tensor:
        if self.align_corners:
            return torch.linspace(-1, 1, side, device=images.device)
        return (torch.arange(side, device=images.device) * 2 + 1) / side - 1
