"""Does a map mean anything? Take the places it calls important away, or show nothing but them.

Source: Petsiuk et al. 2018, "RISE", section 4.2 (deletion and insertion). Beside the map's curve stands the mean of
random maps of the same coarseness: a map that does no better than chance explains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.explanation.occlusion import Scores

_STEPS = 16
_RANDOM = 5


@dataclass(frozen=True)
class Faithfulness:
    """Curves of one face.

    Attributes:
        shares: float (K,), 0–1: how much of the face was taken away or shown.
        deletion: float (K,), the target's probability while the most important places are blurred first.
        insertion: float (K,), while they are shown first.
        deletion_random: float (K,), the mean of random maps.
        insertion_random: float (K,), likewise.
    """

    shares: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    deletion_random: NDArray[np.float64]
    insertion_random: NDArray[np.float64]

    @property
    def deletion_gain(self) -> float:
        """Area by which deletion falls faster than at random; above 0 the map means something."""
        return _area(self.deletion_random) - _area(self.deletion)

    @property
    def insertion_gain(self) -> float:
        """Area by which insertion rises faster than at random."""
        return _area(self.insertion) - _area(self.insertion_random)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "deletion": round(_area(self.deletion), 6),
            "deletion_random": round(_area(self.deletion_random), 6),
            "insertion": round(_area(self.insertion), 6),
            "insertion_random": round(_area(self.insertion_random), 6),
            "means_something": self.deletion_gain > 0 and self.insertion_gain > 0,
        }


def faithfulness(
    scores: Scores, face: NDArray[np.uint8], importance: NDArray[np.float32], target: int, *, seed: int = 0
) -> Faithfulness:
    """Deletion and insertion curves of a map.

    Args:
        scores: the classifier.
        face: uint8 (H, W) or (H, W, 3).
        importance: float (h, w), any scale; resized to the face.
        target: the expression asked about.
        seed: of the random maps.

    Example:
        >>> left = lambda f: np.stack([f[:, :, :4].std((1, 2)) / 128, 1 - f[:, :, :4].std((1, 2)) / 128], 1)
        >>> face = (np.arange(256).reshape(16, 16) % 2 * 255).astype(np.uint8)
        >>> good = np.zeros((16, 16), np.float32); good[:, :4] = 1
        >>> faithfulness(left, face, good, 0).deletion_gain > 0
        True
    """
    height, width = face.shape[:2]
    blurred = np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(height / 8)))
    shares = np.linspace(0, 1, _STEPS + 1)
    rng = np.random.default_rng(seed)
    random = [_resized(rng.random((6, 6), np.float32), height, width) for _ in range(_RANDOM)]
    maps = [_resized(importance, height, width), *random]
    stack = []
    for ranks in map(_ranks, maps):
        for share in shares:
            first = ranks < share * height * width
            mask = first if face.ndim == 2 else first[..., None]
            stack += [np.where(mask, blurred, face), np.where(mask, face, blurred)]
    answers = np.asarray(scores(np.stack(stack).astype(np.uint8)))[:, target].astype(np.float64)
    curves = answers.reshape(len(maps), len(shares), 2)
    return Faithfulness(
        shares, curves[0, :, 0], curves[0, :, 1], curves[1:, :, 0].mean(axis=0), curves[1:, :, 1].mean(axis=0)
    )


def _ranks(importance: NDArray[np.float32]) -> NDArray[np.int64]:
    """(H, W): 0 for the most important pixel."""
    order = np.argsort(-importance.ravel(), kind="stable")
    ranks = np.empty(order.size, np.int64)
    ranks[order] = np.arange(order.size)
    return ranks.reshape(importance.shape)


def _resized(importance: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    picture = Image.fromarray(np.asarray(importance, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def _area(curve: NDArray[np.float64]) -> float:
    return float((curve[1:] + curve[:-1]).mean() / 2)
