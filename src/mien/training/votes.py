"""Learning from raters' votes: what FER+ makes of ten answers per face, as targets of a training.

Source: Barsoum, Zhang, Canton Ferrer and Zhang 2016, "Training deep networks for facial expression recognition with
crowd-sourced label distribution", section 3: majority voting, multi-label learning, probabilistic label drawing and
cross-entropy loss; constants as in their public code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.datasets.ferplus import LABELS, hash_of, undecided, votes_of
from mien.datasets.ferplus_votes import Mode, targets
from mien.errors import InputError, RecipeError
from mien.labels import FERPLUS, mapping
from mien.training.optimisation import soft_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import Split
    from mien.labels import LabelSet
    from mien.training.recipe import Loss, Recipe

_TABLES: dict[str, Mode] = {
    "probability": "probability",
    "crossentropy": "probability",
    "multi-target": "multi-target",
}


@dataclass(frozen=True)
class Voted:
    """What the votes make of the faces of a training.

    Attributes:
        shares: float32 (n + m, classes), rows sum to 1: of the n faces of the training split, then of the ``images``.
        images: uint8 (m, H, W[, 3]), faces without a label that the votes make usable.
        labels: uint8 (m,), the expression with the largest share of each of those.
        hash: SHA-256 of the votes.
        extra_data: names of the votes where the labels of the training split are not theirs.
        notes: what the run notes of them.
    """

    shares: NDArray[np.float32]
    images: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    hash: str
    extra_data: tuple[str, ...]
    notes: dict[str, Any]


def voted(train: Split, recipe: Recipe, votes: NDArray[np.uint8] | None = None) -> Voted | None:
    """The targets that a recipe takes from votes, or None where it learns from labels alone.

    A face whose votes say too little keeps its label. Of FER+, the Training faces without a majority are learnt from as
    well where the mode can use them, as its authors do, if the whole split is learnt from.

    Args:
        train: the faces to learn from.
        recipe: whose ``loss.targets`` and ``loss.share`` say how.
        votes: uint8 (faces of the face set, 10), by row, columns as in FER+; those of FER+ by default.

    Raises:
        InputError: no votes are known of these faces, or votes are given that do not fit or are not asked for.
        RecipeError: stages that take their targets in different ways.
    """
    ways = {(stage.loss.targets, stage.loss.share) for stage in recipe.staged}
    if len(ways) > 1:
        raise RecipeError("all stages learn from the same targets; set loss.targets and loss.share at the top")
    ((mode, share),) = ways
    if mode == "majority":
        if votes is not None:
            raise InputError("votes are given, and the recipe learns from labels; --set loss.targets=probability")
        return None
    face_set, own = train.face_set, votes is not None
    found = votes_of(face_set) if votes is None else np.asarray(votes)
    if found.dtype != np.uint8 or found.shape != (len(face_set), len(FERPLUS) + 2):
        raise InputError(
            f"votes are uint8 ({len(face_set)}, {len(FERPLUS) + 2}), one row per face of the whole face set, not "
            f"{found.dtype} {found.shape}"
        )
    labels = functional.one_hot(torch.from_numpy(np.array(train.labels)).long(), len(train.label_set)).numpy()
    shares = _in_labels(targets(found[train.rows], _TABLES[mode]), train.label_set)
    usable = shares.any(axis=1, keepdims=True)
    shares = np.where(usable, share * shares + (1 - share) * labels, labels).astype(np.float32)
    rows, images = np.zeros(0, np.int64), train.images[:0]
    if not own and face_set.name == "ferplus" and np.array_equal(train.rows, face_set.train.rows):
        rows, images = undecided(face_set)
    more = _in_labels(targets(found[rows], _TABLES[mode]), train.label_set)
    images, more = images[more.any(axis=1)], more[more.any(axis=1)]
    name = "raters' votes" if own else LABELS
    return Voted(
        shares=np.concatenate([shares, more]),
        images=images,
        labels=more.argmax(axis=1).astype(np.uint8),
        hash=hash_of(found),
        extra_data=() if face_set.name == "ferplus" and not own else (name,),
        notes={
            "votes": {
                "name": name,
                "sha256": hash_of(found),
                "faces_with_votes": int(usable.sum()) + len(images),
                "faces_by_label": int((~usable).sum()),
                "faces_without_label": len(images),
            }
        },
    )


def _in_labels(shares: NDArray[np.float32], label_set: LabelSet) -> NDArray[np.float32]:
    """FER+ shares in another label set; zeros where half of them or more are of an expression it does not know."""
    out = np.zeros((len(shares), len(label_set)), np.float32)
    for source, to in enumerate(mapping(FERPLUS, label_set).ids()):
        if to is not None:
            out[:, to] = shares[:, source]
    totals = out.sum(axis=1, keepdims=True)
    told = totals > 0.5
    return np.where(told, out / np.where(told, totals, 1), 0).astype(np.float32)


def vote_targets(shares: Tensor, loss: Loss, generator: torch.Generator) -> Tensor:
    """The targets of one epoch.

    Args:
        shares: float (N, classes), rows sum to 1.
        loss: the recipe's.
        generator: draws the expressions of the mode ``probability``; on the CPU.

    Returns:
        float (N, classes), rows sum to 1: for ``probability`` one expression each, drawn anew; for ``crossentropy`` the
        shares; for ``multi-target`` equal shares of all that are allowed.

    Example:
        >>> from mien.training.recipe import Loss
        >>> shares = torch.tensor([[0.7, 0.3, 0.0]])
        >>> vote_targets(shares, Loss(targets="multi-target"), torch.Generator())
        tensor([[0.5000, 0.5000, 0.0000]])
    """
    classes = shares.shape[1]
    if loss.targets == "probability":
        drawn = torch.multinomial(shares.cpu(), 1, generator=generator)[:, 0].to(shares.device)
        return soft_targets(drawn, classes, loss.smoothing)
    if loss.targets == "multi-target":
        allowed = (shares > 0).float()
        return allowed / allowed.sum(1, keepdim=True)
    off = loss.smoothing / (classes - 1)
    return shares * (1 - loss.smoothing - off) + off
