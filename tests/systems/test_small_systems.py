"""Switches and counts of systems that have little else of their own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mien import systems
from mien.systems.base import count_macs, count_parameters
from mien.training import choosing
from mien.training.optimisation import learning_rate
from mien.training.recipe import Recipe


def test_strides_of_resemotenet_change_the_map_and_no_count() -> None:
    with torch.device("meta"):
        published, fine = (systems.create("resemotenet", strides=strides) for strides in ((2, 2, 2), (1, 2, 2)))
        assert count_parameters(published) == count_parameters(fine) == 80_238_599
        assert count_macs(fine, 3, 48) > 2 * count_macs(published, 3, 48)


def test_the_minis_are_distilled() -> None:
    for letter in "abc":
        recipe = Recipe.of(systems.card(f"mini-resemotenet-{letter}"), "faithful")
        assert (recipe.distill.weight, recipe.distill.temperature) == (0.7, 4.0)
        assert not Recipe.of(systems.card(f"mini-resemotenet-{letter}")).distill.weight


def test_the_corner_pool_ignores_the_last_row_and_column() -> None:
    torch.manual_seed(0)
    module = systems.create("resnet18-tricks", width=4, corner_pool=True).eval()
    maps = torch.rand(1, 32, 5, 5)
    module.stem, module.stages = nn.Identity(), nn.Identity()
    assert torch.allclose(module.embed(maps), maps[:, :, :4, :4].mean((2, 3)))
    module.corner_pool = False
    assert torch.allclose(module.embed(maps), maps.mean((2, 3)))


@pytest.mark.parametrize("wanted", [False, True])
def test_the_unmixed_forward_moves_statistics_and_nothing_else(wanted: bool) -> None:
    module = systems.create("resnet18-tricks", width=4, unmixed_forward=wanted).train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with torch.no_grad():
        module.before_mixing(torch.rand(4, 1, 24, 24))
    changed = {name for name, value in module.state_dict().items() if not torch.equal(value, before[name])}
    assert bool(changed) == wanted
    assert all("running" in name or "num_batches" in name for name in changed)


@pytest.mark.parametrize("kind", ["vgg", "resnet", "inception"])
def test_standardised_faces_may_be_brighter_or_richer_in_contrast(kind: str) -> None:
    name, images = f"pramerdorfer-{kind}", torch.rand(2, 1, 48, 48)
    module = systems.create(name, standardise=True, **systems.card(name).tiny).eval()
    module.features = nn.Flatten()
    assert torch.allclose(module.embed(images), module.embed(0.5 * images + 0.3), atol=1e-3)
    assert torch.allclose(module.embed(images).std(1), torch.ones(2), atol=1e-2)
    module.standardise = False
    assert torch.equal(module.embed(images), images.flatten(1))


def test_layers_of_pramerdorfer_and_kampel() -> None:
    def weighted(name: str, *kinds: type[nn.Module]) -> int:
        with torch.device("meta"):
            return sum(isinstance(part, kinds) for part in systems.create(name).modules())

    assert weighted("pramerdorfer-vgg", nn.Conv2d, nn.Linear) == 10
    # Three of ResNet34's 36 convolutions are the 1×1 ones of shortcuts, which are not counted as depth.
    assert weighted("pramerdorfer-resnet", nn.Conv2d) == 36
    # One, then in each of seven modules six of which two follow each other.
    assert weighted("pramerdorfer-inception", nn.Conv2d) == 1 + 7 * 6


def test_normalisation_is_what_identiface_adds() -> None:
    with torch.device("meta"):
        plain, normalised = (systems.create("identiface", batch_norm=wanted) for wanted in (False, True))
    assert count_parameters(normalised) - count_parameters(plain) == 2 * (2 * 64 + 2 * 128 + 3 * 256)


def test_the_learning_rate_of_vgg19_falls_as_in_its_source() -> None:
    recipe = Recipe.of(systems.card("vgg19-bn"), "faithful")
    ours = [learning_rate(recipe.schedule, epoch, recipe.epochs, []) for epoch in range(250)]
    assert ours == pytest.approx([0.9 ** ((epoch - 80) // 5) if epoch > 80 else 1.0 for epoch in range(250)])
    assert (ours[84], ours[85], recipe.clip_value, recipe.clip) == (1.0, 0.9, 0.1, 0.0)


@pytest.mark.parametrize("name", ["resemotenet", "mini-resemotenet-c"])
def test_resemotenet_stops_after_sixteen_epochs_without_gain(name: str) -> None:
    """Its source counts them, and stops when there are more than 15."""
    recipe, log = Recipe.of(systems.card(name), "faithful"), [{"selection_accuracy": 0.5}]
    assert not choosing.is_over(recipe, log + [{"selection_accuracy": 0.5}] * 15)
    assert choosing.is_over(recipe, log + [{"selection_accuracy": 0.5}] * 16)


@pytest.mark.parametrize("name", ["resemotenet", "mini-resemotenet-a", "vgg19-bn", "deepemotion-4", "ad-corre"])
def test_faithful_trainings_compute_in_single_precision_where_their_sources_do(name: str) -> None:
    assert Recipe.of(systems.card(name), "faithful").precision == "fp32"


@pytest.mark.parametrize(("name", "light"), [("vggnet", "offset"), ("resnet18-tricks", "factor")])
def test_faithful_augmentation_is_that_of_torchvision_and_mien_keeps_its_own(name: str, light: str) -> None:
    faithful, mien = (Recipe.of(systems.card(name), recipe).augment for recipe in ("faithful", "mien"))
    assert (faithful.window, faithful.erase_fill, faithful.light) == ("inside", "black", light)
    assert (mien.window, mien.erase_fill, mien.light) == ("centre", "grey", "offset")
