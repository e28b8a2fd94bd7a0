"""A training that is asked to stop: by Ctrl-C, or by SIGTERM, which torchrun, cluster queues and containers send.

The step is finished, everything is written, and the training goes on later from the very place, to the very weights.
"""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mien.evaluation.processes import Processes


class Asked:
    """Whether somebody asked to stop.

    Attributes:
        interrupted: it was Ctrl-C, or a callback that raised KeyboardInterrupt; what ends is a KeyboardInterrupt then.
    """

    def __init__(self) -> None:
        self.interrupted = self._terminated = False
        self._since = 0.0

    def __call__(self) -> bool:
        """Whether anybody did."""
        return self.interrupted or self._terminated

    def interrupt(self, calm: float = 0.0) -> None:
        """Ask, as Ctrl-C does; asked again after ``calm`` seconds it is a KeyboardInterrupt at once."""
        if not self.interrupted:
            self.interrupted, self._since = True, time.monotonic()
        elif time.monotonic() - self._since >= calm:
            raise KeyboardInterrupt

    def terminate(self) -> None:
        """Ask, as SIGTERM does."""
        self._terminated = True


@contextlib.contextmanager
def listening(asked: Asked, calm: float = 0.0) -> Iterator[None]:
    """Within the block neither SIGTERM nor a first Ctrl-C ends the process; ``asked`` is told.

    Only in the main thread, and only where the program has no handlers of its own.

    Args:
        asked: whom to tell.
        calm: seconds in which another Ctrl-C counts as the first one: launchers pass on what a terminal has sent.

    Example:
        >>> asked = Asked()
        >>> with listening(asked):
        ...     signal.raise_signal(signal.SIGINT)
        >>> asked()
        True
    """
    ours = []
    if threading.current_thread() is threading.main_thread():
        for number, usual, tell in (
            (signal.SIGTERM, signal.SIG_DFL, lambda *_: asked.terminate()),
            (signal.SIGINT, signal.default_int_handler, lambda *_: asked.interrupt(calm)),
        ):
            if signal.getsignal(number) is usual:
                signal.signal(number, tell)
                ours.append((number, usual, tell))
    try:
        yield
    finally:
        for number, usual, tell in ours:
            if signal.getsignal(number) is tell:
                signal.signal(number, usual)


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
