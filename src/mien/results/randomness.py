"""Random numbers that recompute to the same bits everywhere.

NumPy promises stable streams for its bit generators and not for the distributions on top of them. Recorded
intervals have to recompute with any NumPy, so the little that is needed is made from raw bits here.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray


def uniforms(seed: int) -> Callable[..., NDArray[np.float64]]:
    """A source of numbers uniform in [0, 1), multiples of 2⁻³²: call it with a shape.

    Example:
        >>> draw = uniforms(7)
        >>> draw(2, 3).shape, round(float(uniforms(7)(1)[0]), 6)
        ((2, 3), 0.944905)
    """
    words = _words(seed)
    return lambda *shape: words(*shape).astype(np.float64) * 2.0**-32


def integers(seed: int) -> Callable[..., NDArray[np.int64]]:
    """A source of integers uniform in [0, bound), bound ≤ 2³¹: call it with the bound and a shape.

    The bias of the multiplication is below bound / 2³², for 36,000 faces one in 10⁵ of each probability.

    Example:
        >>> int(integers(7)(10, 1000).max())
        9
    """
    words = _words(seed)
    return lambda bound, *shape: ((words(*shape) * np.uint64(bound)) >> np.uint64(32)).astype(np.int64)


def permutation(seed: int, count: int) -> NDArray[np.int64]:
    """The numbers 0 to ``count - 1`` in an order drawn from ``seed``.

    Example:
        >>> sorted(permutation(0, 4).tolist())
        [0, 1, 2, 3]
    """
    return np.argsort(uniforms(seed)(count), kind="stable").astype(np.int64)


def _words(seed: int) -> Callable[..., NDArray[np.uint64]]:
    """A source of 32-bit words (as uint64), two from each word of the generator, low half first."""
    bits = np.random.PCG64(seed)

    def draw(*shape: int) -> NDArray[np.uint64]:
        count = math.prod(shape)
        raw = bits.random_raw((count + 1) // 2)
        words = np.empty((len(raw), 2), dtype=np.uint64)
        words[:, 0] = raw & np.uint64(0xFFFFFFFF)
        words[:, 1] = raw >> np.uint64(32)
        return words.ravel()[:count].reshape(shape)

    return draw
