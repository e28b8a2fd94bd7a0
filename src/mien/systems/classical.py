"""The class that systems derive from that are no neural network: they are fitted to a split, and score faces."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from mien.errors import InputError
from mien.systems.card import check_options
from mien.systems.options import check_values

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.datasets import Split
    from mien.systems.card import Card

Notify = Callable[[str, int, int], None]
"""Told (stage, done, in all) while something long runs."""


class ClassicalSystem(ABC):
    """A system that is fitted instead of trained. Subclasses read their options from ``self.options``.

    Args:
        card: of the system.
        classes: number of expressions.
        options: over the card's defaults.
    """

    scores_kind: ClassVar[str] = "margins"
    """What `scores` gives: margins, probabilities or clusters."""
    may_be_zero: ClassVar[tuple[str, ...]] = ()
    """Options that count something and say with 0 that it is left out."""

    def __init__(self, card: Card, classes: int, options: Mapping[str, Any]) -> None:
        check_options(card, options)
        left_out = {name for name in self.may_be_zero if type(options.get(name)) is int and options[name] == 0}
        check_values(card, {name: value for name, value in options.items() if name not in left_out})
        self.card, self.classes = card, classes
        self.extra_data: tuple[str, ...] = ()  # data beyond the split that went in; known after `fit`
        self.notes: dict[str, Any] = {}  # what else a run should say of the fit
        self.options: dict[str, Any] = {**card.options, **options}

    def check(self, split: Split, *scored: Split) -> None:  # noqa: B027
        """Refuse, before anything is written, a split that these options cannot be fitted to (`InputError`).

        So are splits that cannot be scored afterwards, and packages that only these options need
        (`MissingExtraError`).
        """

    @abstractmethod
    def fit(self, split: Split, *, seed: int, notify: Notify) -> None:
        """Learn from the faces of ``split``. Long stages are cached and go on after a kill."""

    @abstractmethod
    def scores(self, images: NDArray[np.uint8], *, notify: Notify) -> NDArray[np.float32]:
        """float32 (n, classes) of faces, uint8 (n, H, W) grey or (n, H, W, 3) RGB; the highest decides."""

    def scores_of(self, split: Split, *, notify: Notify) -> NDArray[np.float32]:
        """`scores` of the faces of a split; systems that need to know which rows these are override it."""
        return self.scores(split.images, notify=notify)

    @abstractmethod
    def state(self) -> dict[str, NDArray[Any]]:
        """Everything that `fit` learnt, as arrays."""

    @abstractmethod
    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `state`."""


def make(card: Card, classes: int, options: Mapping[str, Any]) -> ClassicalSystem:
    """The unfitted system of ``card``; a neural one is refused."""
    if not (isinstance(card.module, type) and issubclass(card.module, ClassicalSystem)):
        raise InputError(f"{card.id} is a network: it is trained, not fitted; call mien.train")
    return card.module(card, classes, options)


def quiet(stage: str, done: int, total: int) -> None:
    """A `Notify` that says nothing."""


def grey_faces(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (n, H, W); RGB becomes its Rec. 601 luma."""
    from mien.faces.views import resize_faces

    return resize_faces(images, images.shape[1], "grey") if images.ndim == 4 else images
