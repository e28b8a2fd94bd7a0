"""Going on from a run that tells other expressions, or the same in another order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tiny
import torch

from mien import systems
from mien.datasets import FaceSet
from mien.errors import InputError
from mien.labels import CKPLUS_PEAK, FER2013, FERPLUS, RAFDB, LabelSet, mapping
from mien.training.carrying import Carried, said
from mien.training.recipe import Recipe

STILL = ("epochs=1", "optim.lr=1e-9", "optim.weight_decay=0", "ema=0")


def told(drawn: FaceSet, target: LabelSet) -> FaceSet:
    """The drawn faces in another label set, as another data set would have them."""
    ids = mapping(FER2013, target).ids()
    keep = np.isin(drawn._labels, [label for label, to in enumerate(ids) if to is not None])
    labels = np.array([ids[label] for label in drawn._labels[keep]], np.uint8)
    return FaceSet.from_arrays(
        "other", target, 255 - np.array(drawn._images[keep]), labels, np.array(drawn.splits[keep]), drawn.split_names
    )


@pytest.mark.parametrize("target", [RAFDB, FERPLUS, CKPLUS_PEAK])
def test_rows_of_the_head_follow_their_names(target: LabelSet, drawn: FaceSet, tmp_path: Path) -> None:
    first = tiny.run(drawn, tmp_path, "epochs=1")
    run = tiny.run(told(drawn, target), tmp_path / "on", *STILL, init=first)
    before, now = first.module().state_dict(), run.module().state_dict()
    for name, tensor in now.items():
        if not name.startswith("head") and tensor.is_floating_point() and "running" not in name:
            assert torch.allclose(tensor, before[name], atol=1e-5)
    weight = (
        "head.weight" if "head.weight" in now else next(n for n in now if n.startswith("head") and n.endswith("weight"))
    )
    for label in target.labels:
        if label in FER2013.labels:
            theirs = before[weight][FER2013.id(label)]
            assert torch.allclose(now[weight][target.id(label)], theirs, atol=1e-5)
    start = run.info["start"]
    assert start["carried"] == [label for label in target.labels if label in FER2013.labels]
    assert start["fresh"] == [label for label in target.labels if label not in FER2013.labels]
    assert "carried over by name" in said(start)
    assert run.info["extra_data"] == ["drawn"]
    assert said({"name": "a"}) == ""


def test_every_system_says_which_entries_are_whose() -> None:
    for name in ("deepemotion", "vggnet", "resnet18-tricks"):
        recipe = Recipe.of(systems.card(name))
        found = Carried.of(recipe, FER2013, RAFDB)
        assert found.axes, name
        module = systems.create(name, classes=7, channels=recipe.input.channels, **recipe.system)
        state = found.state(module.state_dict(), module.state_dict())
        order = [FER2013.id(label) for label in RAFDB.labels]
        for tensor, axis in found.axes.items():
            assert torch.equal(state[tensor], module.state_dict()[tensor].index_select(axis, torch.tensor(order)))


def test_too_little_in_common_is_refused() -> None:
    recipe = Recipe.of(systems.card("compact"))
    with pytest.raises(InputError, match="fewer than two expressions in common"):
        Carried.of(recipe, FER2013, LabelSet("moods", ("happy", "bored")))
