from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in bundle whose answers are known (see standin.py)."""
    import standin

    return standin.write(tmp_path_factory.mktemp("bundle") / "standin.onnx")
