"""``ferg/characters@1``: FERG-DB, one character left out at a time."""

from __future__ import annotations

from mien.labels import FERG
from mien.results.subject_folds import over_subjects

PROTOCOL = over_subjects(
    name="ferg/characters@1",
    title="FERG-DB: each of the six characters left out once",
    label_set=FERG,
    face_set="ferg",
    folds=6,
)
