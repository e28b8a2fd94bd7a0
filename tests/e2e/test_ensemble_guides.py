"""The guides to ensembles, search and what is no network, typed as a reader would."""

from __future__ import annotations

from pathlib import Path

import pytest
from document_blocks import Session, blocks, check_form

pytest.importorskip("cv2")


@pytest.mark.parametrize("guide", ["ensembles", "search", "without-networks"])
def test_the_guide_runs(guide: str, tmp_path: Path, mien_cache: Path) -> None:
    session = Session(tmp_path)
    for block in blocks(f"docs/guides/{guide}.md"):
        if block.how == "run":
            session.run(block)
        else:
            check_form(block)
