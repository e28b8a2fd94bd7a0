"""What a caller is told when a training begins, and while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Beginning:
    """What a caller is told before the first step.

    Attributes:
        folder: of the run.
        resumed: whether a run lay there that is gone on with.
        epochs: that it had finished.
        precision: that this process computes in, which may be another one than the recipe's.
    """

    folder: Path
    resumed: bool
    epochs: int
    precision: str


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
