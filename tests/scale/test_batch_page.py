from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(not (ROOT / "benchmarks" / "recorded" / "batch.json").is_file(), reason="nothing recorded here")
def test_the_costs_in_the_guide_are_those_that_were_recorded() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "batch.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
