"""``rafdb/basic@1``: train and test of RAF-DB's authors; a tenth of train, drawn by file name, chooses.

The images cannot be shipped, so results bring their labels with them. The mean of the classes' recalls stands beside
overall accuracy, as the field reports both.
"""

from __future__ import annotations

from mien.labels import RAFDB
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="rafdb/basic@1",
    title="RAF-DB: the authors' train and test, a tenth of train to choose on",
    label_set=RAFDB,
    face_set="rafdb",
    train_split="train",
    selection_split="selection",
    test_split="test",
    sealed=True,
    answers=None,
    class_mean=True,
)
