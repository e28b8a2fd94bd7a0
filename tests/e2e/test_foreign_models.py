"""The guide about other people's networks, from the first block to the last."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
from document_blocks import Session, blocks, check_form

from mien.results import load_all


def test_the_guide_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    network, adapter, commands, on_fer2013 = blocks("docs/guides/foreign-models.md")
    session = Session(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns about its own internals
        session.run(network)
    (tmp_path / "adapter.py").write_text(adapter.text, encoding="utf-8")
    session.run(commands)
    check_form(on_fer2013)
    (result,) = load_all(tmp_path / "my-results")
    assert (result.system, result.kind, result.extra_data) == ("stripes", "submitted", ())
