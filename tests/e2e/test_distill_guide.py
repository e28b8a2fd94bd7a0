"""The guide on distillation does what it says, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from document_blocks import Session, blocks

pytest.importorskip("torch")


def test_the_guide_trains_a_teacher_and_its_student(tmp_path: Path, mien_cache: Path) -> None:
    session = Session(tmp_path)
    for block in blocks("docs/guides/distill.md"):
        if block.how == "run":
            session.run(block)
    teacher, student = (
        json.loads(next(tmp_path.glob(f"runs/compact-mien-*-s{seed}/run.json")).read_text()) for seed in (1, 2)
    )
    assert student["status"] == "finished"
    assert [entry["weights_sha256"] for entry in student["teacher"]] == [teacher["weights_sha256"]]
