"""Which sides a network takes: tried without computing anything, so that a refusal can name them."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn

from mien.errors import InputError, MienError
from mien.systems.base import System, build

if TYPE_CHECKING:
    from mien.systems.card import Card

_SMALLEST, _LARGEST = 8, 1024
_TRIES = 60
"""Sides that are tried for one message: of a large network each one takes a second."""
_NAMED = 3
"""Ranges of sides that a message names at most."""
_IN_A_ROW = 8
"""Sides that follow each other and are taken, after which far larger ones are tried instead of each next one."""


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
    module = made(card, channels=channels, options=options).eval()
    if stage:
        module.begin_stage(stage)
    problem = _problem(module, channels, side)
    if problem is None:
        return
    # What torch says of shapes helps nobody who did not write the network, unless there is nothing better to say.
    if better := _refusal(problem, module, channels, side):
        raise better
    said = str(problem).strip().partition("\n")[0][:160]
    raise InputError(f"{card.id} takes images of no side that was tried, {side} px among them: {said}")


def explain(module: System, images: object, error: Exception) -> None:
    """Raise an `InputError` that names what a network takes, from ``error``, if the images are what was wrong.

    Whether they are is asked of the network itself, as it stands in its training: it sees the same shape without
    numbers. What it takes then, and yet failed at, had another reason.
    """
    if isinstance(error, MienError) or not hasattr(module, "card"):
        return
    card, channels = module.card, module.options["channels"]
    assert isinstance(channels, int)
    if not isinstance(images, torch.Tensor):
        raise InputError(f"{card.id} takes a tensor of images, not {type(images).__name__}") from error
    if images.device.type == "meta":  # asked about shapes, by this module
        return
    takes = f"float (N, {channels}, S, S), normalised as its input says"
    if not images.is_floating_point():
        raise InputError(f"{card.id} takes images as {takes}, not of {str(images.dtype)[6:]}") from error
    own = next((parameter.dtype for parameter in module.parameters()), images.dtype)
    # Autocast converts all but double precision.
    converted = torch.is_autocast_enabled(images.device.type) and torch.float64 not in (images.dtype, own)
    if images.dtype != own and not converted:
        raise InputError(
            f"{card.id} computes in {str(own)[6:]} and got images of {str(images.dtype)[6:]}; convert either"
        ) from error
    if _fits(module, images):
        return
    if images.ndim != 4 or images.shape[2] != images.shape[3]:
        raise InputError(f"{card.id} takes images as {takes}, not of shape {tuple(images.shape)}") from error
    if images.shape[1] != channels:
        raise InputError(
            f"{card.id} was made for images of {channels} channel{'s' * (channels != 1)} and got {images.shape[1]}; "
            f"create it with channels={images.shape[1]}, or feed it what its own input says"
        ) from error
    options = {key: value for key, value in module.options.items() if key not in ("classes", "channels")}
    fresh, side = made(card, channels=channels, options=options).eval(), images.shape[-1]
    problem = _problem(fresh, channels, side)
    if problem is not None and (refused := _refusal(problem, fresh, channels, side)):
        raise refused from error


@torch.no_grad()
def _fits(module: System, images: torch.Tensor) -> bool:
    """Whether these very weights take the shape, or nothing can be said of it."""
    try:
        _emptied(module).forward(images.to("meta"))
    except Exception as error:  # whatever the layers raise about a shape
        return isinstance(error, NotImplementedError) or bool(re.search(r"\bmeta\b", str(error)))
    return True


def _emptied(module: System) -> System:
    """A copy without numbers and without anybody's hooks; others may compute with the network meanwhile."""
    memo: dict[int, object] = {id(value): value.to("meta") for value in module.buffers()}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    copied = copy.deepcopy(module, memo)
    for part in copied.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    return copied


def sides_taken(card: Card, near: int, *, channels: int, options: Mapping[str, object]) -> str:
    """The sides that a network takes in words: ``near`` px where it takes that, else those nearest to it; or nothing.

    Example:
        >>> from mien.systems import card
        >>> sides_taken(card("compact"), 44, channels=1, options={})
        '39 to 40 px, 47 to 48 px or 55 to 56 px, among others'
        >>> sides_taken(card("compact"), 64, channels=1, options={})
        '64 px'
    """
    module = made(card, channels=channels, options=options).eval()
    return f"{near} px" if _problem(module, channels, near) is None else _taken(module, card, channels, near)


def made(card: Card, *, channels: int, options: Mapping[str, object], classes: int = 7) -> System:
    """The network to be asked about shapes and names, without numbers where it can be made without.

    One that computes with numbers while it is made, as the rates of ``drop_path`` are drawn from a line, is made with
    them and emptied afterwards.
    """
    try:
        with torch.device("meta"):
            return build(card, classes=classes, channels=channels, options=options)
    except (NotImplementedError, RuntimeError) as error:
        if "meta" not in str(error):
            raise
    with torch.random.fork_rng(devices=[]):
        return build(card, classes=classes, channels=channels, options=options).to("meta")


def _refusal(problem: Exception, module: System, channels: int, side: int) -> MienError | None:
    """What is to be said of a side at which the network failed; nothing, if it fails at every other one as well."""
    if isinstance(problem, MienError):
        return problem
    takes = _taken(module, module.card, channels, side)
    return InputError(f"{module.card.id} takes no images of {side} px; it takes {takes}") if takes else None


def _taken(module: System, card: Card, channels: int, near: int) -> str:
    def fits(side: int) -> bool:
        return _problem(module, channels, side) is None

    ranges, more = _Sides(fits).nearest(near)
    if not ranges and fits(card.input.size):  # which may be far away
        ranges = [_Sides(fits).around(card.input.size)]
    named = [_words(first, last) for first, last in sorted(ranges)]
    text = " or ".join(part for part in (", ".join(named[:-1]), *named[-1:]) if part)
    return text + (", among others" if more else "")


@dataclass
class _Sides:
    """The sides that a network takes, as far as `_TRIES` of them tell.

    Args:
        fits: tries one.

    Attributes:
        tried: side → whether it is taken.
        cut: whether the last range may be longer than the tries that were left could tell.
    """

    fits: Callable[[int], bool]
    tried: dict[int, bool] = field(default_factory=dict)
    cut: bool = False

    def nearest(self, near: int) -> tuple[list[tuple[int, int]], bool]:
        """The ranges nearest to a side, first and last of each, `_NAMED` at most; and whether there are more."""
        found: list[tuple[int, int]] = []
        for side in sorted(range(_SMALLEST, _LARGEST + 1), key=lambda side: abs(side - near)):
            if any(first <= side <= last for first, last in found) or not self._takes(side):
                continue
            if len(found) == _NAMED:
                return found, True
            found.append(self.around(side))
        return found, self.cut

    def around(self, side: int) -> tuple[int, int]:
        """First and last of those that are taken and follow each other, this side among them."""
        first = last = side
        while self._takes(first - 1):
            first -= 1
        while self._takes(last + 1):
            last += 1
            # Odd, a prime: a network that takes multiples of something takes neither.
            if last - side == _IN_A_ROW and self._takes(2 * last + 1) and self._takes(_LARGEST - 3):
                return first, _LARGEST
        self.cut = any(_SMALLEST <= end <= _LARGEST and end not in self.tried for end in (first - 1, last + 1))
        return first, last

    def _takes(self, side: int) -> bool:
        """Whether it is taken; no, where all tries are used up."""
        if side not in self.tried:
            if len(self.tried) == _TRIES or not _SMALLEST <= side <= _LARGEST:
                return False
            self.tried[side] = self.fits(side)
        return self.tried[side]


def _words(first: int, last: int) -> str:
    if first == last:
        return f"{first} px"
    return f"{first} px and more" if last == _LARGEST else f"{first} to {last} px"


@torch.no_grad()
def _problem(module: System, channels: int, side: int) -> Exception | None:
    try:
        # Shapes alone: on `meta` nothing is stored and nothing computed.
        module(torch.zeros(2, channels, side, side, device="meta"))
    except NotImplementedError:
        return None  # an operation that knows no shapes without values; it will speak for itself
    except MienError as error:
        return error
    except Exception as error:  # whatever the layers raise about a shape
        # Values that it asks for, or that it keeps outside of its weights and buffers, are none of the shape's faults.
        return None if re.search(r"\bmeta\b", str(error)) else error
    return None
