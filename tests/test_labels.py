from __future__ import annotations

import pytest

from mien.errors import InputError
from mien.labels import FER2013, FERPLUS, FERPLUS_TO_FER2013, LABEL_SETS, LabelMapping, LabelSet


def test_the_order_of_fer2013_is_that_of_its_csv() -> None:
    assert FER2013.labels == ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
    assert [FER2013.id(label) for label in FER2013.labels] == list(range(7))
    assert LABEL_SETS["fer2013"] is FER2013


def test_mappings_are_total() -> None:
    assert len(FERPLUS_TO_FER2013.ids()) == len(FERPLUS)
    for source, target in enumerate(FERPLUS_TO_FER2013.ids()):
        assert FERPLUS[source] == ("contempt" if target is None else FER2013[target])
    with pytest.raises(ValueError, match=r"not total: \['high'\]"):
        LabelMapping(LabelSet("a", ("low", "high")), FER2013, {"low": "sad"})
    with pytest.raises(ValueError, match=r"not total: \['middle'\]"):
        LabelMapping(LabelSet("a", ("low",)), FER2013, {"low": "sad", "middle": "neutral"})
    with pytest.raises(InputError, match="did you mean 'sad'"):
        LabelMapping(LabelSet("a", ("low",)), FER2013, {"low": "sadd"})


def test_labels_are_found_or_suggested() -> None:
    with pytest.raises(InputError, match="did you mean 'happy'"):
        FER2013.id("hapy")
    with pytest.raises(ValueError, match="names a label twice"):
        LabelSet("twice", ("a", "b", "a"))
