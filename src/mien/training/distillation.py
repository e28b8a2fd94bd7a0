"""Distillation: a teacher's softened answers beside the labels (Hinton, Vinyals & Dean 2015, section 2).

It is a term of the one training loss, α · T² · KL(teacher ‖ student) + (1 − α) · loss, at the place where a system
asks for the recipe's loss; the loop, its checkpoints and its schedules know nothing else of it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mien.bundle import Bundle, InputSpec
from mien.errors import InputError, RunError
from mien.evaluation.processes import Processes
from mien.evaluation.scorers import score, torch_logits
from mien.evaluation.subjects import subject_of
from mien.systems.base import Criterion
from mien.training.run import Run
from mien.training.trained import open_trained

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.labels import LabelSet
    from mien.training.settings import Distill


class Distilled:
    """The recipe's loss with the teacher's term. Set ``soft`` to the teacher's probabilities before each step.

    Args:
        criterion: the recipe's loss.
        recipe: share and temperature.
    """

    def __init__(self, criterion: Criterion, recipe: Distill) -> None:
        self.criterion, self.weight, self.temperature = criterion, recipe.weight, recipe.temperature
        self.soft: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Float (N, C) logits and target probabilities → scalar."""
        assert self.soft is not None, "the loop sets the teacher's answers before each step"
        logs = functional.log_softmax(logits.float() / self.temperature, 1)
        apart = functional.kl_div(logs, self.soft, reduction="batchmean")
        return self.weight * self.temperature**2 * apart + (1 - self.weight) * self.criterion(logits, targets)


class Teacher:
    """One or several trained networks; several answer with the mean of their probabilities.

    Args:
        sources: runs, bundles, or paths of either.
        device: where runs compute; bundles run on the CPU.

    Raises:
        InputError: a file that is neither.
        RunError: an unfinished run.
    """

    def __init__(self, sources: Any, device: str = "cpu") -> None:
        if not isinstance(sources, (list, tuple)):
            sources = [sources]
        if not sources:
            raise InputError("distillation needs a teacher: a run folder or a bundle")
        self.sources = [_opened(source) for source in sources]
        self._members: list[_Member] = []
        self._device = device

    @property
    def hash(self) -> str:
        """SHA-256 (hex) of the teacher's weights; of the hashes of all where there are several."""
        hashes = [_weights(source) for source in self.sources]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()

    def check_labels(self, label_set: LabelSet) -> None:
        """Refuse a teacher that tells other expressions, or the same in another order (`InputError`)."""
        for source in self.sources:
            theirs = source.label_set if isinstance(source, Run) else source.card.labelset()
            if theirs.labels != label_set.labels:
                raise InputError(
                    f"the teacher {_name(source)} tells {', '.join(theirs.labels)}; the student learns "
                    f"{', '.join(label_set.labels)}. Give a teacher of the same labels in the same order"
                )

    def info(self) -> list[dict[str, str]]:
        """What a run notes of it."""
        return [{"name": _name(source), "weights_sha256": _weights(source)} for source in self.sources]

    def on_faces(self, images: NDArray[np.uint8], temperature: float, processes: Processes | None = None) -> Tensor:
        """Softened answers about plain faces.

        Args:
            images: uint8 (N, H, W) grey or (N, H, W, 3) RGB.
            temperature: T.
            processes: those that share the faces; by default this one alone.

        Returns:
            float32 (N, C) probabilities on the CPU.
        """
        return _mean(
            torch.from_numpy(score(images, member.input, member.scorer, "one", processes=processes)) / temperature
            for member in self._ready()
        )

    def on_views(self, images: Tensor, spec: InputSpec, temperature: float) -> Tensor:
        """Softened answers about what the student is fed.

        Args:
            images: float (N, channels, S, S), normalised for the student.
            spec: what the student takes.
            temperature: T.

        Returns:
            float32 (N, C) probabilities on the device of ``images``.
        """
        return _mean(
            member.logits(as_fed(images, spec, member.input)).float() / temperature for member in self._ready()
        )

    def _ready(self) -> Sequence[_Member]:
        if not self._members:
            self._members = [_Member(source, self._device) for source in self.sources]
        return self._members


def as_fed(images: Tensor, ours: InputSpec, theirs: InputSpec) -> Tensor:
    """Faces as one network is fed, for another: its grey values, its channels, its size at its scale.

    Args:
        images: float (N, channels, S, S), normalised by ``ours``.
        ours: what they were made for.
        theirs: what they shall be made for.

    Returns:
        float (N, channels, size, size), normalised by ``theirs``. Where their window of the face is larger, the
        border is repeated.
    """
    if ours == theirs:
        return images
    raw = images * _column(ours.std, images) + _column(ours.mean, images)
    if ours.colour == "rgb" and theirs.colour == "grey":
        raw = (raw * _column((0.299, 0.587, 0.114), raw)).sum(1, keepdim=True)
    if raw.shape[1] != theirs.channels:
        raw = raw[:, :1].expand(-1, theirs.channels, -1, -1)
    # The same number of pixels per face first, then the middle of it.
    side = max(1, round(ours.size / ours.face_size * theirs.face_size))
    if side != raw.shape[-1]:
        raw = functional.interpolate(raw, (side, side), mode="bilinear", align_corners=False, antialias=True)
    missing = theirs.size - side
    if missing > 0:
        raw = functional.pad(raw, (missing // 2, missing - missing // 2) * 2, mode="replicate")
    elif missing < 0:
        start = -missing // 2
        raw = raw[:, :, start : start + theirs.size, start : start + theirs.size]
    return (raw - _column(theirs.mean, raw)) / _column(theirs.std, raw)


class _Member:
    """One network of a teacher, ready to answer."""

    def __init__(self, source: Run | Bundle, device: str) -> None:
        self.logits: Callable[[Tensor], Tensor] = self._through_numpy
        if isinstance(source, Run):
            self.logits = source.module(device)
            self.input, self.scorer = source.recipe.input, torch_logits(self.logits)
        else:
            subject = subject_of(source)
            self.input, self.scorer = subject.input, subject.logits

    def _through_numpy(self, images: Tensor) -> Tensor:
        return torch.from_numpy(self.scorer(images.float().cpu().numpy())).to(images.device)


def _opened(source: Any) -> Run | Bundle:
    if isinstance(source, (str, Path)):
        source = open_trained(source)
    if isinstance(source, Run) and not source.finished:
        raise RunError(f"{source.folder} is unfinished ({source.state}); finish it with --resume first")
    if not isinstance(source, (Run, Bundle)):
        raise InputError(f"{source!r:.80} cannot teach; give a run folder or a bundle (.onnx)")
    return source


def _weights(source: Run | Bundle) -> str:
    return str(source.info["weights_sha256"]) if isinstance(source, Run) else source.card.sha256


def _name(source: Run | Bundle) -> str:
    return source.folder.name if isinstance(source, Run) else source.card.name


def _mean(logits: Any) -> Tensor:
    return torch.stack([functional.softmax(each, 1) for each in logits]).mean(0)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return _constant(tuple(values), like.device, like.dtype)[None, :, None, None]


@functools.cache
def _constant(values: tuple[float, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Once per device: to copy numbers there waits for it, which a step that is recorded must not, and a record reads
    the very same tensor for ever.
    """
    return torch.tensor(values, device=device, dtype=dtype)
