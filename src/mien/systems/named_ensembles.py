"""Ensembles of the leaderboard, as lists of trained systems: Pramerdorfer's eight and the Residual Masking seven.

C. Pramerdorfer, M. Kampel, "Facial Expression Recognition using Convolutional Neural Networks: State of the Art",
arXiv 1612.02903: eight networks of three kinds, averaged, 75.2 % claimed.
L. Pham, T. H. Vu, T. A. Tran, "Facial Expression Recognition Using Residual Masking Network", ICPR 2020, and
github.com/phamquiluan/ResidualMaskingNetwork, `script/gen_ensemble.py`: seven networks, sums of softmax over eight
random rotations and mirrorings each, 76.82 % claimed.
Known: the kinds of networks; the mean without weights; for the seven, which networks, and that one of them was
pretrained on VGGFace2.
Reconstructed: that the eight are three, three and two of their kinds, told apart by their seeds.

Recipe `mien`: has no training of its own; each member is trained by its own recipe, `mien` unless its results say
another.

Deviations:
- The seven were found by switching members on and off; the published script does so on PrivateTest. Here the list is
  fixed, and `mien ensemble` chooses on PublicTest where it is asked to.
- The source has its own network twice, with and without dropout; here it is there with two seeds.
- Members are trained from FER2013's Training faces alone unless their own results say otherwise.
- Each member's probabilities are calibrated on PublicTest before they are averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from mien.errors import InputError
from mien.systems.card import Card, Paper, grey
from mien.systems.classical import ClassicalSystem, Notify
from mien.systems.papers import PRAMERDORFER, RESIDUAL_MASKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mien.datasets import Split


class NamedEnsemble(ClassicalSystem):
    """A list of members. Nothing is fitted: `mien ensemble` averages what is recorded of them.

    Args:
        members: trained systems, each as id and seed: ``pramerdorfer-vgg:0``.
    """

    scores_kind = "logits"

    def check(self, split: Split, *scored: Split) -> None:
        """Refuse a fit."""
        self._refuse()

    def fit(self, split: Split, *, seed: int, notify: Notify) -> None:
        """Refused."""
        self._refuse()

    def scores(self, images: NDArray[np.uint8], *, notify: Notify) -> NDArray[np.float32]:
        """Refused."""
        self._refuse()

    def state(self) -> dict[str, NDArray[Any]]:
        """Nothing."""
        return {}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Nothing."""

    def _refuse(self) -> NoReturn:
        raise InputError(
            f"{self.card.id} is made of trained members: train them, evaluate them, then `mien ensemble {self.card.id}`"
        )


def _card(name: str, title: str, paper: Paper, members: tuple[str, ...], view: str, extra: tuple[str, ...]) -> Card:
    return Card(
        id=name,
        title=title,
        module=NamedEnsemble,
        kind="ensemble",
        input=grey(48),
        parameters=0,
        paper=paper,
        options={"members": members},
        recipes={"mien": {"system": {}}},
        extra_data=extra,
        views=(view,),
    )


CARDS = {
    card.id: card
    for card in (
        _card(
            "pramerdorfer-eight",
            "Ensemble of 8 CNNs (Pramerdorfer)",
            PRAMERDORFER,
            (
                *(f"pramerdorfer-vgg:{seed}" for seed in range(3)),
                *(f"pramerdorfer-resnet:{seed}" for seed in range(3)),
                *(f"pramerdorfer-inception:{seed}" for seed in range(2)),
            ),
            "flip",
            (),
        ),
        _card(
            "residual-masking-seven",
            "Residual Masking Network and 6 CNNs",
            RESIDUAL_MASKING,
            (
                "resnet18:0",
                "resnet50:0",
                "resnet101:0",
                "cbam-resnet50:0",
                "efficientnet-b2:0",
                "residual-masking-network:0",
                "residual-masking-network:1",
            ),
            "rot8",
            ("ImageNet-1k", "VGGFace2"),
        ),
    )
}


def members() -> dict[str, tuple[str, ...]]:
    """The members of every named ensemble, ``system:seed``.

    Example:
        >>> len(members()["pramerdorfer-eight"])
        8
    """
    return {name: tuple(card.options["members"]) for name, card in CARDS.items()}
