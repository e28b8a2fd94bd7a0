"""What authors and re-packagers call the expressions, in folders and tables, in mien's words."""

from __future__ import annotations

from mien.labels import LabelSet

WORDS = {
    "angry": ("angry", "anger", "an"),
    "disgust": ("disgust", "disgusted", "disgusting", "di"),
    "fear": ("fear", "fearful", "afraid", "scared", "fe"),
    "happy": ("happy", "happiness", "joy", "joyful", "ha"),
    "sad": ("sad", "sadness", "sa"),
    "surprise": ("surprise", "surprised", "su"),
    "neutral": ("neutral", "neutrality", "ne"),
    "contempt": ("contempt", "contemptuous", "co"),
}
"""For each expression its names, all in lower case."""

EXPRESSIONS = {word: expression for expression, words in WORDS.items() for word in words}


def label_of(word: str, label_set: LabelSet) -> int | None:
    """The label that a folder or a table means, or None.

    Example:
        >>> from mien.labels import JAFFE
        >>> label_of("Sadness", JAFFE), label_of("contempt", JAFFE)
        (5, None)
    """
    expression = EXPRESSIONS.get(word.strip().lower())
    return label_set.labels.index(expression) if expression in label_set.labels else None
