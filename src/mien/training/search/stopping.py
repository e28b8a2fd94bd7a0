"""A search that is asked to stop, by Ctrl-C or by SIGTERM: the trial that runs is saved, and nothing else is begun."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from mien.errors import StoppedError
from mien.training.stopping import Asked


class Stop(Asked):
    """Whether the search was asked to stop: a trial's training ends where all is saved, everything else at once.

    Args:
        folder: of the search.

    Attributes:
        training: whether a trial is being trained.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.training = folder, False

    def interrupt(self, calm: float = 0.0) -> None:
        """Ask, as Ctrl-C does."""
        super().interrupt(calm)
        if not self.training:
            raise KeyboardInterrupt

    def terminate(self) -> None:
        """Ask, as SIGTERM does."""
        super().terminate()
        if not self.training:
            self.end()

    def end(self) -> NoReturn:
        """End the search, as it was asked to."""
        if self.interrupted:
            raise KeyboardInterrupt
        raise StoppedError(
            f"the search was stopped on request (SIGTERM); all that was done is saved in {self.folder}: the same "
            "command goes on from there"
        )

    @contextlib.contextmanager
    def in_training(self) -> Iterator[None]:
        """Within the block nothing ends at once; a training that was told to stop ends the search."""
        self.training = True
        try:
            yield
        except KeyboardInterrupt:  # a callback has only this to tell a training of either signal
            if self():
                self.end()
            raise
        finally:
            self.training = False
