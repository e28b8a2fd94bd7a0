"""Dense SIFT: descriptors on a grid over the whole face, at several patch sizes.

Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004; dense as in Bosch, Zisserman and Muñoz,
"Image classification using random forests and ferns", ICCV 2007. Square roots: Arandjelović and Zisserman, "Three
things everyone should know to improve object retrieval", CVPR 2012.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from mien.errors import InputError, MissingExtraError
from mien.features.threads import thread_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A descriptor of a keypoint of OpenCV's size s covers 4 × 4 cells of 3 · s / 2 pixels.
_PATCH_PER_SIZE = 6.0


@dataclass(frozen=True)
class SiftGrid:
    """Where descriptors are taken.

    Args:
        side: pixels that the face is enlarged to. With (side - 1) mod step even, centres are whole pixels and
            mirrored faces have exactly mirrored descriptors.
        step: pixels between neighbouring centres.
        patches: sides of the described squares, in pixels.
        blur: standard deviation of the blur before gradients are taken, in pixels.
        root: take square roots of descriptors that sum to 1.
    """

    side: int = 95
    step: int = 4
    patches: tuple[int, ...] = (16, 24, 32)
    blur: float = 1.6
    root: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "patches", tuple(self.patches))
        if not 16 <= self.side <= 1024 or not 1 <= self.step <= self.side:
            raise InputError(f"a grid of side {self.side} and step {self.step}: side is 16–1024, step 1 to side")
        if not self.patches or not all(4 <= patch <= self.side for patch in self.patches):
            raise InputError(f"patches of {list(self.patches)} px: give sides from 4 to {self.side}")

    @functools.cached_property
    def centres(self) -> NDArray[np.float32]:
        """float32 (P, 2), x and y as fractions of the face, in the order of the descriptors."""
        line = np.arange((self.side - 1) % self.step / 2, self.side, self.step, dtype=np.float32)
        y, x = np.meshgrid(line, line, indexing="ij")
        once = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) / self.side
        return np.tile(once, (len(self.patches), 1))

    @functools.cached_property
    def mirrored(self) -> NDArray[np.int64]:
        """int64 (P,): for each place the one that it falls on when the face is mirrored."""
        line = round(np.sqrt(len(self) // len(self.patches)))
        return np.arange(len(self)).reshape(len(self.patches), line, line)[:, :, ::-1].reshape(-1)

    def __len__(self) -> int:
        return len(self.centres)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for cache keys."""
        return {**asdict(self), "patches": list(self.patches)}


def dense_sift(images: NDArray[np.uint8], grid: SiftGrid, threads: int | None = None) -> NDArray[np.float32]:
    """Descriptors of faces on a grid.

    Args:
        images: uint8 (n, H, W) grey.
        grid: where.
        threads: that share the faces; all cores by default.

    Returns:
        float32 (n, P, 128), P = ``len(grid)``. Under ``root`` each has length 1, or 0 where the patch is flat.

    Example:
        >>> ramp = np.tile(np.arange(48, dtype=np.uint8) * 5, (1, 48, 1))
        >>> dense_sift(ramp, SiftGrid(step=24, patches=(16,))).shape
        (1, 16, 128)
    """
    cv2 = _opencv()
    if images.ndim != 3 or images.dtype != np.uint8:
        raise InputError(f"SIFT describes grey faces, uint8 (n, H, W), not {images.dtype} {images.shape}")
    if not len(images):
        return np.zeros((0, len(grid), 128), np.float32)
    sift = cv2.SIFT_create(sigma=grid.blur)
    sizes = np.repeat(np.array(grid.patches) / _PATCH_PER_SIZE, len(grid) // len(grid.patches))
    points = [
        cv2.KeyPoint(float(x * grid.side - 0.5), float(y * grid.side - 0.5), float(size), 0.0)
        for (x, y), size in zip(grid.centres, sizes, strict=True)
    ]

    def describe(image: NDArray[np.uint8]) -> NDArray[np.float32]:
        if image.shape != (grid.side, grid.side):
            image = np.asarray(Image.fromarray(image).resize((grid.side, grid.side), Image.Resampling.BICUBIC))
        _, found = sift.compute(image, points)
        return np.asarray(found, np.float32)

    with ThreadPoolExecutor(threads or thread_count()) as pool:
        described: Sequence[NDArray[np.float32]] = list(pool.map(describe, images))
    out = np.stack(described)
    if grid.root:
        np.divide(out, np.maximum(out.sum(axis=2, keepdims=True), 1e-6), out=out)
        np.sqrt(out, out=out)
    return out


def mirror_descriptors(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the same patches look like when they are mirrored, float32 (…, 128).

    A descriptor is 4 rows × 4 columns × 8 directions: columns swap sides, and a direction θ becomes 180° - θ.
    """
    parts = descriptors.reshape(*descriptors.shape[:-1], 4, 4, 8)
    turned = parts[..., ::-1, :][..., (4 - np.arange(8)) % 8]
    return np.ascontiguousarray(turned).reshape(descriptors.shape)


def _opencv() -> Any:
    try:
        import cv2
    except ModuleNotFoundError:
        raise MissingExtraError("dense SIFT", "classical") from None
    return cv2
