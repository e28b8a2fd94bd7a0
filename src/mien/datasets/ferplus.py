"""FER+: the faces and splits of FER2013 with the majority label of ten raters, eight expressions.

Source: Barsoum et al. 2016, "Training deep networks for facial expression recognition with crowd-sourced label
distribution", section 4. The labels are packaged facts (`mien.results.facts`), so nothing has to be imported but
FER2013 itself.
"""

from __future__ import annotations

import numpy as np

from mien.datasets.faceset import UNLABELLED, FaceSet, fingerprint
from mien.errors import DataError
from mien.labels import FERPLUS
from mien.results import facts

WITHOUT_MAJORITY = "without majority"
"""The split of the faces that take no part. Its role is ``test``, so that nobody learns from them."""


def ferplus(fer2013: FaceSet) -> FaceSet:
    """The same rows with FER+ labels; a row number means the same face in both.

    Args:
        fer2013: the official FER2013.

    Raises:
        DataError: another copy, whose rows the published votes may not be about.
    """
    if fer2013.fingerprint != facts.FER2013_FINGERPRINT:
        raise DataError(
            "the FER+ votes are about the rows of the official FER2013, and this copy differs from it; "
            "`mien data check fer2013` says how"
        )
    known = facts.load("fer2013")
    labels = np.where(known.ferplus_majority == facts.NONE, UNLABELLED, known.ferplus_majority).astype(np.uint8)
    splits = np.where(labels == UNLABELLED, 3, known.splits).astype(np.uint8)
    names = (*known.split_names, WITHOUT_MAJORITY)
    for array in (labels, splits):
        array.setflags(write=False)
    return FaceSet(
        name="ferplus",
        label_set=FERPLUS,
        split_names=names,
        roles=("train", "selection", "test", "test"),
        fingerprint=fingerprint(fer2013._images, labels, splits, FERPLUS, names),
        splits=splits,
        groups=fer2013.groups,
        _images=fer2013._images,
        _labels=labels,
        info={"format": "FER2013 with the majority label of FER+", "source": fer2013.info.get("source")},
    )
