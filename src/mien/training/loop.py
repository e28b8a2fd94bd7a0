"""The training loop. Every epoch is a pure function of the weights before it, the recipe, the seed and its number.

That is what makes a killed run continue to the very same weights: nothing but the checkpoint of the last finished
epoch has to be kept, and all randomness of an epoch is drawn from generators seeded with (seed, epoch).
"""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from mien import systems
from mien.errors import InputError, RunError, SealedSplitError
from mien.evaluation.environment import environment
from mien.evaluation.scorers import score, torch_logits
from mien.faces.views import resize_faces
from mien.results import metrics
from mien.results.provenance import source_state
from mien.store import write_text
from mien.systems.base import System, count_macs, count_parameters
from mien.training.augmentation import augment, mix
from mien.training.optimisation import MovingAverage, learning_rate, make_criterion, make_optimizer, soft_targets
from mien.training.quiet import quietly
from mien.training.recipe import Recipe
from mien.training.run import SCHEMA, Run
from mien.training.weights import hash_weights, load_strictly, load_tensors, save_tensors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.bundle import InputSpec
    from mien.datasets import Split


@dataclass(frozen=True)
class Progress:
    """What a caller is told while a training runs.

    Attributes:
        epoch: number of the current epoch, from 0.
        epochs: planned epochs.
        step: steps done in this epoch.
        steps: steps per epoch.
        entry: the epoch's log entry when it has just ended, otherwise None.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    entry: Mapping[str, Any] | None = None


def train(
    system: str,
    train: Split,
    selection: Split,
    *,
    recipe: str | Path | Recipe = "mien",
    seed: int = 0,
    out: str | Path = "runs",
    part: str = "",
    resume: bool = False,
    device: str = "auto",
    on_progress: Callable[[Progress], None] | None = None,
) -> Run:
    """Train a system and choose its epoch on the selection split. The test split cannot be given.

    Args:
        system: id of the system.
        train: rows to learn from.
        selection: rows that choose the epoch and drive a plateau schedule.
        recipe: a recipe's name, a `Recipe`, or the path of a TOML file.
        seed: of weights, order, augmentation and dropout.
        out: folder that holds run folders; the run's own is named after system, recipe and seed.
        part: added to that name, where the splits are those of one fold or of another protocol.
        resume: continue an unfinished run, return a finished one; without it an existing run is an error.
        device: ``auto``, ``cpu``, ``cuda``, … as Fabric's accelerators.
        on_progress: called after each step and each epoch.

    Returns:
        The finished run.

    Raises:
        SealedSplitError: a test split was given.
        RecipeError: the recipe is of another system.
        RunError: the run exists, or belongs to other data.
    """
    for split in (train, selection):
        if split.role == "test":
            raise SealedSplitError(
                "training and selection never see the test split; give data.train and data.selection"
            )
    if train.label_set != selection.label_set:
        raise InputError("training and selection have different label sets")
    if train.role != "train":
        raise InputError(f"the first split is of role {train.role!r}; learn from data.train, choose on data.selection")
    for split in (train, selection):
        _check_rows(split)
    if selection.role != "selection" or selection.fingerprint != train.fingerprint:
        raise InputError("choose on data.selection of the same face set that data.train comes from")
    if seed < 0:
        raise InputError(f"a seed is a whole number from 0, not {seed}")
    if not isinstance(recipe, Recipe):
        named = str(recipe) in systems.card(system).recipes or not str(recipe).endswith(".toml")
        recipe = Recipe.of(systems.card(system), str(recipe)) if named else Recipe.from_toml(Path(recipe))
    if recipe.system_id != system:
        raise InputError(f"the recipe is one of {recipe.system_id!r}, not of {system!r}")
    systems.check_options(systems.card(system), recipe.system)
    folder = Path(out) / f"{system}-{recipe.name}-{recipe.hash[:8]}-s{seed}{part and f'-{part}'}"
    run = _start(folder, recipe, train, selection, seed, resume)
    if run.finished:
        return run
    return _Loop(run, train, selection, device, on_progress).run_to_end()


def _start(folder: Path, recipe: Recipe, train: Split, selection: Split, seed: int, resume: bool) -> Run:
    if (folder / "run.json").exists():
        run = Run.open(folder)
        if not resume:
            raise RunError(
                f"{folder} exists ({run.info['status']}); add --resume to continue it, or choose another seed or folder"
            )
        ours = (train.fingerprint, train.rows_hash, selection.rows_hash)
        if ours != tuple(run.info[key] for key in ("data_fingerprint", "train_rows", "selection_rows")):
            raise RunError(f"{folder} was trained on other data; give that data set or another folder")
        return run
    revision, dirty = source_state()
    info = {
        "schema": SCHEMA,
        "status": "running",
        "system": recipe.system_id,
        "recipe_hash": recipe.hash,
        "seed": seed,
        "data": train.face_set.name,
        "data_fingerprint": train.fingerprint,
        "train_rows": train.rows_hash,
        "selection_rows": selection.rows_hash,
        "label_set": train.label_set.name,
        "labels": list(train.label_set.labels),
        "extra_data": [],  # nothing but the training split is read here
        "commit": revision,
        "dirty": dirty,
    }
    run = Run(folder, recipe, info)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "recipe.toml", recipe.to_toml())
    run.save_info()
    return run


def _check_rows(split: Split) -> None:
    if not len(split):
        raise InputError(f"the split {split.name!r} is empty; give one with faces")
    unlabelled = int((np.asarray(split.labels) >= len(split.label_set)).sum())
    if unlabelled:
        raise InputError(
            f"{unlabelled} faces of the split {split.name!r} have no label; leave them out: "
            "split.subset(split.labels < len(split.label_set))"
        )


def _has_compiler() -> bool:
    return any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++", "cl"))


def _at_most(images: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """A copy of the faces, the larger ones reduced as evaluation does it: augmentation's lookup would alias."""
    if min(images.shape[1:3]) > spec.face_size:
        images = resize_faces(images, spec.face_size, spec.colour)
    return np.array(images)


class _Loop:
    """The state of one training between its epochs."""

    def __init__(
        self, run: Run, train: Split, selection: Split, device: str, on_progress: Callable[[Progress], None] | None
    ) -> None:
        from lightning.fabric import Fabric

        self.run, self.recipe, self.selection = run, run.recipe, selection
        self.classes = len(train.label_set)
        self.notify = on_progress or (lambda progress: None)
        precision = "bf16-mixed" if self.recipe.precision == "bf16" else "32-true"
        with quietly("lightning.fabric", "lightning.pytorch.utilities.rank_zero"):
            try:
                self.fabric = Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
            except (ValueError, RuntimeError) as error:
                raise InputError(f"no training on device {device!r}: {str(error).splitlines()[0]}") from None
        if self.recipe.compile and self.fabric.device.type == "cpu" and not _has_compiler():
            raise RunError(
                "the recipe compiles the network, which needs a C++ compiler on the CPU, and none was found; install "
                "g++ or clang++, or add --set compile=false (slower, equal but for rounding)"
            )
        self.device = self.fabric.device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            module = systems.create(
                run.system, classes=self.classes, channels=self.recipe.input.channels, **self.recipe.system
            )
        self.module: System = module.to(self.device)
        if self.recipe.channels_last:
            self.module = self.module.to(memory_format=torch.channels_last)
        self.average = MovingAverage(self.module, self.recipe.ema) if self.recipe.ema else None
        self.optimizer = make_optimizer(self.module, self.recipe.optim)
        self.faces = torch.from_numpy(_at_most(train.images, self.recipe.input)).to(self.device)
        self.labels = torch.from_numpy(np.array(train.labels)).long().to(self.device)
        self.criterion = make_criterion(self.recipe.loss, self.labels, self.classes)
        self.targets = soft_targets(self.labels, self.classes, self.recipe.loss.smoothing)
        self.steps = math.ceil(len(self.faces) / self.recipe.batch_size)
        self.log: list[dict[str, Any]] = []
        self.best: dict[str, Tensor] = {}
        self.forward = torch.compile(self.module.loss, dynamic=False) if self.recipe.compile else self.module.loss
        self._load()

    def run_to_end(self) -> Run:
        """All epochs that are left, then the outcome."""
        while not self._done():
            entry = self._epoch(len(self.log))
            self.log.append(entry)
            if self._best_epoch() == len(self.log) - 1:
                self.best = {name: value.detach().clone() for name, value in self._evaluated().state_dict().items()}
            self._save()
            self.notify(Progress(entry["epoch"], self.recipe.epochs, self.steps, self.steps, entry))
        return self._finish()

    def _done(self) -> bool:
        if len(self.log) >= self.recipe.epochs:
            return True
        stale = len(self.log) - 1 - self._most_accurate() if self.log else 0
        return bool(self.recipe.early_stop) and stale >= self.recipe.early_stop

    def _best_epoch(self) -> int:
        return len(self.log) - 1 if self.recipe.keep == "last" else self._most_accurate()

    def _most_accurate(self) -> int:
        return max(range(len(self.log)), key=lambda epoch: (self.log[epoch]["selection_accuracy"], -epoch))

    def _evaluated(self) -> System:
        return self.average.module if self.average else self.module  # type: ignore[return-value]

    def _epoch(self, epoch: int) -> dict[str, Any]:
        started = time.perf_counter()
        words = np.random.SeedSequence([self.run.seed, epoch]).generate_state(4)
        order_generator = torch.Generator().manual_seed(int(words[0]))
        generator = torch.Generator(self.device).manual_seed(int(words[1]))
        draw = random.Random(int(words[2]))
        order = torch.randperm(len(self.faces), generator=order_generator).to(self.device)
        history = [entry["selection_accuracy"] for entry in self.log]
        total = torch.zeros((), device=self.device)
        rate = 0.0
        self.module.train()
        with torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(words[3]))  # dropout and the like draw from the global generator
            # Batches of nearly equal size: no face is left out and no batch is too small for its statistics.
            for step, rows in enumerate(order.tensor_split(self.steps)):
                now = epoch + step / self.steps
                rate = self.recipe.optim.lr * learning_rate(self.recipe.schedule, now, self.recipe.epochs, history)
                total += self._step(rows, rate, epoch * self.steps + step, generator, draw) * len(rows)
                self.notify(Progress(epoch, self.recipe.epochs, step + 1, self.steps))
        loss = float(total) / len(self.faces)
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
            "loss": loss,
            "lr": rate,
            "selection_accuracy": metrics.accuracy(scores.argmax(axis=1), labels),
            "selection_nll": float(metrics.nll(metrics.softmax(scores), labels)),
            "seconds": round(time.perf_counter() - started, 3),
            "faces_per_second": round(len(self.faces) / trained, 1),
        }

    def _step(self, rows: Tensor, rate: float, step: int, generator: torch.Generator, draw: random.Random) -> Tensor:
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with torch.no_grad():
            images = augment(self.faces[rows], recipe.augment, recipe.input, generator)
            targets = self.targets[rows].repeat(len(images) // len(rows), 1)
            images, targets = mix(images, targets, recipe.augment, generator, draw)
            if recipe.channels_last:
                images = images.contiguous(memory_format=torch.channels_last)
        with self.fabric.autocast():
            loss = torch.stack(list(self.forward(images, targets, self.criterion).values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.fabric.backward(loss)
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(self.module.parameters(), recipe.clip)
        self.optimizer.step()
        if self.average:
            self.average.update(self.module, step)
        return loss.detach()

    def _save(self) -> None:
        """One file holds everything, so a kill leaves either this epoch or the one before it."""
        tensors = {f"module.{k}": v for k, v in self.module.state_dict().items()}
        if self.average:
            tensors |= {f"average.{k}": v for k, v in self.average.module.state_dict().items()}
        tensors |= {f"best.{k}": v for k, v in self.best.items()}
        for index, state in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
        save_tensors(self.run.folder / "checkpoint.safetensors", tensors, {"log": json.dumps(self.log)})
        self._write_log()

    def _load(self) -> None:
        path = self.run.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors, metadata = load_tensors(path)
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "best": {}, "optimizer": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        load_strictly(self.module, parts["module"], str(path))
        if self.average:
            load_strictly(self.average.module, parts["average"], str(path))
        self.best = {name: tensor.to(self.device) for name, tensor in parts["best"].items()}
        saved = self.optimizer.state_dict()
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        for name, tensor in parts["optimizer"].items():
            index, _, key = name.partition(".")
            parameter = parameters[int(index)]
            if tensor.shape == parameter.shape:
                # In the memory layout it had, so that steps after a resume cost and round the same.
                tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
            saved["state"].setdefault(int(index), {})[key] = tensor
        self.optimizer.load_state_dict(saved)
        self.log = json.loads(metadata["log"])
        self._write_log()

    def _write_log(self) -> None:
        write_text(self.run.folder / "log.jsonl", "".join(json.dumps(entry) + "\n" for entry in self.log))

    def _finish(self) -> Run:
        weights = self.best
        spec = self.recipe.input
        save_tensors(
            self.run.folder / "weights.safetensors", weights, {"system": self.run.system, "recipe": self.recipe.hash}
        )
        best = self._best_epoch()
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
        run = Run(self.run.folder, self.recipe, info)
        run.save_info()
        (self.run.folder / "checkpoint.safetensors").unlink(missing_ok=True)
        return run
