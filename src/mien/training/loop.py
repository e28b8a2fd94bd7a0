"""The training loop. Every epoch is a pure function of the weights before it, the recipe, the seed and its number.

That is what makes a killed run continue to the very same weights: nothing but the checkpoint of the last finished
epoch has to be kept, and all randomness of an epoch is drawn from generators seeded with (seed, epoch). The same holds
for stages: which one comes next, and with which weights, is read off the log and the checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mien import systems
from mien.errors import InputError, RunError
from mien.evaluation.environment import environment
from mien.evaluation.scorers import score, torch_logits
from mien.faces.views import resize_faces
from mien.results import metrics
from mien.store import write_text
from mien.systems.base import System, count_macs, count_parameters
from mien.training.activations import Recomputed
from mien.training.augmentation import augment, mix
from mien.training.checkpoints import Checkpoint, optimizer_tensors, restore_optimizer
from mien.training.distillation import Distilled
from mien.training.optimisation import MovingAverage, learning_rate, make_criterion, make_optimizer, soft_targets
from mien.training.quiet import quietly
from mien.training.run import Run
from mien.training.sampling import epoch_rows
from mien.training.trainable import Trainable
from mien.training.weights import hash_weights, load_strictly, load_tensors, save_tensors

if TYPE_CHECKING:
    from lightning.fabric import Fabric
    from numpy.typing import NDArray

    from mien.bundle import InputSpec
    from mien.datasets import Split
    from mien.training.given import Given


IN_MEMORY = 4 << 30
"""Bytes of training faces that are copied into memory; more are read from their file batch by batch."""


@dataclass(frozen=True)
class Progress:
    """What a caller is told while a training runs.

    Attributes:
        epoch: number of the current epoch, from 0.
        epochs: planned epochs.
        step: steps done in this epoch.
        steps: steps per epoch.
        entry: the epoch's log entry when it has just ended, otherwise None.
        stage: what a fit without epochs is doing; steps are those of this stage.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    entry: Mapping[str, Any] | None = None
    stage: str = ""


def fabric_of(device: str, precision: str) -> Fabric:
    """Device and precision of a training, as Fabric drives them; `InputError` for a device that is not there."""
    from lightning.fabric import Fabric

    with quietly("lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
        try:
            name = "bf16-mixed" if precision == "bf16" else "32-true"
            return Fabric(accelerator=device, devices=1, precision=name)  # type: ignore[arg-type]
        except (ValueError, RuntimeError) as error:
            raise InputError(f"no training on device {device!r}: {str(error).splitlines()[0]}") from None


class Loop:
    """The state of one training between its epochs.

    Args:
        run: its folder and recipe.
        given: what it starts from and what it learns from besides the training split.
        train: faces to learn from.
        selection: faces to choose the epoch on.
        device: as Fabric's accelerators.
        on_progress: called after each step and each epoch.
    """

    def __init__(
        self,
        run: Run,
        given: Given,
        train: Split,
        selection: Split,
        device: str,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.run, self.teacher, self.selection = run, given.teacher, selection
        self.stages = run.recipe.staged
        self.classes = len(train.label_set)
        self.notify = on_progress or (lambda progress: None)
        self.fabric = fabric_of(device, run.recipe.precision)
        self.device = self.fabric.device
        if run.recipe.compile and self.device.type == "cpu" and not _has_compiler():
            raise RunError(
                "the recipe compiles the network, which needs a C++ compiler on the CPU, and none was found; install "
                "g++ or clang++, or add --set compile=false (slower, equal but for rounding)"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            module = systems.create(
                run.system, classes=self.classes, channels=run.recipe.input.channels, **run.recipe.system
            )
        if given.published is not None:
            module.load_pretrained(given.published)
        if given.state is not None:
            load_strictly(module, given.state, str(given.notes["start"]["name"]))
        self.module: System = module.to(self.device)
        if run.recipe.channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.trainable = Trainable(self.module)
        self.recomputed = Recomputed([])
        self.plain_faces = [train.images, *([given.extra.images] if given.extra is not None else [])]
        images, labels = _at_most(train.images, run.recipe.input), np.array(train.labels)
        if given.extra is not None:
            images = np.concatenate([images, _at_most(given.extra.images, run.recipe.input)])
            labels = np.concatenate([labels, given.extra.labels])
        self.faces = _tensor(images).to(self.device)
        self.labels = torch.from_numpy(labels).long().to(self.device)
        self.plain_answers: dict[float, Tensor] = {}
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self._resume()

    def run_to_end(self) -> Run:
        """All epochs that are left, then the outcome."""
        while True:
            while not self._done():
                entry = self._epoch(len(self.log))
                self.log.append(entry)
                if self._best_epoch() == len(self.log) - 1:
                    self.best = {name: value.detach().clone() for name, value in self._evaluated().state_dict().items()}
                self._save()
                self.notify(Progress(entry["epoch"], self.run.recipe.planned_epochs, self.steps, self.steps, entry))
            if self.number + 1 == len(self.stages):
                return self._finish()
            load_strictly(self.module, self.best, f"the stage {self.recipe.name}")
            self._enter(self.number + 1)

    def _enter(self, number: int) -> None:
        """Begin a stage with the weights as they are."""
        self.number, self.recipe = number, self.stages[number]
        recipe, name = self.recipe, self.recipe.name
        # A resumed stage began where its first entry stands.
        self.first = next((i for i, entry in enumerate(self.log) if entry.get("stage") == name), len(self.log))
        if not self.run.recipe.stages:
            self.first = 0
        self.recomputed.restore()
        if self.run.recipe.stages:
            self.module.begin_stage(name)
        self.trainable.choose(recipe.trainable)
        self.average = MovingAverage(self.module, recipe.ema) if recipe.ema else None
        if recipe.checkpoint_activations:
            self.recomputed = Recomputed(self.module.recomputable())
        self.optimizer = make_optimizer(self.module, recipe.optim)
        self.criterion = make_criterion(recipe.loss, self.labels, self.classes)
        if recipe.distill.weight:
            self.criterion = Distilled(self.criterion, recipe.distill)
        self.targets = soft_targets(self.labels, self.classes, recipe.loss.smoothing)
        shown = len(epoch_rows(self.labels, recipe.sampling, torch.Generator().manual_seed(0)))
        self.steps = math.ceil(shown / recipe.batch_size)
        self.forward = torch.compile(self.module.loss, dynamic=False) if recipe.compile else self.module.loss
        self.best = {}

    def _done(self) -> bool:
        figures = self._figures()
        if len(figures) >= self.recipe.epochs:
            return True
        stale = len(figures) - 1 - _highest(figures) if figures else 0
        return bool(self.recipe.early_stop) and stale >= self.recipe.early_stop

    def _best_epoch(self) -> int:
        """The epoch of this stage that is kept."""
        return len(self.log) - 1 if self.recipe.keep == "last" else self.first + _highest(self._figures())

    def _figures(self) -> list[float]:
        """What is monitored, the higher the better, after each epoch of this stage."""
        if self.recipe.monitor == "loss":
            return [-entry["selection_nll"] for entry in self.log[self.first :]]
        return [entry["selection_accuracy"] for entry in self.log[self.first :]]

    def _evaluated(self) -> System:
        return self.average.module if self.average else self.module  # type: ignore[return-value]

    def _epoch(self, epoch: int) -> dict[str, Any]:
        started = time.perf_counter()
        words = np.random.SeedSequence([self.run.seed, epoch]).generate_state(4)
        order_generator = torch.Generator().manual_seed(int(words[0]))
        generator = torch.Generator(self.device).manual_seed(int(words[1]))
        draw = random.Random(int(words[2]))
        order = epoch_rows(self.labels, self.recipe.sampling, order_generator)
        history = self._figures()
        total = torch.zeros((), device=self.device)
        rate = 0.0
        self.trainable.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(words[3]))  # dropout and the like draw from the global generator
            # Batches of nearly equal size: no face is left out and no batch is too small for its statistics.
            for step, rows in enumerate(order.tensor_split(self.steps)):
                done = (epoch - self.first) * self.steps + step
                now = done / self.steps
                factor = learning_rate(self.recipe.schedule, now, self.recipe.epochs, history, self.steps)
                rate = self.recipe.optim.lr * factor
                total += self._step(rows, rate, done, generator, draw) * len(rows)
                self.notify(Progress(epoch, self.run.recipe.planned_epochs, step + 1, self.steps))
        loss = float(total) / len(order)
        if not math.isfinite(loss):
            raise RunError(f"the loss became {loss} in epoch {epoch}; lower optim.lr or set clip, and train again")
        trained = time.perf_counter() - started
        scores = score(
            self.selection.images,
            self.recipe.input,
            torch_logits(self._evaluated(), precision=self.recipe.precision, channels_last=self.recipe.channels_last),
        )
        if not np.isfinite(scores).all():
            raise RunError(f"the scores became infinite in epoch {epoch}; lower optim.lr or set clip, and train again")
        labels = np.asarray(self.selection.labels)
        return {
            "epoch": epoch,
            **({"stage": self.recipe.name} if self.run.recipe.stages else {}),
            "loss": loss,
            "lr": rate,
            "selection_accuracy": metrics.accuracy(scores.argmax(axis=1), labels),
            "selection_nll": float(metrics.nll(metrics.softmax(scores), labels)),
            "seconds": round(time.perf_counter() - started, 3),
            "faces_per_second": round(len(order) / trained, 1),
        }

    def _step(self, rows: Tensor, rate: float, step: int, generator: torch.Generator, draw: random.Random) -> Tensor:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        images, targets = self._batch(rows, generator, draw)
        with self.fabric.autocast():
            loss = torch.stack(list(self.forward(images, targets, self.criterion).values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip)
        self.optimizer.step()
        if self.average and (step + 1) % recipe.ema_every == 0:
            self.average.update(self.module, step // recipe.ema_every)
        return loss.detach()

    @torch.no_grad()
    def _batch(self, rows: Tensor, generator: torch.Generator, draw: random.Random) -> tuple[Tensor, Tensor]:
        """Augmented and mixed faces and their targets; the teacher is asked on the way."""
        recipe, distilled = self.recipe, isinstance(self.criterion, Distilled)
        images = augment(self.faces[rows], recipe.augment, recipe.input, generator)
        targets = self.targets[rows]
        asked_before = distilled and recipe.distill.targets == "face"
        if asked_before:  # its answers are mixed as the faces are
            targets = torch.cat([targets, self._plain_answers(recipe.distill.temperature)[rows]], 1)
        targets = targets.repeat(len(images) // len(rows), 1)
        if recipe.augment.mixup or recipe.augment.cutmix:
            with self.fabric.autocast():
                self.module.before_mixing(images)
        images, targets = mix(images, targets, recipe.augment, generator, draw)
        if recipe.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        if distilled:
            assert isinstance(self.criterion, Distilled)
            assert self.teacher is not None
            if asked_before:
                targets, self.criterion.soft = targets[:, : self.classes], targets[:, self.classes :]
            else:
                with self.fabric.autocast():
                    soft = self.teacher.on_views(images, recipe.input, recipe.distill.temperature)
                self.criterion.soft = soft
        return images, targets

    def _plain_answers(self, temperature: float) -> Tensor:
        """The teacher's answers about the plain faces, asked once and kept beside the checkpoint."""
        if temperature not in self.plain_answers:
            assert self.teacher is not None
            path = self.run.folder / f"teacher-{temperature:g}.safetensors"
            if not path.exists():
                # As they are: a teacher may take larger faces than the student.
                plain = np.concatenate(self.plain_faces) if len(self.plain_faces) > 1 else self.plain_faces[0]
                answers = self.teacher.on_faces(plain, temperature)
                save_tensors(path, {"answers": answers}, {"teacher": self.teacher.hash})
            self.plain_answers[temperature] = load_tensors(path)[0]["answers"].to(self.device)
        return self.plain_answers[temperature]

    def _save(self) -> None:
        Checkpoint(
            log=self.log,
            module=self.module.state_dict(),
            average=self.average.module.state_dict() if self.average else {},
            best=self.best,
            optimizer=optimizer_tensors(self.optimizer),
        ).save(self._checkpoint)
        self._write_log()

    def _resume(self) -> None:
        """Begin, or go on where the checkpoint stands."""
        path = self._checkpoint
        if not path.exists():
            self._enter(0)
            return
        saved = Checkpoint.load(path)
        self.log = saved.log
        last = saved.log[-1].get("stage", "") if saved.log else ""
        self._enter(next((i for i, stage in enumerate(self.stages) if stage.name == last), 0))
        load_strictly(self.module, saved.module, str(path))
        if self.average:
            load_strictly(self.average.module, saved.average, str(path))
        self.best = {name: tensor.to(self.device) for name, tensor in saved.best.items()}
        restore_optimizer(self.optimizer, saved.optimizer)
        self._write_log()

    @property
    def _checkpoint(self) -> Path:
        return self.run.folder / "checkpoint.safetensors"

    def _write_log(self) -> None:
        write_text(self.run.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.log))

    def _finish(self) -> Run:
        weights = self.best
        spec = self.recipe.input
        save_tensors(
            self.run.folder / "weights.safetensors",
            weights,
            {"system": self.run.system, "recipe": self.run.recipe.hash},
        )
        best = self._best_epoch()
        self.recomputed.restore()
        info = {
            **self.run.info,
            "status": "finished",
            "weights_sha256": hash_weights(weights),
            "best_epoch": best,
            "selection_accuracy": self.log[best]["selection_accuracy"],
            "environment": environment(self.device.type, self.recipe.precision, torch.get_num_threads()),
            "cost": {
                "seconds": round(sum(entry["seconds"] for entry in self.log), 1),
                "epochs": len(self.log),
                "params": count_parameters(self.module),
                "macs": count_macs(self._evaluated(), spec.channels, spec.size),
                "input": [spec.channels, spec.size, spec.size],
            },
        }
        run = Run(self.run.folder, self.run.recipe, info)
        run.save_info()
        self._checkpoint.unlink(missing_ok=True)
        for path in self.run.folder.glob("teacher-*.safetensors"):
            path.unlink()
        return run


def _highest(figures: list[float]) -> int:
    """Position of the first highest one."""
    return max(range(len(figures)), key=lambda epoch: (figures[epoch], -epoch))


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "cl"))


def _at_most(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """The faces, the larger ones reduced as evaluation does it: augmentation's lookup would alias.

    Few faces are copied into memory. Many stay in the memory-mapped file they are stored in, from which a batch is
    read when it is its turn; the bytes, and so the weights, are the same.
    """
    if min(images.shape[1:3]) > spec.face_size:
        return resize_faces(images, spec.face_size, spec.colour)
    return images if images.nbytes > IN_MEMORY else np.array(images)


def _tensor(images: NDArray[np.uint8]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing writes into the faces
        return torch.from_numpy(images)
