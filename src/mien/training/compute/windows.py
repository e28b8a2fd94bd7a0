"""Which pixels the window of a convolution sees, place by place."""

from __future__ import annotations


def seen(window: int, side: int, out: int, stride: int, padding: int, dilation: int) -> list[tuple[int, slice, slice]]:
    """Along one axis, for each place of the window that sees a pixel of the map: the outputs to which it adds, and
    the pixels that it sees there.

    Example:
        >>> seen(3, side=1, out=1, stride=1, padding=1, dilation=1)  # of a single pixel the middle place alone
        [(1, slice(0, 1, None), slice(0, 1, 1))]
    """
    found = []
    for place in range(window):
        offset = place * dilation - padding
        first, end = max(0, -(offset // stride)), min(out, (side - 1 - offset) // stride + 1)
        if first < end:
            start = first * stride + offset
            found.append((place, slice(first, end), slice(start, start + (end - first - 1) * stride + 1, stride)))
    return found
