from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import invented_results

if TYPE_CHECKING:
    from mien.site.board import Board


@pytest.fixture(scope="session")
def results_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two systems under two views, one of them with two seeds, and a submission with a hostile title; read only."""
    folder = invented_results.board(tmp_path_factory.mktemp("board"))
    invented_results.submit(folder)
    return folder


@pytest.fixture(scope="session")
def made(results_folder: Path) -> list[Board]:
    """The boards of those results; the speed of one bundle is known."""
    pytest.importorskip("jinja2")
    from mien.results import Ledger, load_all
    from mien.site.board import Speed
    from mien.site.board_rows import boards

    results = load_all(results_folder)
    speed = next(Speed(r.weights_sha256, "one", 1234.0, "here") for r in results if r.system == "compact")
    return boards(results, Ledger(results_folder / "ledger.jsonl"), speeds=[speed])
