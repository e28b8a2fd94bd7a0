"""``ckplus/subjects@1``: the three frames at the peak of each labelled sequence of CK+, ten folds over people."""

from __future__ import annotations

from mien.labels import CKPLUS_PEAK
from mien.results.subject_folds import over_subjects

PROTOCOL = over_subjects(
    name="ckplus/subjects@1",
    title="CK+: seven expressions at their peak, ten folds over people",
    label_set=CKPLUS_PEAK,
    face_set="ckplus",
    folds=10,
)
