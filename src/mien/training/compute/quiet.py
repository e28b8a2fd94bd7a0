"""Libraries that announce themselves are asked to be quiet while mien calls them: nothing prints but the caller."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator


@contextlib.contextmanager
def quietly(*names: str) -> Iterator[None]:
    """Within the block, the loggers called ``names`` let only errors through."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
