"""``own/test@1``: your own data (or drawn faces): the same measures, with labels that travel inside the result.

Such a result proves that its numbers follow from its predictions and its own labels, no more. It is never ranked and
has no place in the recorded results of the project.
"""

from __future__ import annotations

from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="own/test@1",
    title="your own data: train, selection and test as its files say",
    label_set=None,
    face_set=None,
    train_split="train",
    selection_split="selection",
    test_split="test",
    sealed=True,
    answers=None,
)
