"""Does a map mean anything? Take the places it calls important away, or show nothing but them.

Source: Petsiuk et al. 2018, "RISE", section 4.2 (deletion and insertion). Any map changes the answer, so each one is
judged beside random maps with its own spectrum (as surrogate data for time series, Theiler et al. 1992): equally
smooth, but looking elsewhere. A map means something only where it beats 95 % of them both ways, which chance does in
at most 5 % of cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageFilter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.explanation.occlusion import Scores

LEVEL = 0.05
"""Of the test: the share of random maps that are declared meaningful, at most."""
RANDOM_MAPS = 49
"""Beside each map; with it they are 50, of which the best 2 are within the level."""
_STEPS = 10
_BATCH = 256
"""Faces that are scored at once; more would cost memory, not time."""


@dataclass(frozen=True)
class Faithfulness:
    """Curves of one face, or their means over several.

    Attributes:
        shares: float (K,), 0–1: how much of the face was taken away or shown.
        deletion: float (K,), the target's probability while the most important places are blurred first.
        insertion: float (K,), while they are shown first.
        deletion_random: float (R, K), likewise of each random map.
        insertion_random: float (R, K), likewise.
    """

    shares: NDArray[np.float64]
    deletion: NDArray[np.float64]
    insertion: NDArray[np.float64]
    deletion_random: NDArray[np.float64]
    insertion_random: NDArray[np.float64]

    @classmethod
    def mean(cls, several: Sequence[Faithfulness]) -> Faithfulness:
        """The mean curves of several faces."""
        names = ("deletion", "insertion", "deletion_random", "insertion_random")
        means = [np.asarray(np.mean([getattr(one, name) for one in several], axis=0)) for name in names]
        return cls(several[0].shares, *means)

    @property
    def deletion_gain(self) -> float:
        """Area by which deletion falls faster than the mean of the random maps."""
        return float(_areas(self.deletion_random).mean() - _areas(self.deletion))

    @property
    def insertion_gain(self) -> float:
        """Area by which insertion rises faster than the mean of the random maps."""
        return float(_areas(self.insertion) - _areas(self.insertion_random).mean())

    @property
    def deletion_p(self) -> float:
        """Share of all maps, the judged one and the random ones, whose deletion falls at least as fast; 0–1."""
        return _share(-_areas(self.deletion), -_areas(self.deletion_random))

    @property
    def insertion_p(self) -> float:
        """Share of all maps whose insertion rises at least as fast; 0–1."""
        return _share(_areas(self.insertion), _areas(self.insertion_random))

    @property
    def p(self) -> float:
        """The larger of both: how often chance would look as good both ways, at most."""
        return max(self.deletion_p, self.insertion_p)

    @property
    def means_something(self) -> bool:
        """Whether the map beats chance both ways, at the level `LEVEL`."""
        return self.p <= LEVEL

    @property
    def chance(self) -> float:
        """Share of the random maps that would pass if each were judged beside the others; 0–1, near `LEVEL` at most."""
        deletion, insertion = -_areas(self.deletion_random), _areas(self.insertion_random)
        passes = [
            max(float((values >= values[one]).mean()) for values in (deletion, insertion)) <= LEVEL
            for one in range(len(deletion))
        ]
        return float(np.mean(passes))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "deletion": round(float(_areas(self.deletion)), 6),
            "deletion_random": round(float(_areas(self.deletion_random).mean()), 6),
            "deletion_p": round(self.deletion_p, 6),
            "insertion": round(float(_areas(self.insertion)), 6),
            "insertion_random": round(float(_areas(self.insertion_random).mean()), 6),
            "insertion_p": round(self.insertion_p, 6),
            "random_maps": len(self.deletion_random),
            "p": round(self.p, 6),
            "means_something": self.means_something,
        }


def faithfulness(
    scores: Scores, face: NDArray[np.uint8], importance: NDArray[np.float32], target: int, *, seed: int = 0
) -> Faithfulness:
    """Deletion and insertion curves of a map and of random maps as smooth as it.

    Args:
        scores: the classifier.
        face: uint8 (H, W) or (H, W, 3).
        importance: float (h, w), any scale; resized to the face.
        target: the expression asked about.
        seed: of the random maps; give each face its own where several are averaged.

    Example:
        >>> left = lambda f: np.stack([f[:, :, :4].std((1, 2)) / 128, 1 - f[:, :, :4].std((1, 2)) / 128], 1)
        >>> face = (np.arange(256).reshape(16, 16) % 2 * 255).astype(np.uint8)
        >>> good = np.zeros((16, 16), np.float32); good[:, :4] = 1
        >>> faithfulness(left, face, good, 0).means_something
        True
        >>> faithfulness(left, face, 1 - good, 0).means_something
        False
    """
    height, width = face.shape[:2]
    blurred = np.asarray(Image.fromarray(face).filter(ImageFilter.GaussianBlur(height / 8)))
    shares = np.linspace(0, 1, _STEPS + 1)
    rng = np.random.default_rng(seed)
    own = _resized(importance, height, width)
    ranks = [_ranks(own, rng), *(_ranks(random, rng) for random in _as_smooth(own, RANDOM_MAPS, rng))]
    # At both ends all maps show the same two pictures.
    ends = _scored(scores, np.stack([face, blurred]), target)
    inner = [(np.asarray(of), share) for of in ranks for share in shares[1:-1]]
    answers = []
    for begin in range(0, len(inner), _BATCH // 2):
        firsts = np.stack([of < share * height * width for of, share in inner[begin : begin + _BATCH // 2]])
        masks = firsts if face.ndim == 2 else firsts[..., None]
        faces = np.stack([np.where(masks, blurred, face), np.where(masks, face, blurred)], axis=1)
        answers.append(_scored(scores, faces.reshape(-1, *face.shape), target))
    curves = np.empty((len(ranks), len(shares), 2))
    curves[:, 1:-1] = np.concatenate(answers).reshape(len(ranks), len(shares) - 2, 2)
    curves[:, 0], curves[:, -1] = ends, ends[::-1]
    return Faithfulness(shares, curves[0, :, 0], curves[0, :, 1], curves[1:, :, 0], curves[1:, :, 1])


def _scored(scores: Scores, faces: NDArray[np.uint8], target: int) -> NDArray[np.float64]:
    return np.asarray(scores(faces))[:, target].astype(np.float64)


def _as_smooth(importance: NDArray[np.float32], count: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """(count, H, W): random maps with the power of another one at each spatial frequency, in any direction.

    Cosines, not Fourier waves: they take the borders as mirrors, so that a map that is brighter on one side has no jump
    there that would make the random ones rougher.
    """
    height, width = importance.shape
    down, across = _cosines(height), _cosines(width)
    found = down @ importance @ across.T
    long = max(height, width)
    frequency = np.hypot(np.arange(height)[:, None] * (long / height), np.arange(width) * (long / width))
    shell = frequency.round().astype(np.int64).ravel()
    made = rng.standard_normal((count, height * width))
    power = np.bincount(shell, np.square(found).ravel())
    drawn = np.stack([np.bincount(shell, row, len(power)) for row in np.square(made)])
    made *= np.sqrt(power / np.maximum(drawn, 1e-12))[:, shell]
    return np.asarray(down.T @ made.reshape(count, height, width) @ across, np.float32)


def _cosines(count: int) -> NDArray[np.float64]:
    """(count, count), orthonormal: one wave per row (DCT-II)."""
    waves = np.cos(np.pi / count * np.arange(count)[:, None] * (np.arange(count) + 0.5))
    waves *= np.sqrt(2 / count)
    waves[0] /= np.sqrt(2)
    return np.asarray(waves)


def _ranks(importance: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.int64]:
    """(H, W): 0 for the most important pixel; equal ones in random order, or all maps would favour the top."""
    order = np.lexsort((rng.random(importance.size), -importance.ravel()))
    ranks = np.empty(order.size, np.int64)
    ranks[order] = np.arange(order.size)
    return ranks.reshape(importance.shape)


def _resized(importance: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    picture = Image.fromarray(np.asarray(importance, np.float32))
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC), np.float32)


def _areas(curves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Under each curve of (…, K), by trapezoids."""
    return np.asarray((curves[..., 1:] + curves[..., :-1]).mean(axis=-1) / 2)


def _share(own: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Of all, the own one counted, that reach it: the p value of a randomisation test; equal ones count as beaten."""
    return float((1 + (others >= own).sum()) / (1 + len(others)))
