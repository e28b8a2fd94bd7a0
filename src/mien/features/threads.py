"""How many threads feature extraction and classical systems share their work among."""

from __future__ import annotations

import os

from mien.store.cpu import cpu_count


def thread_count() -> int:
    """Cores of this process, or fewer where ``OMP_NUM_THREADS`` says so, as numerical libraries understand it."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(cpu_count(), int(asked)) if asked.isdecimal() and int(asked) else cpu_count()
