"""Stages: each begins with what the one before kept, and a kill anywhere changes nothing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file
from switching import STAGES
from test_loop import fake_scores, killed

from mien import systems
from mien.datasets import FaceSet
from mien.errors import RecipeError
from mien.systems import card
from mien.training import Progress, Recipe, Run, choosing, train
from mien.training.trainable import Trainable


@pytest.fixture(scope="module")
def checkpoints() -> list[dict[str, torch.Tensor]]:
    return []


@pytest.fixture(scope="module")
def whole(drawn: FaceSet, tmp_path_factory: pytest.TempPathFactory, checkpoints: list[dict[str, Any]]) -> Run:
    """An uninterrupted run, and what its checkpoint held after each epoch."""
    out = tmp_path_factory.mktemp("staged")

    def remember(progress: Progress) -> None:
        assert progress.epochs == 6
        if progress.entry:
            checkpoints.append(load_file(next(out.rglob("checkpoint.safetensors"))))

    return tiny.run(drawn, out, "staged", on_progress=remember)


def part(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(name): value for key, value in tensors.items() if key.startswith(name)}


def test_the_log_and_the_outcome_say_which_stage(whole: Run, checkpoints: list[dict[str, torch.Tensor]]) -> None:
    assert [(entry["epoch"], entry["stage"]) for entry in whole.log] == [
        (0, "body"), (1, "body"), (2, "join"), (3, "join"), (4, "all"), (5, "all"),
    ]  # fmt: skip
    assert whole.info["best_epoch"] == 5
    assert whole.info["cost"]["epochs"] == 6
    assert Run.open(whole.folder) == whole
    module = whole.module()
    assert module.told == ["all"]  # type: ignore[comparison-overlap]
    kept = part(checkpoints[5], "best.")
    assert all(torch.equal(value, kept[name]) for name, value in module.state_dict().items())


def test_a_stage_begins_with_what_the_last_one_kept(whole: Run, checkpoints: list[dict[str, torch.Tensor]]) -> None:
    kept, first, second = (
        part(checkpoints[1], "best."),
        part(checkpoints[2], "module."),
        part(checkpoints[3], "module."),
    )
    learns = {name for name in kept if name.startswith(("joins.", "head."))}
    for name in kept:
        same = torch.equal(kept[name], first[name]) and torch.equal(kept[name], second[name])
        assert same == (name not in learns), name
    assert not part(checkpoints[2], "average."), "the second stage has no moving average"
    assert part(checkpoints[4], "average."), "the third has one"
    assert len(part(checkpoints[2], "optimizer.")) == 3 * 4, "AdamW keeps three tensors for each parameter that learns"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_in_every_stage_it_ends_with_the_same_weights(whole: Run, drawn: FaceSet, tmp_path: Path) -> None:
    killed(tmp_path, 2, 1, "staged")  # before the second stage has a checkpoint

    def stop(progress: Progress) -> None:
        if (progress.epoch, progress.step) == (3, 2):  # within it
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path, "staged", resume=True, on_progress=stop)
    epochs: list[int] = []
    resumed = tiny.run(drawn, tmp_path, "staged", resume=True, on_progress=lambda p: epochs.append(p.epoch))
    assert min(epochs) == 3
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
    assert [entry["stage"] for entry in resumed.log] == [entry["stage"] for entry in whole.log]


@pytest.mark.full
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_again_and_again(whole: Run, drawn: FaceSet, tmp_path: Path) -> None:
    for epoch in range(6):
        killed(tmp_path, epoch, 1 + epoch % 3, "staged")
    resumed = tiny.run(drawn, tmp_path, "staged", resume=True)
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]


def test_stopping_early_ends_a_stage_and_not_the_training(
    drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accuracies = [1.0, 0.5, 0.5, 0.1, 0.5, 0.2, 0.2, 0.0, 0.3, 0.1, 0.1]
    monkeypatch.setattr(choosing, "score", fake_scores(accuracies))
    changes = [f"stages.{stage['name']}.epochs=5" for stage in STAGES]
    changes += ["early_stop=2", "stages.all.keep=best", "stages.all.monitor=accuracy"]
    run = tiny.run(drawn, tmp_path, "staged", *changes)
    assert [entry["stage"] for entry in run.log] == ["body"] * 3 + ["join"] * 4 + ["all"] * 4
    assert run.info["best_epoch"] == 8, "the best epoch is one of the last stage"


def test_monitored_loss_chooses_and_stops(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The accuracies rise while the loss does too: certain and wrong costs more than undecided."""
    import numpy as np

    shown = iter([0.1, 0.5, 3.0, 9.0, 27.0])
    rights = iter([4, 5, 6, 7, 8])

    def score(*_: Any, **__: Any) -> np.ndarray:
        labels, right, certainty = np.arange(14) % 7, next(rights), next(shown)
        out = np.zeros((14, 7), np.float32)
        out[np.arange(14), np.where(np.arange(14) < right, labels, (labels + 1) % 7)] = certainty
        return out

    monkeypatch.setattr(choosing, "score", score)
    run = tiny.run(drawn, tmp_path, "epochs=9", "monitor=loss", "early_stop=2")
    losses = [entry["selection_nll"] for entry in run.log]
    assert run.info["best_epoch"] == losses.index(min(losses)) == 1
    assert len(run.log) == 4


def test_mistakes_are_found_before_anything_is_written(drawn: FaceSet, tmp_path: Path) -> None:
    base = Recipe.of(card("switching"))
    for recipe, message in (
        (base.with_(stages=({"name": "boddy"},)), "switching has no stage 'boddy'"),
        (base.with_(stages=({"name": "all", "trainable": ["hed"]},)), "no part 'hed'; did you mean 'head'"),
        (
            tiny.staged().with_(stages=(), trainable=("joins.wight",)),
            "no part 'joins.wight'; did you mean 'joins.weight'",
        ),
    ):
        with pytest.raises(RecipeError, match=message):
            train("switching", drawn.train, drawn.selection, recipe=recipe, out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_frozen_parts_keep_their_statistics() -> None:
    module = torch.nn.Sequential()
    module.add_module("body", torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)))
    module.add_module("head", torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2), torch.nn.Dropout()))
    module.body[0].bias.requires_grad_(False)  # type: ignore[union-attr]
    trainable = Trainable(module)
    trainable.choose(["head"])
    trainable.train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module(torch.randn(8, 2))
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.1.running_mean", "head.1.running_var", "head.1.num_batches_tracked"}
    trainable.choose([])
    trainable.train()
    assert [name for name, p in module.named_parameters() if not p.requires_grad] == ["body.0.bias"]
    assert all(part.training for part in module.modules())


STAGED = [name for name in systems.networks() if any("stages" in recipe for recipe in card(name).recipes.values())]


@pytest.mark.parametrize("name", STAGED)
def test_systems_keep_the_contract_of_stages(name: str) -> None:
    """A stage switches parts and nothing else; a fresh network is that of the last stage."""
    known = card(name)
    size = known.tiny_size or known.input.size
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = systems.create(name, **known.tiny).eval()
        images = torch.randn(2, known.input.channels, size, size)
    with torch.no_grad():
        fresh = module(images)
    before = {key: value.clone() for key, value in module.state_dict().items()}
    able = [parameter.requires_grad for parameter in module.parameters()]
    trainable = Trainable(module)
    for recipe_name in known.recipes:
        recipe = Recipe.of(known, recipe_name)
        if not recipe.stages:
            continue
        drawn_so_far = torch.get_rng_state()
        for stage in recipe.staged:
            module.begin_stage(stage.name)
            state = module.state_dict()
            assert state.keys() == before.keys()
            assert all(torch.equal(value, before[key]) for key, value in state.items())
            assert [parameter.requires_grad for parameter in module.parameters()] == able
            trainable.choose(stage.trainable)  # names parts that are there
            trainable.choose(())
        assert torch.equal(torch.get_rng_state(), drawn_so_far), "the beginning of a stage draws random numbers"
        with pytest.raises(RecipeError):
            module.begin_stage("no-such-stage")
    recipes = [Recipe.of(known, recipe_name) for recipe_name in known.recipes]
    for stage_name in {recipe.staged[-1].name for recipe in recipes if recipe.stages}:
        module.begin_stage(stage_name)
        with torch.no_grad():
            assert torch.equal(module(images), fresh), f"a fresh network is not that of {stage_name}"
