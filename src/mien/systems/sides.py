"""Which sides a network takes: tried without computing anything, so that a refusal can name them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch

from mien.errors import InputError, MienError
from mien.systems.base import System, build

if TYPE_CHECKING:
    from mien.systems.card import Card

_SMALLEST, _LARGEST, _REACH = 8, 1024, 64


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
        mien.errors.InputError: vggnet takes no images of 64 px; it takes 40 px, nearest to yours 47 px
    """
    with torch.device("meta"):
        module = build(card, classes=7, channels=channels, options=options).eval()
    if stage:
        module.begin_stage(stage)
    problem = _problem(module, channels, side)
    if problem is None:
        return
    if isinstance(problem, MienError):
        raise problem
    below = _first(module, channels, range(side - 1, max(_SMALLEST, side - _REACH) - 1, -1))
    above = _first(module, channels, range(side + 1, min(_LARGEST, side + _REACH) + 1))
    own = card.input.size if _problem(module, channels, card.input.size) is None else None
    near = [f"{found} px" for found in (below, above) if found is not None and found != own]
    takes = ", ".join(
        part for part in (f"{own} px" if own else "", "nearest to yours " + " and ".join(near) if near else "") if part
    )
    # What torch says of shapes helps nobody who did not write the network, unless there is nothing better to say.
    told = f"it takes {takes}" if takes else str(problem).strip().partition("\n")[0][:160]
    raise InputError(f"{card.id} takes no images of {side} px; {told}")


def _first(module: System, channels: int, sides: Iterable[int]) -> int | None:
    return next((side for side in sides if _problem(module, channels, side) is None), None)


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
