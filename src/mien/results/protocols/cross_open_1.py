"""``cross/open@1``: trained on another data set, measured on faces that no seal covers.

Only the expressions that both label sets know take part: other faces are left out, other scores dropped, so a
probability is one among the shared expressions. Nothing is fitted on the data. Results bring their labels with them;
``labels`` says which expressions were shared. Two results can be compared where those and the data agree.
"""

from __future__ import annotations

from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="cross/open@1",
    title="trained elsewhere, measured on a data set without a sealed test split, or on selection",
    label_set=None,
    face_set=None,
    train_split="none",
    selection_split=None,
    test_split="open",
    sealed=False,
    answers=None,
)
