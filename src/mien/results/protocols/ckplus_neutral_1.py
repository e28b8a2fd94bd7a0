"""``ckplus/neutral@1``: as ``ckplus/subjects@1``, with the first frame of each labelled sequence as neutral.

Each face is scored by a network that saw no face of its subject: fold k is tested, fold k + 1 chooses the epoch, the
others teach. Subjects are dealt to the folds in the order of their names, once for all runs. The images cannot be
shipped, so results bring their labels and subjects with them.
"""

from __future__ import annotations

from mien.labels import CKPLUS
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="ckplus/neutral@1",
    title="CK+: neutral first frames as well, ten folds over people",
    label_set=CKPLUS,
    face_set="ckplus",
    train_split="all",
    selection_split=None,
    test_split="all",
    sealed=False,
    answers=None,
    subject_folds=10,
)
