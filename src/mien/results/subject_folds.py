"""Cross-validation over subjects, for data sets whose authors publish no split.

Each face is scored by a network that saw no face of its subject: fold k is tested, fold k + 1 chooses the epoch, the
others teach. Subjects are dealt to the folds in the order of their names, once for all runs. The images cannot be
shipped, so results bring their labels and subjects with them.
"""

from __future__ import annotations

from mien.labels import LabelSet
from mien.results.protocols import Protocol


def over_subjects(name: str, title: str, label_set: LabelSet, face_set: str, folds: int) -> Protocol:
    """The protocol of such a cross-validation.

    Args:
        name: ``family/name@version``.
        title: one line for people.
        label_set: what labels and score columns mean.
        face_set: name of the data set, which has one split called ``all``.
        folds: how many the subjects are dealt to.
    """
    return Protocol(
        name=name,
        title=title,
        label_set=label_set,
        face_set=face_set,
        train_split="all",
        selection_split=None,
        test_split="all",
        sealed=False,
        answers=None,
        subject_folds=folds,
    )
