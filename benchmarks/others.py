"""How much of the processor others take while a benchmark runs: it says what the figures are worth."""

from __future__ import annotations

import os
import time
from pathlib import Path


class Load:
    """From the moment when it is made; this process counts as itself, and so do its children that have ended. Linux."""

    def __init__(self) -> None:
        self.start = self._now()

    def others(self) -> float | None:
        """Share of all cores, 0–1, since this was made; None where the system does not tell."""
        now = self._now()
        if now is None or self.start is None:
            return None
        wall, used, own = (b - a for a, b in zip(self.start, now, strict=True))
        return round(max(0.0, used - own) / (wall * (os.cpu_count() or 1)), 4)

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        try:
            fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
        except OSError:
            return None
        busy = sum(map(int, fields)) - int(fields[3]) - int(fields[4])
        spent = os.times()
        return (
            time.perf_counter(),
            busy / os.sysconf("SC_CLK_TCK"),
            spent.user + spent.system + spent.children_user + spent.children_system,
        )
