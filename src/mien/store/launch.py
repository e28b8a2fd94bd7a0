"""What ``torchrun`` says of the processes it started: how many they are, and which of them this one is."""

from __future__ import annotations

import os


def launched() -> bool:
    """Whether torchrun started this process as one of several.

    Example:
        >>> launched(), rank(), processes_here()
        (False, 0, 1)
    """
    return "TORCHELASTIC_RUN_ID" in os.environ and _number("WORLD_SIZE", 1) > 1


def rank() -> int:
    """Number of this process, from 0; the first one alone writes and speaks."""
    return _number("RANK", 0) if launched() else 0


def local_rank() -> int:
    """The same among the processes of this machine."""
    return _number("LOCAL_RANK", 0) if launched() else 0


def processes() -> int:
    """How many processes work together, on all machines."""
    return _number("WORLD_SIZE", 1) if launched() else 1


def processes_here() -> int:
    """How many of the processes run on this machine."""
    return max(1, _number("LOCAL_WORLD_SIZE", 1)) if launched() else 1


def _number(name: str, otherwise: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else otherwise
