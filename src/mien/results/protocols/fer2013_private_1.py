"""``fer2013/private@1``: train on Training, choose on PublicTest, test on PrivateTest. The protocol of the board."""

from __future__ import annotations

from mien.labels import FER2013
from mien.results import facts
from mien.results.protocols import Answers, Protocol


def _answers() -> tuple[Answers, Answers]:
    known = facts.load("fer2013")
    selection, test = known.rows("PublicTest"), known.rows("PrivateTest")
    return (
        Answers(
            split="PublicTest",
            rows=selection,
            labels=known.labels[selection],
            groups=known.groups[selection],
            # A network knows its training faces by heart: what is fitted on them would be too sure of itself.
            fit=~known.has_copy_in("Training")[selection],
        ),
        Answers(
            split="PrivateTest",
            rows=test,
            labels=known.labels[test],
            groups=known.groups[test],
            fit=~known.has_copy_in("Training")[test],
            slices={
                "clean@1": ~known.has_copy_in("Training", "PublicTest")[test],
                "ferplus-clear@1": known.ferplus_clear[test],
            },
            shown_slices={"clean@2": ~known.has_photograph_in("Training", "PublicTest")[test]},
        ),
    )


PROTOCOL = Protocol(
    name="fer2013/private@1",
    title="FER2013: trained on Training, chosen on PublicTest, tested on PrivateTest",
    label_set=FER2013,
    face_set="fer2013",
    train_split="Training",
    selection_split="PublicTest",
    test_split="PrivateTest",
    sealed=True,
    answers=_answers,
    data_fingerprint=facts.FER2013_FINGERPRINT,
)
