"""Importing mien costs nothing, needs nothing and changes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("numpy", "onnxruntime", "torch", "pandas", "PIL", "rich", "timm", "sklearn")
REPORT = f"import json, sys; print(json.dumps([name for name in {HEAVY!r} if name in sys.modules]))"


def python(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def loaded(code: str) -> list[str]:
    return list(json.loads(python(f"{code}\n{REPORT}").splitlines()[-1]))


def test_import_mien_loads_nothing_heavy() -> None:
    assert loaded("import mien; mien.__version__; dir(mien)") == []


def test_help_loads_neither_torch_nor_an_inference_engine() -> None:
    code = """
import sys
from mien.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert not stop.code
"""
    assert not {"torch", "onnxruntime", "numpy", "pandas"} & set(loaded(code))


def test_a_verb_starts_without_pydantic() -> None:
    """typer loads it from 0.29 on, a fifth of a second at every start; pyproject.toml keeps to earlier ones."""
    code = """
import sys
from mien.cli import main
try:
    main(["systems", "list", "--json"])
except SystemExit as stop:
    assert not stop.code
print([name for name in ("pydantic", "torch") if name in sys.modules])
"""
    assert python(code).splitlines()[-1] == "[]"


def test_the_recogniser_loads_no_torch_and_no_tables(bundle_path: Path) -> None:
    code = f"""
import mien
recognizer = mien.Recognizer({str(bundle_path)!r}).warm_up()
import numpy as np
recognizer.predict(np.zeros((90, 120, 3), np.uint8))
"""
    assert not {"torch", "pandas", "rich", "timm", "sklearn"} & set(loaded(code))


@pytest.mark.skipif(sys.platform == "win32", reason="HOME has no meaning there")
def test_import_has_no_side_effects(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o500)
    code = """
import os, random, socket
before, state = dict(os.environ), random.getstate()
def refuse(*arguments, **options):
    raise AssertionError("the network was touched")
socket.socket.connect = socket.getaddrinfo = refuse
import mien, mien.cli, mien.recognition, mien.faces, mien.bundle, mien.bench.doctor
assert dict(os.environ) == before, "the environment was changed"
assert random.getstate() == state, "a seed was set"
"""
    try:
        assert python(code, HOME=str(home), XDG_CACHE_HOME=str(home / "cache")) == ""
        assert list(home.iterdir()) == []
    finally:
        home.chmod(0o700)
