"""Who may send a body: only as many bytes are received at once as the service is willing to hold."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mien.serving.faults import overloaded

if TYPE_CHECKING:
    from mien.serving.config import ServiceConfig


class Admission:
    """Counts the bytes of all bodies that are being received or worked on; for one event loop.

    Args:
        config: the bounds.
    """

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.held = 0

    @contextlib.contextmanager
    def bodies(self, length: str | None) -> Iterator[None]:
        """Hold room for one body until it is answered.

        Args:
            length: its Content-Length; without one it may become as long as any.

        Raises:
            ServiceError: 429 where there is no room.
        """
        known = length is not None and length.isdigit()
        size = min(int(length or 0), self.config.max_bytes) if known else self.config.max_bytes
        # A single body is always let in, or a small bound would refuse everybody.
        if self.held and self.held + size > self.config.max_held:
            raise overloaded()
        self.held += size
        try:
            yield
        finally:
            self.held -= size
