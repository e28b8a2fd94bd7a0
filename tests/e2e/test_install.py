"""A clean clone in an empty environment: `make demo` sets itself up and recognises a face. Needs a package index."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from document_blocks import ROOT, no_default_model

pytestmark = pytest.mark.full
LARGEST = 250 << 20  # bytes on disk, what the design allows


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / ".git").exists() or shutil.which("git") is None:
        pytest.skip("this is no git checkout")
    folder = tmp_path_factory.mktemp("clean") / "mien"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(folder)], check=True)
    return folder


def test_make_demo_recognises_a_face_with_the_core_alone(clone: Path) -> None:
    if (reason := no_default_model()) is not None:
        pytest.skip(reason)
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("VIRTUAL_ENV", "PYTHON"))}
    done = subprocess.run(
        ["make", "demo", f"PYTHON={sys.base_prefix}/bin/python3"],
        cwd=clone, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "astronaut.jpg" in done.stdout
    assert (clone / "out" / "astronaut.faces.png").is_file()

    [packages] = (clone / ".venv").glob("lib/python*/site-packages")
    installed = {path.name.lower() for path in packages.iterdir()}
    assert not installed & {"torch", "cv2", "pandas", "scipy", "matplotlib"}
    files = [path for folder in (packages, clone / "src") for path in folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= LARGEST
