"""A training that is asked to stop: SIGTERM is what torchrun, cluster queues and containers send before they kill.

The step is finished, everything is written, and the training goes on later from the very place, to the very weights.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mien.evaluation.processes import Processes


@contextlib.contextmanager
def listening() -> Iterator[Callable[[], bool]]:
    """Within the block SIGTERM does not end the process; what the block gets says whether one came.

    Only in the main thread, and only where the program has no handler of its own.

    Example:
        >>> with listening() as asked:
        ...     asked()
        False
    """
    came = False

    def note(*_: Any) -> None:
        nonlocal came
        came = True

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, note)
    try:
        yield lambda: came
    finally:
        if ours and signal.getsignal(signal.SIGTERM) is note:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@dataclass(frozen=True)
class Place:
    """Where in an epoch a training stands.

    Attributes:
        stage: number of the stage.
        step: steps done in this epoch.
        loss: sum of the losses of the faces shown so far.
        seconds: spent on them.
        draw: state of the generator that mixes batches.
        states: states of the other generators: ``augment``, and ``dropout.<rank>`` of each process.
    """

    stage: int
    step: int
    loss: float
    seconds: float
    draw: Any
    states: Mapping[str, Tensor] = field(default_factory=dict, compare=False)

    def to_json(self) -> dict[str, Any]:
        """All but the tensors."""
        return {key: value for key, value in asdict(self).items() if key != "states"}

    @classmethod
    def of(
        cls,
        stage: int,
        step: int,
        loss: float,
        seconds: float,
        generator: torch.Generator,
        draw: random.Random,
        processes: Processes,
    ) -> Place:
        """This place; all processes call it."""
        dropout = processes.from_all(_dropout(generator.device))
        states = {"augment": generator.get_state(), **{f"dropout.{rank}": state for rank, state in enumerate(dropout)}}
        return cls(stage, step, loss, seconds, draw.getstate(), states)

    def restore(self, generator: torch.Generator, draw: random.Random, processes: Processes) -> None:
        """Set the generators to what they were; on more processes than before, the further ones draw anew."""
        generator.set_state(self.states["augment"])
        version, words, gauss = self.draw
        draw.setstate((version, tuple(words), gauss))
        state = self.states.get(f"dropout.{processes.rank}")
        if state is not None:
            _set_dropout(generator.device, state)


def _dropout(device: torch.device) -> Tensor:
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def _set_dropout(device: torch.device, state: Tensor) -> None:
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)
