"""``jaffe/subjects@1``: JAFFE, one woman left out at a time."""

from __future__ import annotations

from mien.labels import JAFFE
from mien.results.subject_folds import over_subjects

PROTOCOL = over_subjects(
    name="jaffe/subjects@1",
    title="JAFFE: each of the ten women left out once",
    label_set=JAFFE,
    face_set="jaffe",
    folds=10,
)
