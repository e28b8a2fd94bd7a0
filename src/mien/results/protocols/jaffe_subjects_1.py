"""``jaffe/subjects@1``: JAFFE, one woman left out at a time.

Each face is scored by a network that saw no face of its subject: fold k is tested, fold k + 1 chooses the epoch, the
others teach. Subjects are dealt to the folds in the order of their names, once for all runs. The images cannot be
shipped, so results bring their labels and subjects with them.
"""

from __future__ import annotations

from mien.labels import JAFFE
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="jaffe/subjects@1",
    title="JAFFE: each of the ten women left out once",
    label_set=JAFFE,
    face_set="jaffe",
    train_split="all",
    selection_split=None,
    test_split="all",
    sealed=False,
    answers=None,
    subject_folds=10,
)
