"""The guide on extra images does what it says: its Python makes a manifest, and its filters are run on that."""

from __future__ import annotations

from pathlib import Path

from document_blocks import Session, blocks

from mien.datasets import load_dataset, read_manifest


def test_the_guide_makes_and_filters_a_manifest(tmp_path: Path, mien_cache: Path) -> None:
    session = Session(tmp_path)
    for block in blocks("docs/guides/extra-images.md"):
        if block.language == "python":
            session.run(block)
    data = load_dataset("drawn", count=210, seed=0)
    offered = read_manifest(tmp_path / "drawn_edits" / "all.csv", data)
    kept = read_manifest(tmp_path / "drawn_edits" / "kept.csv", data)
    assert 0 < len(kept) < len(offered)
    assert kept.names == ("mixed drawn faces",)
