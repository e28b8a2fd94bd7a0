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

LABEL_SETS: Registry[LabelSet] = Registry("label set")
for _set in (FER2013, FERPLUS):
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


FERPLUS_TO_FER2013 = LabelMapping(
    FERPLUS, FER2013, {label: (None if label == "contempt" else label) for label in FERPLUS.labels}
)
