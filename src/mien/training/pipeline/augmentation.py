"""Augmentation of whole batches on the device: one resampling, then grey values, then mixing.

All geometry (flip, rotation, scale, aspect, shift, crop, resizing to the network's input) is one affine map per face
and one bilinear lookup, so a face is interpolated once, whatever is asked for.
"""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from mien.bundle import InputSpec

if TYPE_CHECKING:
    from mien.training.recipe import Augment


@dataclass(frozen=True)
class Share:
    """Which faces of a batch are given, where a process has a part of it only.

    Random numbers are drawn for the whole batch and the share's are taken: a face varies in the same way however many
    processes there are.

    Attributes:
        rows: int64 (n,), places in the batch.
        count: faces of the whole batch.
    """

    rows: Tensor
    count: int


_CORNERS = ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, 0))


def augment(
    faces: Tensor, recipe: Augment, spec: InputSpec, generator: torch.Generator, share: Share | None = None
) -> Tensor:
    """Draw one variant (five or ten with those crops) of each face.

    Args:
        faces: uint8 (N, H, W) grey or (N, H, W, 3) RGB, 0–255, on the training device.
        recipe: what varies and how much.
        spec: what the network takes.
        generator: the only source of randomness, on the same device.
        share: which faces of the batch these are; all of them, by default.

    Returns:
        float32 (K·N, channels, side, side), normalised; all first crops come first, then all second ones, …
        K is 1, 5 or 10; the side is that of the recipe, by default the network's.
    """
    count, device = len(faces), faces.device
    draws = _Draws(generator, count, device, share)

    def uniform(low: float, high: float, probability: float = 1.0, otherwise: float = 0.0) -> Tensor:
        drawn = draws.rand() * (high - low) + low
        if probability >= 1:
            return drawn
        return torch.where(draws.rand() < probability, drawn, otherwise)

    def chosen(probability: float) -> Tensor:
        return draws.rand() < probability

    def sign(probability: float) -> Tensor:
        return 1 - 2 * (draws.rand() < probability).float()

    # The map from output coordinates to source coordinates; both run from -1 to 1 over the face.
    angle = uniform(-math.radians(recipe.rotate), math.radians(recipe.rotate), recipe.rotate_probability)

    def drawn_window() -> tuple[Tensor, Tensor]:
        side = uniform(*recipe.scale).sqrt()
        return side, (uniform(math.log(recipe.aspect[0]), math.log(recipe.aspect[1])) / 2).exp()

    window, aspect = _fitting(drawn_window) if recipe.window == "inside" else drawn_window()
    shift = 2 * recipe.translate
    shift_x = uniform(-shift, shift, recipe.translate_probability)
    shift_y = uniform(-shift, shift, recipe.translate_probability)
    if recipe.window == "inside":
        shift_x = shift_x + uniform(-1, 1) * (1 - window * aspect)
        shift_y = shift_y + uniform(-1, 1) * (1 - window / aspect)
    if recipe.affine_probability < 1:
        moved = chosen(recipe.affine_probability).float()
        angle, shift_x, shift_y = angle * moved, shift_x * moved, shift_y * moved
        window, aspect = window**moved, aspect**moved
    width, height = window * aspect * sign(recipe.flip), window / aspect * sign(recipe.vertical_flip)
    cos, sin = angle.cos(), angle.sin()
    theta = torch.stack(
        [torch.stack([cos * width, -sin * height, shift_x], 1), torch.stack([sin * width, cos * height, shift_y], 1)], 1
    )
    # A crop is a window in output coordinates: fold it into the map instead of cutting afterwards.
    size, face = spec.size, spec.face_size
    kept, room = size / face, 1 - size / face
    if recipe.crops == "random":
        offsets = [torch.stack([uniform(-room, room), uniform(-room, room)], 1)] if room else [_zeros(count, device)]
    elif recipe.crops == "centre":
        offsets = [_zeros(count, device)]
    else:
        offsets = [_constant(corner, device).mul(room).expand(count, 2) for corner in _CORNERS]
    linear = theta[:, :, :2]
    maps = [
        torch.cat([linear * kept, (theta[:, :, 2] + (linear @ o[:, :, None])[:, :, 0])[:, :, None]], 2) for o in offsets
    ]
    if recipe.crops == "ten":
        mirror = _constant((-1.0, 1.0, 1.0), device)
        maps += [maps[k] * mirror for k in (1, 0, 3, 2, 4)]  # the left crop of the mirror image is the right one

    pixels = faces[:, None].float() if faces.ndim == 3 else faces.permute(0, 3, 1, 2).float()
    if recipe.equalise_probability:
        flat = chosen(recipe.equalise_probability)
        pixels[flat] = equalised(pixels[flat])
    pixels = pixels / 255
    if spec.colour == "grey" and pixels.shape[1] == 3:
        pixels = (pixels * _constant((0.299, 0.587, 0.114), device)[None, :, None, None]).sum(1, keepdim=True)
    lights = recipe.brightness or recipe.contrast
    if lights and recipe.light == "factor":
        pixels = _jittered(pixels, recipe, draws)
    out = torch.cat([_sample(pixels, m, recipe.size or size, recipe.outside) for m in maps])

    if lights and recipe.light == "offset":
        gain = uniform(1 - recipe.contrast, 1 + recipe.contrast)
        offset = uniform(-recipe.brightness, recipe.brightness)
        if recipe.light_probability < 1:
            lit = chosen(recipe.light_probability)
            gain, offset = torch.where(lit, gain, 1.0), offset * lit
        gain, offset = (each.repeat(len(maps))[:, None, None, None] for each in (gain, offset))
        out = (out - 0.5) * gain + 0.5 + offset
    if recipe.noise or recipe.blur:
        out = _degrade(out, recipe, draws.repeated(len(maps)))
    if recipe.erase_probability:
        out = _erase(out, recipe, draws.repeated(len(maps)))
    mean = _constant(tuple(spec.mean), device)[None, :, None, None]
    std = _constant(tuple(spec.std), device)[None, :, None, None]
    return (out - mean) / std


def mix(images: Tensor, targets: Tensor, amount: Amount | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Mixup (Zhang et al. 2018) or CutMix (Yun et al. 2019) within a batch, one ratio per batch.

    Args:
        images: float (N, C, S, S).
        targets: float (N, classes).
        amount: how much is mixed; None for nothing.
        generator: draws partners, on the device of ``images``.
    """
    if amount is None:
        return images, targets
    mixing = Mixing.drawn(len(images), amount, generator)
    return mixing.of(images, images[mixing.partners]), mixing.of_targets(targets, targets[mixing.partners])


@dataclass(frozen=True)
class Amount:
    """How much of a batch is mixed: what is drawn on the host, whatever the device.

    Attributes:
        ratio: how much of itself each target keeps; a number, or float32 () on the device.
        blend: how much of itself each image keeps with mixup, likewise; None without.
        box: left, top, right and bottom of what comes from the partner with CutMix, or int64 (4,); None without.
    """

    ratio: float | Tensor
    blend: float | Tensor | None
    box: tuple[int, int, int, int] | Tensor | None

    @classmethod
    def drawn(cls, side: int, recipe: Augment, draw: random.Random) -> Amount | None:
        """For images of ``side`` px; None where the recipe mixes nothing, with both α above 0 one of the two."""
        if not recipe.mixup and not recipe.cutmix:
            return None
        cut = bool(recipe.cutmix) and (not recipe.mixup or draw.random() < 0.5)
        alpha = recipe.cutmix if cut else recipe.mixup
        ratio = draw.betavariate(alpha, alpha)
        if not cut:
            return cls(ratio, ratio, None)
        half = side * math.sqrt(1 - ratio) / 2
        x, y = draw.uniform(0, side), draw.uniform(0, side)
        left, right = max(0, round(x - half)), min(side, round(x + half))
        top, bottom = max(0, round(y - half)), min(side, round(y + half))
        return cls(1 - (right - left) * (bottom - top) / side**2, None, (left, top, right, bottom))


@dataclass(frozen=True)
class Mixing:
    """How a batch is mixed.

    Attributes:
        partners: int64 (N,), with whom each image is mixed, on the device of the generator.
        amount: and how much.
    """

    partners: Tensor
    amount: Amount

    @classmethod
    def drawn(cls, count: int, amount: Amount, generator: torch.Generator) -> Mixing:
        """For ``count`` images."""
        return cls(torch.randperm(count, device=generator.device, generator=generator), amount)

    def of(self, images: Tensor, others: Tensor) -> Tensor:
        """Float (n, C, S, S) images mixed with their partners."""
        if self.amount.blend is not None:
            images = torch.lerp(others, images, self.amount.blend)
        if self.amount.box is not None:
            left, top, right, bottom = self.amount.box
            places = torch.arange(images.shape[-1], device=images.device)
            inside = ((places >= top) & (places < bottom))[:, None] & (places >= left) & (places < right)
            images = torch.where(inside, others, images)
        return images

    def of_targets(self, targets: Tensor, others: Tensor) -> Tensor:
        """Float (n, classes) targets mixed likewise."""
        return torch.lerp(others, targets, self.amount.ratio)


def equalised(pixels: Tensor) -> Tensor:
    """Faces whose histogram is as flat as their grey values allow: each value becomes the share of pixels below it.

    Args:
        pixels: float (N, C, H, W), whole numbers 0–255.

    Returns:
        float (N, C, H, W), 0–255; a face of one value stays as it is.
    """
    values = pixels.flatten(2).long()
    counts = torch.zeros(*values.shape[:2], 256, device=pixels.device)
    counts.scatter_add_(2, values, torch.ones_like(values, dtype=counts.dtype))
    below = counts.cumsum(2)
    least = below.gather(2, values.amin(2, keepdim=True))
    rest = values.shape[2] - least
    level = (below.gather(2, values) - least) / rest.clamp(min=1) * 255
    return torch.where(rest > 0, level, values.float()).view_as(pixels)


class _Draws:
    """Random numbers for the images of a batch, or of a share of it."""

    def __init__(self, generator: torch.Generator, count: int, device: torch.device, share: Share | None) -> None:
        self.generator, self.device, self.share = generator, device, share
        self.count = share.count if share else count

    def rand(self) -> Tensor:
        """One number per image, uniform on 0–1."""
        return self._ours(torch.rand(self.count, device=self.device, generator=self.generator))

    def randn(self, shape: Sequence[int]) -> Tensor:
        """``shape`` numbers per image, standard normal."""
        return self._ours(torch.randn(self.count, *shape, device=self.device, generator=self.generator))

    def repeated(self, times: int) -> _Draws:
        """For a batch that holds each image that many times, one copy of all after the other."""
        share = self.share
        if share is not None:
            rows = torch.cat([share.rows + k * share.count for k in range(times)])
            share = Share(rows, times * share.count)
        return _Draws(self.generator, times * self.count, self.device, share)

    def _ours(self, drawn: Tensor) -> Tensor:
        return drawn if self.share is None else drawn[self.share.rows]


def _fitting(drawn: Callable[[], tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The first of ten windows that lies within the face, else all of it: side and square root of the aspect ratio."""
    window, aspect = drawn()
    for _ in range(9):
        fits = window * torch.maximum(aspect, 1 / aspect) <= 1
        other, of_other = drawn()
        window, aspect = torch.where(fits, window, other), torch.where(fits, aspect, of_other)
    fits = window * torch.maximum(aspect, 1 / aspect) <= 1
    return torch.where(fits, window, 1.0), torch.where(fits, aspect, 1.0)


def _jittered(pixels: Tensor, recipe: Augment, draws: _Draws) -> Tensor:
    """Brightness and contrast as factors on faces of 0–1, in either order."""
    brightness = 1 + (2 * draws.rand() - 1) * recipe.brightness
    contrast = 1 + (2 * draws.rand() - 1) * recipe.contrast
    brighter, lit = draws.rand() < 0.5, draws.rand() < recipe.light_probability
    for first in (brighter, ~brighter):
        gain = torch.where(lit, torch.where(first, brightness, contrast), 1.0)[:, None, None, None]
        about = torch.where(first, 0.0, pixels.mean((1, 2, 3)))[:, None, None, None]
        pixels = ((pixels - about) * gain + about).clamp(0, 1)
    return pixels


def _degrade(images: Tensor, recipe: Augment, draws: _Draws) -> Tensor:
    """Noise or blur on some of the images, never both on one."""
    count, device = len(images), images.device
    some = draws.rand() < recipe.degrade_probability
    both = recipe.noise and recipe.blur
    noisy = draws.rand() < 0.5 if both else torch.full((count,), bool(recipe.noise), device=device)
    strength = draws.rand()
    if recipe.noise:
        sd = strength * recipe.noise * (some & noisy)
        drawn = draws.randn(images.shape[1:])
        images = images + drawn * sd[:, None, None, None]
    if recipe.blur:
        sigma = strength * recipe.blur
        rows = (some & ~noisy & (sigma > 0)).nonzero()[:, 0]
        if len(rows):
            images = images.index_copy(0, rows, _blurred(images[rows], sigma[rows], math.ceil(3 * recipe.blur)))
    return images


def _blurred(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Each image under a Gaussian of its own width; the border is repeated."""
    count, channels, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma[:, None] ** 2), 1).repeat_interleave(channels, 0)
    flat = functional.pad(images.reshape(1, count * channels, height, width), (radius,) * 4, mode="replicate")
    flat = functional.conv2d(flat, kernel[:, None, None, :], groups=count * channels)
    flat = functional.conv2d(flat, kernel[:, None, :, None], groups=count * channels)
    return flat.view(images.shape)


@functools.lru_cache(64)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Numbers on the device, brought there once: every copy from the host would make the host wait for the device."""
    return torch.tensor(values, dtype=torch.float32, device=device)


def _zeros(count: int, device: torch.device) -> Tensor:
    return torch.zeros(count, 2, device=device)


def _sample(pixels: Tensor, theta: Tensor, size: int, outside: str) -> Tensor:
    grid = functional.affine_grid(theta, [len(pixels), pixels.shape[1], size, size], align_corners=False)
    out = functional.grid_sample(pixels, grid, mode="bilinear", padding_mode="border", align_corners=False)
    if outside == "black":
        # Not padded with zeros: those would darken the outermost half pixel of a face that is only enlarged.
        out = out * (grid.abs() <= 1).all(-1)[:, None]
    return out


def _erase(images: Tensor, recipe: Augment, draws: _Draws) -> Tensor:
    """Fill one rectangle per image with one random grey or black (Zhong et al. 2020, "Random Erasing")."""
    height, width = images.shape[2:]

    def uniform(low: float, high: float) -> Tensor:
        return (draws.rand() * (high - low) + low)[:, None, None]

    area = uniform(*recipe.erase_area)
    aspect = uniform(math.log(0.3), math.log(1 / 0.3)).exp()
    h, w = (area * aspect).sqrt() * height, (area / aspect).sqrt() * width
    h, w = h.clamp(max=height - 1), w.clamp(max=width - 1)
    top, left = uniform(0, 1) * (height - h), uniform(0, 1) * (width - w)
    grey, chosen = uniform(0, 1), uniform(0, 1) < recipe.erase_probability
    rows = torch.arange(height, device=images.device)[None, :, None] + 0.5
    columns = torch.arange(width, device=images.device)[None, None, :] + 0.5
    inside = (rows > top) & (rows < top + h) & (columns > left) & (columns < left + w) & chosen
    if recipe.erase_fill == "black":
        grey = torch.zeros_like(grey)
    return torch.where(inside[:, None], grey[:, None], images)
