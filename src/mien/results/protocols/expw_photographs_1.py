"""``expw/photographs@1``: ExpW, a split drawn by the names of the photographs, so that their faces stay together.

The authors publish none. The images cannot be shipped, so results bring their labels with them.
"""

from __future__ import annotations

from mien.labels import EXPW
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="expw/photographs@1",
    title="ExpW: a split drawn over photographs, 7 to 1 to 2",
    label_set=EXPW,
    face_set="expw",
    train_split="train",
    selection_split="selection",
    test_split="test",
    sealed=True,
    answers=None,
)
