"""``ferg/characters@1``: FERG-DB, one character left out at a time.

Each face is scored by a network that saw no face of its subject: fold k is tested, fold k + 1 chooses the epoch, the
others teach. Subjects are dealt to the folds in the order of their names, once for all runs. The images cannot be
shipped, so results bring their labels and subjects with them.
"""

from __future__ import annotations

from mien.labels import FERG
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="ferg/characters@1",
    title="FERG-DB: each of the six characters left out once",
    label_set=FERG,
    face_set="ferg",
    train_split="all",
    selection_split=None,
    test_split="all",
    sealed=False,
    answers=None,
    subject_folds=6,
)
