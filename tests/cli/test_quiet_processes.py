"""Of several processes the first one alone speaks; who is the first is decided in one place."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mien.store.launch import rank

PROGRAM = "from mien.cli.common import print_json; print_json(1)"


@pytest.mark.parametrize(
    ("number", "count", "said"), [("0", "2", "1\n"), ("1", "2", ""), ("1", "1", "1\n"), ("x", "2", "1\n")]
)
def test_the_first_one_speaks(number: str, count: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "job", "RANK": number, "WORLD_SIZE": count}.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ, check=True)
    assert done.stdout == said
    assert (rank() == 0) == bool(said)
