"""What a training shows: its faces by batches, varied and mixed, and their targets; a teacher is asked on the way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mien.training.distillation import Distilled
from mien.training.optimisation import soft_targets
from mien.training.pipeline.sampling import epoch_rows
from mien.training.pipeline.streaming import StreamedFaces, faces_of
from mien.training.pipeline.variants import Varied
from mien.training.votes import vote_targets
from mien.training.weights import load_tensors, save_tensors

if TYPE_CHECKING:
    from mien.datasets import Split
    from mien.systems.base import Criterion
    from mien.training.compute.parallel import Together
    from mien.training.given import Given
    from mien.training.pipeline.augmentation import Amount, Share
    from mien.training.recipe import Recipe
    from mien.training.run import Run


class Batches:
    """The faces of a training and what becomes of them, stage by stage. `begin_stage` comes first.

    Args:
        run: its folder, where a teacher's answers lie meanwhile, and its recipe.
        given: the teacher, extra images and votes.
        train: faces to learn from.
        together: the part of this process, whose network is told of images before they are mixed.

    Attributes:
        labels: int64 (N,), on the device; of all faces.
        count: batches of an epoch.
        in_memory: whether all faces are on the device.
    """

    def __init__(self, run: Run, given: Given, train: Split, together: Together) -> None:
        self.folder, self.teacher, self.together = run.folder, given.teacher, together
        self.device, self.classes = together.fabric.device, len(train.label_set)
        self._plain_faces, labels = given.faces(train)
        self._faces = faces_of(self._plain_faces, run.recipe.input, self.device)
        self.labels = torch.from_numpy(labels).long().to(self.device)
        shares = given.shares(labels, self.classes)
        self._shares = None if shares is None else shares.to(self.device)
        self._answers: dict[float, Tensor] = {}
        self.in_memory = not isinstance(self._faces, StreamedFaces)

    def begin_stage(self, recipe: Recipe, criterion: Criterion) -> None:
        """Show faces as a stage wants it.

        Args:
            recipe: of the stage.
            criterion: its loss; `made` tells a distilled one what the teacher says.

        Raises:
            InputError: batches of which a process would get too few faces.
        """
        self.recipe, self.criterion = recipe, criterion
        self._targets = soft_targets(self.labels, self.classes, recipe.loss.smoothing)
        shown = len(epoch_rows(self.labels, recipe.sampling, torch.Generator().manual_seed(0)))
        self.count = math.ceil(shown / recipe.batch_size)
        self.together.check_batches(shown, self.count)

    def drawn(self, order: int, votes: int) -> list[Tensor]:
        """The rows of each batch of an epoch, int64 (n,) each, on the device.

        Args:
            order: seed of the order.
            votes: seed of the targets that are drawn from votes.
        """
        rows = epoch_rows(self.labels, self.recipe.sampling, torch.Generator().manual_seed(order))
        if self._shares is not None:
            # Into the same memory: a recorded step goes on reading there.
            drawn = vote_targets(self._shares, self.recipe.loss, torch.Generator().manual_seed(votes))
            self._targets.copy_(drawn)
        # Batches of nearly equal size: no face is left out and no batch is too small for its statistics.
        return list(rows.tensor_split(self.count))

    def plan(self, batches: Sequence[Tensor]) -> None:
        """Told the batches to come, in order: faces that are not in memory are read ahead."""
        shares = [self.together.share(rows) for rows in batches]
        own = zip(batches, shares, strict=True)
        self._faces.plan([rows if share is None else rows[share.rows] for rows, share in own])

    @torch.no_grad()
    def made(
        self, rows: Tensor, share: Share | None, generator: torch.Generator, amount: Amount | None
    ) -> tuple[Tensor, Tensor]:
        """Augmented and mixed faces and their targets.

        Args:
            rows: of the whole batch.
            share: this process's part of it; None for all of it.
            generator: draws variants and partners, on the device.
            amount: how much of the batch is mixed; None for nothing.

        Returns:
            Float (crops · n, channels, S, S), normalised, and probabilities (crops · n, classes).
        """
        recipe, distilled = self.recipe, isinstance(self.criterion, Distilled)
        varied = Varied(self._faces, rows, recipe, generator, share)
        images = varied.images
        targets = self._targets[rows]
        asked_before = distilled and recipe.distill.targets == "face"
        if asked_before:  # its answers are mixed as the faces are
            targets = torch.cat([targets, self._plain_answers(recipe.distill.temperature)[rows]], 1)
        targets = targets.repeat(varied.crops, 1)
        if amount is not None:
            with self.together.fabric.autocast():
                self.together.module.before_mixing(images)
        images, targets = varied.mixed(targets, amount)
        if recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if distilled:
            assert isinstance(self.criterion, Distilled)
            assert self.teacher is not None
            if asked_before:
                targets, self.criterion.soft = targets[:, : self.classes], targets[:, self.classes :]
            else:
                with self.together.fabric.autocast():
                    soft = self.teacher.on_views(images, recipe.input, recipe.distill.temperature)
                self.criterion.soft = soft
        return images, targets

    def _plain_answers(self, temperature: float) -> Tensor:
        """The teacher's answers about the plain faces, asked once and kept beside the checkpoint."""
        if temperature not in self._answers:
            assert self.teacher is not None
            processes = self.together.processes
            path = self.folder / f"teacher-{temperature:g}.safetensors"
            if not processes.on_first(path.exists):
                # As they are: a teacher may take larger faces than the student.
                plain = np.concatenate(self._plain_faces) if len(self._plain_faces) > 1 else self._plain_faces[0]
                answers = self.teacher.on_faces(plain, temperature, processes)
                if processes.first:
                    save_tensors(path, {"answers": answers}, {"teacher": self.teacher.hash})
            told = processes.on_first(lambda: load_tensors(path)[0]["answers"])
            self._answers[temperature] = told.to(self.device)
        return self._answers[temperature]
