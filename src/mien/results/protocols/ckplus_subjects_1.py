"""``ckplus/subjects@1``: the three frames at the peak of each labelled sequence of CK+, ten folds over people.

Each face is scored by a network that saw no face of its subject: fold k is tested, fold k + 1 chooses the epoch, the
others teach. Subjects are dealt to the folds in the order of their names, once for all runs. The images cannot be
shipped, so results bring their labels and subjects with them.
"""

from __future__ import annotations

from mien.labels import CKPLUS_PEAK
from mien.results.protocols import Protocol

PROTOCOL = Protocol(
    name="ckplus/subjects@1",
    title="CK+: seven expressions at their peak, ten folds over people",
    label_set=CKPLUS_PEAK,
    face_set="ckplus",
    train_split="all",
    selection_split=None,
    test_split="all",
    sealed=False,
    answers=None,
    subject_folds=10,
)
