"""Whatever the registry holds becomes a bundle of each precision, or says in one sentence why not.

The small variant of every network is checked by the contract (`tests/contract`, check ``onnx``).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mien import systems
from mien.errors import InputError, RunError
from mien.export import export_run
from mien.export.onnx import to_onnx
from mien.systems.base import System, build
from mien.systems.card import Card, grey
from mien.testing import SYSTEM_CHECKS, check_export, system_checks
from mien.training import Run

FULL_SIZE = [
    name
    for name in systems.networks()
    if systems.card(name).parameters <= 30_000_000 and systems.card(name).input.size <= 64
]


def test_the_contract_exports_every_network() -> None:
    assert "onnx" in SYSTEM_CHECKS
    assert len(FULL_SIZE) > 10
    for name in systems.networks():
        assert "onnx" in dict(system_checks(name))


@pytest.mark.parametrize("name", sorted(set(systems.names()) - set(systems.networks())))
def test_what_is_no_network_says_why(trained: Run, tmp_path: Path, name: str) -> None:
    run = replace(trained, recipe=replace(trained.recipe, system_id=name))
    with pytest.raises(InputError, match=f"{name} is no network: .*`mien evaluate` measures its run folder"):
        export_run(run, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())


class Branching(System):
    """Computes one thing or another, depending on the pixels."""

    def __init__(self, *, classes: int, channels: int) -> None:
        super().__init__()
        self.head = nn.Linear(channels * 48 * 48, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(images.flatten(1))
        return logits if float(images.sum()) > 0 else -logits


def test_what_pytorch_cannot_export_says_why() -> None:
    card = Card("branching", "Branching", Branching, grey(48), 0)
    with pytest.raises(RunError, match=r"^branching cannot be written as an ONNX graph \(.*\); nothing") as told:
        to_onnx(build(card, classes=7, channels=1, options={}), card.input)
    assert "\n" not in str(told.value)


@pytest.mark.full
@pytest.mark.parametrize("name", FULL_SIZE)
def test_in_full_size(name: str) -> None:
    card = systems.card(name)
    torch.manual_seed(0)
    module = build(card, classes=7, channels=card.input.channels, options={})
    side = card.input.size

    def faces(count: int) -> Any:
        noise = np.random.default_rng(count).normal(size=(count, card.input.channels, side, side))
        return torch.from_numpy(noise.astype(np.float32))

    with torch.no_grad():  # statistics of normalisation that are those of its activations
        module.train()(faces(32))
    check_export(module.eval(), card.input, faces(16), faces(5))
