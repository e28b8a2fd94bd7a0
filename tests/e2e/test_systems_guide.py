"""The guide to systems, typed as a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_blocks import Session, blocks

pytest.importorskip("torch")


def test_the_guide_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(tmp_path)
    for block in blocks("docs/guides/systems.md"):
        if block.how == "run":
            session.run(block)
    out = capsys.readouterr().out
    assert "vggnet takes no images of 64 px; it takes 32 to 47 px" in out
    assert 'system_id = "ad-corre"' in out
