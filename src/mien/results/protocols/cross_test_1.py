"""``cross/test@1``: trained on another data set, measured on the sealed test split of this one.

What takes part is decided as under ``cross/open@1``.
"""

from __future__ import annotations

from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="cross/test@1",
    title="trained elsewhere, measured on the sealed test split of a data set",
    label_set=None,
    face_set=None,
    train_split="none",
    selection_split=None,
    test_split="test",
    sealed=True,
    answers=None,
)
