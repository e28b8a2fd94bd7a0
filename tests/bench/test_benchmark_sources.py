"""What a benchmark records says which source measured it, and of one round nothing is called a median."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
RECORDING = ("adaptation", "batch", "deep_bow", "distillation", "framing", "input_pipeline", "leak_check", "neighbours",
             "reproducibility", "robustness", "run", "service", "streaming", "systems")  # fmt: skip


@pytest.mark.parametrize("name", RECORDING)
def test_every_record_names_its_source(name: str) -> None:
    text = (BENCHMARKS / f"{name}.py").read_text(encoding="utf-8")
    assert "from mien.results.provenance import" in text
    assert "source_stamp()" in text or "source_state()" in text


def test_one_round_has_no_median_and_several_show_their_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    batch = importlib.import_module("batch")
    record = {
        "date": "2026-01-02", "mien": "0.1.0", "commit": "0123456789abcdef", "dirty": True, "ray": "2",
        "bundle": {"name": "default", "precision": "int8"}, "machine": {"processor": "a processor"}, "cores": 2,
        "photographs": [3, 9], "size": [640, 480], "photo_bytes": 100, "table_bytes": 10, "rounds": 1,
        "ways": {way: {"milliseconds": [20.0], "ratio": [1.0], "start_seconds": [2.0]}
                 for way in ("one process", "Ray Data")},
    }  # fmt: skip
    alone = batch.shown(record)
    assert "median" not in alone["measured"]
    assert "one round, so that nothing is known of the spread (commit 0123456789ab with changes)" in alone["measured"]
    assert alone["cost"]["rows"][0] == ["one process", "20.0 ms", "1.00 ×", "2.0 s"]
    for found in record["ways"].values():  # type: ignore[attr-defined]
        found |= {"milliseconds": [20.0, 25.0, 21.0], "ratio": [1.0, 1.0, 1.2], "start_seconds": [2.0, 2.0, 2.0]}
    several = batch.shown({**record, "rounds": 3, "commit": None, "dirty": None})
    assert "3 rounds in turn; medians, with the smallest and the largest (source not recorded)" in several["measured"]
    assert several["cost"]["rows"][0][1] == "21.0 ms (20.0–25.0)"
