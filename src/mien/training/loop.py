"""The training loop. Every epoch is a pure function of the weights before it, the recipe, the seed and its number.

That is what makes a killed run continue to the very same weights: nothing but the last checkpoint, of the end of an
epoch or a place within one, has to be kept, and all randomness of an epoch is drawn from generators seeded with (seed,
epoch). The same holds for stages: which one comes next, and with which weights, is read off the log and the checkpoint.
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mien import systems
from mien.errors import RecordingError, RunError, StoppedError
from mien.evaluation.environment import environment
from mien.evaluation.processes import Processes
from mien.store import write_text
from mien.systems.base import System, count_macs, count_parameters
from mien.training import choosing
from mien.training.checkpoints import Checkpoint, Rhythm, optimizer_tensors, restore_optimizer
from mien.training.compute.activations import Recomputed
from mien.training.compute.batch_norm import synchronised
from mien.training.compute.convolutions import quickened
from mien.training.compute.parallel import Together, fabric_of
from mien.training.compute.precision import computed
from mien.training.compute.recording import RecordedStep
from mien.training.distillation import Distilled
from mien.training.optimisation import MovingAverage, learning_rate, make_criterion, make_optimizer
from mien.training.pipeline.augmentation import Amount
from mien.training.pipeline.batches import Batches
from mien.training.progress import Progress
from mien.training.run import Run
from mien.training.stopping import Asked, Place, listening
from mien.training.trainable import Trainable
from mien.training.weights import hash_weights, load_strictly, save_tensors

if TYPE_CHECKING:
    from mien.datasets import Split
    from mien.training.given import Given


STEPS_BETWEEN = 16
"""Steps after which processes on accelerators ask each other whether one was told to stop."""
ONE_CTRL_C = 2.0
"""Seconds in which several processes take every Ctrl-C for one and the same."""


class Loop:
    """The state of one training between its epochs.

    Args:
        run: its folder and recipe.
        given: what it starts from and what it learns from besides the training split.
        train: faces to learn from.
        selection: faces to choose the epoch on.
        device: as Fabric's accelerators.
        on_progress: called after each step and each epoch.
        processes: those that train together; by default this one alone.
    """

    def __init__(
        self,
        run: Run,
        given: Given,
        train: Split,
        selection: Split,
        device: str,
        on_progress: Callable[[Progress], None] | None,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.run, self.selection = run, selection
        self.stages = run.recipe.staged
        self.classes = len(train.label_set)
        self.notify = on_progress or (lambda progress: None)
        idle = bool(systems.card(run.system).unused or run.recipe.stages)
        self.fabric = fabric_of(device, run.recipe.precision, self.processes, unused=idle)
        self.device = self.fabric.device
        self.precision = computed(run.recipe.precision, self.device.type)
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
            try:
                module.load_pretrained(given.published)
            except RunError as error:
                raise RunError(f"{given.origin}: {error}" if given.origin else str(error)) from None
        if given.state is not None:
            state = given.state
            if given.carried is not None:
                state = given.carried.state(module.state_dict(), state)
            load_strictly(module, state, given.origin)
        together = run.recipe.sync_batch_norm and self.processes.count > 1
        if together:
            module = synchronised(module, self.device)  # type: ignore[assignment]
        if self.device.type == "cpu":
            module = quickened(module)  # type: ignore[assignment]
        self.module: System = module.to(self.device)
        if run.recipe.channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.together = Together(self.fabric, self.processes, self.module, synchronised=together)
        self.trainable = Trainable(self.module)
        self.recomputed = Recomputed([])
        self.batches = Batches(run, given, train, self.together)
        self.rhythm, self.asked = Rhythm(), Asked()
        self.generator = torch.Generator(self.device)
        self.place: Place | None = None
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self._resume()

    def run_to_end(self) -> Run:
        """All epochs that are left, then the outcome.

        Raises:
            KeyboardInterrupt: Ctrl-C came, or ``on_progress`` raised it; what was done is saved.
            StoppedError: SIGTERM came; what was done is saved.
            ProcessError: another process is lost.
        """
        # torchrun passes on the Ctrl-C that the terminal has sent to all of them.
        try:
            with listening(self.asked, ONE_CTRL_C if self.processes.count > 1 else 0.0), self.processes.watched():
                run = self._run_to_end()
        except (KeyboardInterrupt, StoppedError):
            if self.processes.first:
                self.run.stopped()  # which a run is not whose outcome was written when it came
            raise
        if self.asked.interrupted:  # while the outcome was written
            raise KeyboardInterrupt
        return run

    def _run_to_end(self) -> Run:
        while True:
            while not choosing.is_over(self.recipe, self.log[self.first :]):
                entry = self._epoch(len(self.log))
                self.log.append(entry)
                if self._kept() == len(self.log) - 1:
                    self.best = {name: value.detach().clone() for name, value in self._evaluated().state_dict().items()}
                if self.rhythm.epoch_due():
                    self._save()
                else:
                    self._write_log()
                self._tell(entry["epoch"], self.steps, entry)
                if self.processes.any(self.asked()):
                    self._save()
                    self._stop(entry["epoch"], self.steps)
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
        self.criterion = make_criterion(recipe.loss, self.batches.labels, self.classes)
        if recipe.distill.weight:
            self.criterion = Distilled(self.criterion, recipe.distill)
        self.batches.begin_stage(recipe, self.criterion)
        self.steps = self.batches.count
        self.forward: Any = None  # what went before lets the parameters go
        self.forward = self.together.wrapped(
            torch.compile(self.module.loss, dynamic=False) if recipe.compile else self.module.loss
        )
        self.recorded: RecordedStep | None = None
        if self.run.recipe.capture and self.device.type in RecordedStep.DEVICES:
            if self.processes.count > 1 or not self.batches.in_memory:
                raise RecordingError(
                    "a recorded step needs one process and its faces in memory; add --set capture=false (slower, equal "
                    "but for rounding)"
                )
            self.recorded = RecordedStep(self._gradients, self.module, self.generator)
        self.best = {}

    def _kept(self) -> int:
        """The epoch of this stage that is kept."""
        return self.first + choosing.kept(self.recipe, self.log[self.first :])

    def _evaluated(self) -> System:
        return self.average.module if self.average else self.module  # type: ignore[return-value]

    def _epoch(self, epoch: int) -> dict[str, Any]:
        started = time.perf_counter()
        words = np.random.SeedSequence([self.run.seed, epoch]).generate_state(5)
        generator = self.generator.manual_seed(int(words[1]))
        draw = random.Random(int(words[2]))
        batches = self.batches.drawn(int(words[0]), votes=int(words[4]))
        faces = sum(map(len, batches))
        history = choosing.monitored(self.recipe, self.log[self.first :])
        total = torch.zeros((), device=self.device)

        def rate(done: int) -> float:
            schedule, epochs = self.recipe.schedule, self.recipe.epochs
            return self.recipe.optim.lr * learning_rate(schedule, done / self.steps, epochs, history, self.steps)

        place, self.place = self.place, None
        self.trainable.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            # Dropout and the like draw from the global generator, each process its own numbers.
            torch.manual_seed(int(words[3]) + (self.processes.rank << 32))
            if place is not None:
                place.restore(generator, draw, self.processes)
                total += place.loss if self.processes.first else 0.0
                started -= place.seconds
            begin = 0 if place is None else place.step
            self.batches.plan(batches[begin:])
            for step, rows in enumerate(batches[begin:], begin):
                done = (epoch - self.first) * self.steps + step
                total += self._step(rows, rate(done), done, draw)
                self._tell(epoch, step + 1)
                stops = self._stops(step)
                if stops or self._due(step):
                    summed = float(self.together.total(total))
                    seconds = time.perf_counter() - started
                    here = Place.of(self.number, step + 1, summed, seconds, generator, draw, self.processes)
                    self._save(here)
                    if stops:
                        self._stop(epoch, here.step)
        loss = float(self.together.total(total)) / faces
        if not math.isfinite(loss):
            raise RunError(f"the loss became {loss} in epoch {epoch + 1}; lower optim.lr or set clip, and train again")
        trained = time.perf_counter() - started
        figures = {}
        if choosing.is_due(self.recipe, epoch - self.first + 1):
            figures = choosing.look(
                self._evaluated(), self.selection, self.recipe, epoch, self.processes, precision=self.precision
            )
        return {
            "epoch": epoch,
            **({"stage": self.recipe.name} if self.run.recipe.stages else {}),
            "loss": loss,
            "lr": rate((epoch - self.first + 1) * self.steps - 1),
            **figures,
            "precision": self.precision,
            "seconds": round(time.perf_counter() - started, 3),
            "faces_per_second": round(faces / trained, 1),
        }

    def _tell(self, epoch: int, step: int, entry: Mapping[str, Any] | None = None) -> None:
        """Tell the caller how far it is; a KeyboardInterrupt that comes back is obeyed where all is saved."""
        try:
            self.notify(Progress(epoch, self.run.recipe.planned_epochs, step, self.steps, entry))
        except KeyboardInterrupt:
            self.asked.interrupt()

    def _stops(self, step: int) -> bool:
        """Whether one of the processes was asked to stop; an accelerator is not made to wait for that at every step."""
        if self.device.type != "cpu" and self.processes.count > 1 and (step + 1) % STEPS_BETWEEN:
            return False
        return self.processes.any(self.asked())

    def _due(self, step: int) -> bool:
        """Whether a checkpoint is due within the epoch; as `_stops`."""
        if step + 1 == self.steps or (self.processes.count > 1 and (step + 1) % STEPS_BETWEEN):
            return False
        return self.processes.any(self.rhythm.step_due())

    def _stop(self, epoch: int, step: int) -> None:
        if self.asked.interrupted:
            raise KeyboardInterrupt
        raise StoppedError(
            f"stopped on request (SIGTERM) in epoch {epoch + 1}, after step {step} of {self.steps}; all that was "
            f"done is saved in {self.run.folder}: the same command with --resume goes on from there"
        )

    def _step(self, rows: Tensor, rate: float, step: int, draw: random.Random) -> Tensor:
        """One step; the sum of the losses of the faces that this process computed."""
        recipe, share = self.recipe, self.together.share(rows)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        amount = Amount.drawn(recipe.augment.size or recipe.input.size, recipe.augment, draw)
        loss = self.recorded(rows, amount) if self.recorded else self._gradients(rows, amount)
        if recipe.clip_value:
            torch.nn.utils.clip_grad_value_(self.module.parameters(), recipe.clip_value)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip)
        self.optimizer.step()
        self.together.after_step(share)
        if self.average and (step + 1) % recipe.ema_every == 0:
            self.average.update(step // recipe.ema_every)
        return loss * (len(rows) if share is None else len(share.rows))

    def _gradients(self, rows: Tensor, amount: Amount | None) -> Tensor:
        """The part of a step that is the same each time, and its mean loss."""
        share = self.together.share(rows)
        images, targets = self.batches.made(rows, share, self.generator, amount)
        with self.fabric.autocast():
            loss = torch.stack(list(self.forward(images, targets, self.criterion).values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss if share is None else loss * self.together.weight(share))
        return loss.detach()

    def _save(self, place: Place | None = None) -> None:
        self.rhythm.began()
        if not self.processes.first:
            return
        written = Checkpoint(
            log=self.log,
            module=self.module.state_dict(),
            average=self.average.module.state_dict() if self.average else {},
            best=self.best,
            optimizer=optimizer_tensors(self.optimizer),
            place=place,
        ).save(self._checkpoint)
        self.rhythm.wrote(written)
        self._write_log()

    def _resume(self) -> None:
        """Begin, or go on where the checkpoint stands."""
        path = self._checkpoint
        saved = self.processes.on_first(lambda: Checkpoint.load(path) if path.exists() else None)
        if saved is None:
            self._enter(0)
            return
        self.log, self.place = saved.log, saved.place
        last = saved.log[-1].get("stage", "") if saved.log else ""
        number = next((i for i, stage in enumerate(self.stages) if stage.name == last), 0)
        self._enter(number if saved.place is None else saved.place.stage)
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
        if not self.processes.first:
            return
        write_text(self.run.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.log))

    def _finish(self) -> Run:
        return Run(self.run.folder, self.run.recipe, self.processes.on_first(self._finished))

    def _finished(self) -> dict[str, Any]:
        """Write the outcome; what ``run.json`` says of it."""
        weights = self.best
        spec = self.recipe.input
        save_tensors(
            self.run.folder / "weights.safetensors",
            weights,
            {"system": self.run.system, "recipe": self.run.recipe.hash},
        )
        best = self._kept()
        self.recomputed.restore()
        info = {
            **self.run.info,
            "status": "finished",
            "weights_sha256": hash_weights(weights),
            "best_epoch": best,
            "selection_accuracy": self.log[best]["selection_accuracy"],
            "environment": environment(self.device.type, self._precisions(), torch.get_num_threads()),
            "cost": {
                "seconds": round(sum(entry["seconds"] for entry in self.log), 1),
                "epochs": len(self.log),
                "params": count_parameters(self.module),
                "macs": count_macs(self._evaluated(), spec.channels, spec.size),
                "input": [spec.channels, spec.size, spec.size],
            },
        }
        Run(self.run.folder, self.run.recipe, info).save_info()
        self._checkpoint.unlink(missing_ok=True)
        for path in self.run.folder.glob("teacher-*.safetensors"):
            path.unlink()
        return info

    def _precisions(self) -> str:
        """What its epochs were computed in: more than one where it was resumed on another kind of processor."""
        return " and ".join(sorted({entry.get("precision", self.precision) for entry in self.log}))


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "cl"))
