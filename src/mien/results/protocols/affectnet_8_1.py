"""``affectnet/8@1``: AffectNet, eight expressions; a fiftieth of train chooses, the validation split is the test.

The authors hand out no other test split. The images cannot be shipped, so results bring their labels with them. The
mean of the classes' recalls stands beside overall accuracy, as the field reports both.
"""

from __future__ import annotations

from mien.labels import AFFECTNET
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="affectnet/8@1",
    title="AffectNet: eight expressions, tested on the authors' validation split",
    label_set=AFFECTNET,
    face_set="affectnet",
    train_split="train",
    selection_split="selection",
    test_split="validation",
    sealed=True,
    answers=None,
    class_mean=True,
)
