"""``ferplus/majority@1``: the FER+ labels of the same faces, by the majority rule of that project (eight expressions).

Faces without a majority, or whose majority is "unknown" or "not a face", take no part: 25,060 / 3,199 / 3,153 remain.
Source: Barsoum et al. 2016, "Training deep networks for facial expression recognition with crowd-sourced label
distribution", section 4, and its public code.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien.labels import FERPLUS
from mien.results import facts
from mien.results.protocols import Answers, Protocol


def _answers() -> tuple[Answers, Answers]:
    known = facts.load("fer2013")

    def labelled(split: str) -> NDArray[np.int64]:
        rows = known.rows(split)
        with_label: NDArray[np.int64] = rows[known.ferplus_majority[rows] != facts.NONE]
        return with_label

    selection, test = labelled("PublicTest"), labelled("PrivateTest")
    return (
        Answers(
            split="PublicTest",
            rows=selection,
            labels=known.ferplus_majority[selection],
            groups=known.groups[selection],
            fit=~known.has_copy_in("Training")[selection],
        ),
        Answers(
            split="PrivateTest",
            rows=test,
            labels=known.ferplus_majority[test],
            groups=known.groups[test],
            fit=~known.has_copy_in("Training")[test],
            slices={"clean@1": ~known.has_copy_in("Training", "PublicTest")[test]},
            shown_slices={"clean@2": ~known.has_photograph_in("Training", "PublicTest")[test]},
        ),
    )


PROTOCOL = Protocol(
    name="ferplus/majority@1",
    title="FER+: majority label of ten raters, eight expressions, splits of FER2013",
    label_set=FERPLUS,
    face_set="ferplus",
    train_split="Training",
    selection_split="PublicTest",
    test_split="PrivateTest",
    sealed=True,
    answers=_answers,
    data_fingerprint=facts.FERPLUS_FINGERPRINT,
)
