"""``affectnet/7@1``: as ``affectnet/8@1``, without the faces labelled contempt.

The images cannot be shipped, so results bring their labels with them. The mean of the classes' recalls stands beside
overall accuracy, as the field reports both.
"""

from __future__ import annotations

from mien.labels import AFFECTNET7
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="affectnet/7@1",
    title="AffectNet: without contempt, tested on the authors' validation split",
    label_set=AFFECTNET7,
    face_set="affectnet",
    train_split="train",
    selection_split="selection",
    test_split="validation",
    sealed=True,
    answers=None,
    class_mean=True,
)
