"""The systems whose sources train in stages, through all of them in their small variants."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mien
from mien import systems
from mien.training.recipe import Recipe
from mien.training.weights import load_tensors


@pytest.mark.parametrize("name", ["segmentation-vgg19", "lhc-netc"])
def test_every_stage_is_trained_in_order(name: str, tmp_path: Path) -> None:
    card = systems.card(name)
    data = mien.load_dataset("drawn", count=70, seed=0)
    tree = Recipe.of(card, "faithful").to_dict()
    stages = [{**stage, "epochs": 1, "batch_size": 35} for stage in tree["stages"]]
    changed = {
        "start": {"kind": "fresh"},
        "stages": stages,
        "system": dict(card.tiny),
        "input": {**tree["input"], "size": card.tiny_size, "resize": 0},
        "precision": "fp32",
    }
    recipe = Recipe.from_dict({**tree, **changed})
    run = mien.train(name, data.train, data.selection, recipe=recipe, out=tmp_path, device="cpu")
    seen = [entry["stage"] for entry in run.log]
    assert seen == [stage["name"] for stage in stages]
    module = run.module().eval()
    spec = recipe.input
    with torch.no_grad():
        assert torch.isfinite(module(torch.zeros(1, spec.channels, spec.size, spec.size))).all()
    if name == "lhc-netc":
        weights, _ = load_tensors(run.folder / "weights.safetensors")
        started = torch.tensor(card.options["gates"])
        assert not torch.equal(weights["controller"], started)
