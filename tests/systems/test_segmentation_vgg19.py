from __future__ import annotations

import pytest
import torch

from mien import systems
from mien.errors import InputError, RecipeError


def tiny(**options: object) -> systems.base.System:  # type: ignore[name-defined]
    of_card = systems.card("segmentation-vgg19").tiny
    torch.manual_seed(0)
    return systems.create("segmentation-vgg19", **{**of_card, **options}).eval()


def test_the_first_stage_is_plain_vgg19() -> None:
    module = tiny()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        masked = module.embed(images)
        module.begin_stage("plain")
        plain = module.embed(images)
        assert torch.equal(plain, module.trunk.features(images).mean((2, 3)))
        module.begin_stage("masks")
        assert torch.equal(module.embed(images), masked)
    assert not torch.allclose(plain, masked, rtol=1e-2)


def test_other_stages_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"stage 'first': .* plain, masks"):
        tiny().begin_stage("first")


def test_masks_follow_the_convolutions_of_the_source() -> None:
    module = tiny()
    seen: list[tuple[int, int]] = []
    for mask in module.masks.values():
        mask.register_forward_hook(lambda _, inputs, out: seen.append((out.shape[1], out.shape[2])))
    with torch.no_grad():
        module(torch.randn(1, 3, 32, 32))
    assert seen == [(4, 32), (4, 16), (8, 8), (16, 2)]


def test_the_published_head_sees_224_px() -> None:
    with torch.device("meta"):
        module = systems.create("segmentation-vgg19").eval()
        assert module(torch.zeros(1, 3, 224, 224)).shape == (1, 7)
        with pytest.raises(InputError, match="at least 224 px, not 48; with the option pooled_head"):
            module(torch.zeros(1, 3, 48, 48))


def test_masks_weigh_between_one_and_two() -> None:
    module = tiny()
    features = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        mask = module.masks["0"](features)
        assert torch.allclose(module._weighed(features, 0), features + mask * features)
    assert 0 < float(mask.min()) < float(mask.max()) < 1
    assert torch.equal(module._weighed(features, 3), features), "the source masks all stages but the fourth"
