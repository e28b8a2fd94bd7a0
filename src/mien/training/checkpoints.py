"""The checkpoint of a training: one file, whole or not at all, and when it is written.

What a kill may cost is said in docs/concepts/nothing-lost.md: the current epoch and at most `LONGEST_SHARE` seconds of
the epochs before it, and never more than `SAVE_EVERY` seconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mien.training.stopping import Place
from mien.training.weights import load_tensors, save_tensors

SAVE_EVERY = 600.0
"""Seconds after which a checkpoint is written within an epoch."""
SAVE_RATE = 32 << 20
"""Bytes of checkpoints that are written per second of training at most: short epochs of large networks share one."""
LONGEST_SHARE = 60.0
"""Seconds after which the end of an epoch is saved, however large the checkpoint is."""
SAVE_FIRST = 0.0
"""Seconds before which the end of an epoch is not saved."""


@dataclass(frozen=True)
class Checkpoint:
    """What a training needs to go on.

    Attributes:
        log: one entry per finished epoch.
        module: weights of the network.
        average: those of its moving average; empty where there is none.
        best: those of the best epoch so far.
        optimizer: ``<index>.<name>`` → state of the optimiser.
        place: where in the next epoch it stands; None at its beginning.
    """

    log: list[dict[str, Any]]
    module: Mapping[str, Tensor]
    average: Mapping[str, Tensor]
    best: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]
    place: Place | None = None

    def save(self, path: Path) -> int:
        """Write it, whole or not at all; its tensors' bytes."""
        tensors = {
            f"{part}.{name}": value
            for part in ("module", "average", "best", "optimizer")
            for name, value in getattr(self, part).items()
        }
        metadata = {"log": json.dumps(self.log)}
        if self.place is not None:
            tensors |= {f"place.{name}": state for name, state in self.place.states.items()}
            metadata["place"] = json.dumps(self.place.to_json())
        save_tensors(path, tensors, metadata)
        return sum(tensor.nbytes for tensor in tensors.values())

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read it; anything but a safetensors file raises `RunError`."""
        tensors, metadata = load_tensors(path)
        parts: dict[str, dict[str, Tensor]] = {"module": {}, "average": {}, "best": {}, "optimizer": {}, "place": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts[part][rest] = tensor
        states = parts.pop("place")
        place = Place(**json.loads(metadata["place"]), states=states) if "place" in metadata else None
        return cls(json.loads(metadata["log"]), **parts, place=place)


class Rhythm:
    """When a checkpoint is due.

    Example:
        >>> Rhythm().epoch_due()
        True
    """

    def __init__(self) -> None:
        self._saved = time.monotonic()
        self._shared_until = self._saved + SAVE_FIRST

    def began(self) -> None:
        """One is being written now."""
        self._saved = self._shared_until = time.monotonic()

    def wrote(self, size: int) -> None:
        """The one that was begun has this many bytes."""
        self._shared_until = self._saved + min(size / SAVE_RATE, LONGEST_SHARE)

    def epoch_due(self) -> bool:
        """Whether the end of an epoch is to be saved now."""
        return time.monotonic() >= self._shared_until

    def step_due(self) -> bool:
        """Whether so much was done that it must not be lost to a kill, although the epoch has not ended."""
        return time.monotonic() - self._saved > SAVE_EVERY


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state of an optimiser by parameter index and name."""
    return {
        f"{index}.{name}": value
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Give an optimiser back what `optimizer_tensors` took."""
    saved = optimizer.state_dict()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # In the memory layout it had, so that steps after a resume cost and round the same.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        saved["state"].setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict(saved)
