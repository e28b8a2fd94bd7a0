"""``ckplus/neutral@1``: as ``ckplus/subjects@1``, with the first frame of each labelled sequence as neutral."""

from __future__ import annotations

from mien.labels import CKPLUS
from mien.results.subject_folds import over_subjects

PROTOCOL = over_subjects(
    name="ckplus/neutral@1",
    title="CK+: neutral first frames as well, ten folds over people",
    label_set=CKPLUS,
    face_set="ckplus",
    folds=10,
)
