"""Real photographs and models, which no repository holds: tests that need them are skipped where they are not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def real_data(part: str) -> Path:
    """A file or folder of the real data beside the checkout, or where MIEN_DATA points; else the test is skipped."""
    roots = [Path(os.environ["MIEN_DATA"])] if "MIEN_DATA" in os.environ else [ROOT.parent / "shared"]
    for root in roots:
        for path in (root / part, root / "data" / part):
            if path.exists():
                return path
    pytest.skip(f"{part} is not here: set MIEN_DATA to the folder that holds it")
