"""Label sets are objects, and mappings between them are total: orders never disagree silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mien.errors import InputError
from mien.registry import Registry, suggestion


@dataclass(frozen=True)
class LabelSet:
    """An ordered set of expressions; the id of a label is its position.

    Example:
        >>> FER2013.id("happy"), FER2013[0], len(FER2013)
        (3, 'angry', 7)
    """

    name: str
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError(f"label set {self.name!r} names a label twice")

    def id(self, label: str) -> int:
        """The id of ``label``; an unknown one raises `InputError` with the nearest names."""
        try:
            return self.labels.index(label)
        except ValueError:
            raise InputError(f"{label!r} is no label of {self.name!r}; {suggestion(label, self.labels)}") from None

    def __getitem__(self, index: int) -> str:
        return self.labels[index]

    def __len__(self) -> int:
        return len(self.labels)


FER2013 = LabelSet("fer2013", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
"""The seven expressions of FER2013 in the ids of its csv (0–6)."""

FERPLUS = LabelSet("ferplus", ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt"))
"""The eight expressions of FER+ in the column order of its vote file."""

CKPLUS = LabelSet("ckplus", ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"))
"""CK+ in the ids of its Emotion files (0–7); neutral is the first frame of each sequence."""

CKPLUS_PEAK = LabelSet("ckplus-peak", ("angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"))
"""CK+ without neutral: the frames at the peak, all that the re-packaging "CK+48" holds; its folders' order."""

JAFFE = LabelSet("jaffe", ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"))
"""JAFFE in the order of the letters in its file names: AN, DI, FE, HA, NE, SA, SU."""

FERG = LabelSet("ferg", ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"))
"""FERG-DB in the order of its folders: anger, disgust, fear, joy, neutral, sadness, surprise."""

RAFDB = LabelSet("rafdb", ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral"))
"""RAF-DB (basic) in the ids of its list, which counts from 1."""

AFFECTNET = LabelSet("affectnet", ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt"))
"""AffectNet in the ids of its tables (0–7)."""

AFFECTNET7 = LabelSet("affectnet7", AFFECTNET.labels[:7])
"""AffectNet without contempt."""

EXPW = LabelSet("expw", ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"))
"""ExpW in the ids of its list (0–6)."""

LABEL_SETS: Registry[LabelSet] = Registry("label set")
for _set in (FER2013, FERPLUS, CKPLUS, CKPLUS_PEAK, JAFFE, FERG, RAFDB, AFFECTNET, AFFECTNET7, EXPW):
    LABEL_SETS.add(_set.name, _set)


@dataclass(frozen=True)
class LabelMapping:
    """A total mapping between two label sets; ``None`` says that a label has no counterpart.

    Raises:
        ValueError: if a source label is not mentioned or a target label does not exist.
    """

    source: LabelSet
    target: LabelSet
    pairs: Mapping[str, str | None]

    def __post_init__(self) -> None:
        missing = set(self.source.labels) ^ set(self.pairs)
        if missing:
            raise ValueError(f"mapping {self.source.name} → {self.target.name} is not total: {sorted(missing)}")
        for label in self.pairs.values():
            if label is not None:
                self.target.id(label)

    def ids(self) -> tuple[int | None, ...]:
        """For each source id the target id, or None."""
        return tuple(None if (to := self.pairs[label]) is None else self.target.id(to) for label in self.source.labels)


def mapping(source: LabelSet, target: LabelSet) -> LabelMapping:
    """The mapping between two label sets: expressions of one name are one expression, any other has no counterpart.

    What authors call an expression ("joy", "AN", 5) is translated where their files are read, so that label sets
    hold nothing but mien's words.

    Example:
        >>> mapping(FERPLUS, FER2013).pairs["contempt"] is None, mapping(RAFDB, FER2013).ids()
        (True, (5, 2, 1, 3, 4, 0, 6))
    """
    return LabelMapping(source, target, {label: label if label in target.labels else None for label in source.labels})


def shared(source: LabelSet, target: LabelSet) -> LabelSet:
    """The expressions that both sets know, in the order of ``source``.

    Raises:
        InputError: there are fewer than two, and nothing can be told apart.

    Example:
        >>> shared(FER2013, CKPLUS_PEAK).labels
        ('angry', 'disgust', 'fear', 'happy', 'sad', 'surprise')
    """
    labels = tuple(label for label in source.labels if label in target.labels)
    if len(labels) < 2:
        raise InputError(
            f"{source.name!r} and {target.name!r} share {labels or 'no label'}; two labels or more can be told apart"
        )
    return LabelSet(source.name if labels == source.labels else f"{source.name}&{target.name}", labels)


FERPLUS_TO_FER2013 = mapping(FERPLUS, FER2013)
