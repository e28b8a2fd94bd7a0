"""The measurement of the systems: it measures, survives what fails, and its table says what was recorded."""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROW = {
    "input": [1, 48, 48],
    "precision": "bf16",
    "parameters": 1_501_447,
    "macs": 96_345_120,
    "train_faces_per_second": 400.0,
    "faces_per_second": 2000.0,
    "peak_bytes": 812_000_000,
    "share_of_matrix_product": 0.216,
    "matrix_product_flops": 10**12,
    "stages": {"augmentation": 0.04, "forward": 0.3, "backward": 0.5, "optimiser": 0.16},
    "operations": {"convolution": 0.62, "matrix product": 0.01, "normalisation": 0.2, "other": 0.17},
}
RECORD: dict[str, Any] = {
    "date": "2026-01-02",
    "machine": {"processor": "a processor"},
    "device": "cpu",
    "threads": 2,
    "batch": 32,
    "recipe": "mien",
    "reference": "compact",
    "others": 0.2,
    "commit": "0123456789abcdef",
    "systems": {
        "compact": ROW,
        "resnet18": {**ROW, "train_faces_per_second": 50.0, "faces_per_second": 5.0},
        "emonext-xl": {"failed": "not enough memory"},
    },
}


def load(path: str) -> ModuleType:
    """A program of the repository under a name that no package has."""
    spec = importlib.util.spec_from_file_location(f"tried_{Path(path).stem}", ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def measuring() -> ModuleType:
    return load("benchmarks/systems.py")


def asked(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"recipe": "mien", "seconds": 0.0, "batch": 4, "threads": 0, "device": "cpu", **changes}
    )


def test_a_system_is_measured_as_its_recipe_trains_it(measuring: ModuleType) -> None:
    found = measuring.measure("deepemotion", asked())
    assert found["parameters"] == 66_877
    assert found["input"] == [1, 48, 48]
    assert found["train_faces_per_second"] > 0
    assert found["faces_per_second"] > 0
    assert found["peak_bytes"] > 50e6
    assert 0 < found["share_of_matrix_product"] < 1
    assert found["matrix_product_flops"] > 1e9
    assert set(found["stages"]) == set(measuring.STAGES)
    assert sum(found["stages"].values()) == pytest.approx(1, abs=0.01)
    assert set(found["operations"]) == {*measuring.OPERATIONS, "other"}
    assert found["operations"]["convolution"] > 0.05


def test_what_fails_is_said_and_ends_nothing(measuring: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert measuring._in_own_process("compact", asked()) == {"failed": "exit status 1"}


def test_a_process_has_bounded_time(measuring: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], timeout: float, **_: Any) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", run)
    assert measuring._in_own_process("compact", asked(seconds=2.0)) == {"failed": "took more than 256 s"}


def test_the_table_of_the_terminal(measuring: ModuleType) -> None:
    lines = measuring.table(RECORD).splitlines()
    assert len(lines) == 4
    assert "50.0 (8.0×)" in lines[2]
    assert lines[3].split(maxsplit=1) == ["emonext-xl", "not enough memory"]


def test_the_table_of_the_documents() -> None:
    text = "\n".join(load("docs/system_pages.py").speeds(RECORD))
    assert "Parameters, MACs and input are those of the recipe `mien`" in text
    assert "smaller faces than\nthe recipe `faithful` of the first table does." in text
    assert "above 1 means slower" in text
    assert "on a processor\n(2 threads)" in text
    assert "Other programs used 20% of the processor meanwhile." in text
    assert "| [resnet18](resnet18.md) | 1 × 48 × 48 | 1.50 M | 96.3 M | 50 (8.0×) | 5.0 (400.0×) | 0.81 GB |" in text
    assert "| 22 % | backward 50 %, forward 30 %, optimiser 16 % | convolution 62 %, normalisation 20 %, other" in text
    assert "| [emonext-xl](emonext-xl.md) | not enough memory | | | | | | | | |" in text


def test_the_pages_have_sizes_in_readable_units() -> None:
    large = load("docs/system_pages.py")._large
    assert [large(n) for n in (66_877, 1_501_447, 76_403_142_656, 137_796_423, None)] == [
        "66.9 k",
        "1.50 M",
        "76.4 G",
        "138 M",
        "–",
    ]


def test_recipes_are_shown_by_field() -> None:
    flat = load("docs/system_pages.py")._flat
    stages = [{"name": "plain"}, {"name": "masks", "optim": {"lr": 0.1}}]
    assert flat({"epochs": 3, "stages": stages}) == {
        "epochs": 3,
        "stages": ["plain", "masks"],
        "stages.masks.optim.lr": 0.1,
    }
