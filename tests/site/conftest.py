from __future__ import annotations

from pathlib import Path

import invented_results
import pytest


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems under two views, one of them with two seeds, and a submission with a hostile title; read only."""
    folder = invented_results.board(tmp_path_factory.mktemp("board"))
    invented_results.submit(folder)
    return folder
