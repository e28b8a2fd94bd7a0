"""Which sides a network takes: tried without computing anything, so that a refusal can name them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from mien.errors import InputError, MienError
from mien.systems.base import System, build

if TYPE_CHECKING:
    from mien.systems.card import Card

_SMALLEST, _LARGEST, _REACH = 8, 1024, 64
_NAMED = 3
"""Ranges of sides that a message names at most."""


def check_side(card: Card, side: int, *, channels: int, options: Mapping[str, object], stage: str = "") -> None:
    """Refuse a side that the network cannot take; the message says which it takes (`InputError`).

    Args:
        card: of the system.
        side: height and width in pixels.
        channels: 1 or 3.
        options: architecture options, over the card's defaults.
        stage: of the recipe, in which parts may rest; by default the last.

    Example:
        >>> from mien.systems import card
        >>> check_side(card("vggnet"), 64, channels=1, options={})
        Traceback (most recent call last):
        ...
        mien.errors.InputError: vggnet takes no images of 64 px; it takes 32 to 47 px
    """
    module = _made(card, channels, options)
    if stage:
        module.begin_stage(stage)
    problem = _problem(module, channels, side)
    if problem is None:
        return
    if isinstance(problem, MienError):
        raise problem
    # What torch says of shapes helps nobody who did not write the network, unless there is nothing better to say.
    takes = _taken(module, card, channels, side) or str(problem).strip().partition("\n")[0][:160]
    raise InputError(f"{card.id} takes no images of {side} px; it takes {takes}")


def sides_taken(card: Card, near: int, *, channels: int, options: Mapping[str, object]) -> str:
    """The sides that a network takes in words, those nearest to ``near`` px if they are many; or nothing.

    Example:
        >>> from mien.systems import card
        >>> sides_taken(card("compact"), 44, channels=1, options={})
        '39 to 40 px, 47 to 48 px or 55 to 56 px, among others'
    """
    return _taken(_made(card, channels, options), card, channels, near)


def _made(card: Card, channels: int, options: Mapping[str, object]) -> System:
    with torch.device("meta"):
        return build(card, classes=7, channels=channels, options=options).eval()


def _taken(module: System, card: Card, channels: int, near: int) -> str:
    last = min(_LARGEST, max(near, card.input.size) + _REACH)
    fitting = [side for side in range(_SMALLEST, last + 1) if _problem(module, channels, side) is None]
    ranges = sorted(_ranges(fitting), key=lambda ends: max(ends[0] - near, near - ends[1]))
    named = [_words(first, end, last) for first, end in sorted(ranges[:_NAMED])]
    text = " or ".join(part for part in (", ".join(named[:-1]), *named[-1:]) if part)
    return text + (", among others" if len(ranges) > _NAMED else "")


def _ranges(sides: Iterable[int]) -> list[tuple[int, int]]:
    """First and last of those that follow each other; what differs from its place alike is one range."""
    groups = itertools.groupby(enumerate(sides), lambda pair: pair[1] - pair[0])
    return [(members[0][1], members[-1][1]) for members in (list(group) for _, group in groups)]


def _words(first: int, end: int, last: int) -> str:
    if end == last:  # nothing speaks against larger ones
        return f"{first} px and more"
    return f"{first} px" if first == end else f"{first} to {end} px"


@torch.no_grad()
def _problem(module: System, channels: int, side: int) -> Exception | None:
    try:
        # Shapes alone: on this device nothing is stored and nothing computed.
        module(torch.zeros(2, channels, side, side, device="meta"))
    except NotImplementedError:
        return None  # an operation that knows no shapes without values; it will speak for itself
    except Exception as error:  # whatever the layers raise about a shape
        return error
    return None
