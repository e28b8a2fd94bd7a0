from __future__ import annotations

import pytest
import torch

from mien import systems
from mien.errors import InputError


def tiny(**options: object) -> systems.base.System:  # type: ignore[name-defined]
    of_card = systems.card("residual-masking-network").tiny
    torch.manual_seed(0)
    return systems.create("residual-masking-network", **{**of_card, **options}).eval()


def test_each_stage_is_weighed_by_one_plus_its_mask() -> None:
    module = tiny()
    seen: dict[str, torch.Tensor] = {}
    for index, mask in enumerate(module.masks):
        mask.register_forward_hook(lambda _, inputs, out, at=index: seen.update({f"{at}": inputs[0] * (1 + out)}))
    for index in (2, 3, 4):
        stage = getattr(module.trunk, f"layer{index}")
        stage.register_forward_hook(lambda _, inputs, out, at=index: seen.update({f"into {at - 1}": inputs[0]}))
    with torch.no_grad():
        features = module.embed(torch.randn(2, 3, 32, 32))
    for index in (0, 1, 2):
        assert torch.equal(seen[f"{index}"], seen[f"into {index + 1}"])
    assert torch.equal(features, seen["3"].mean((2, 3)))


def test_the_stem_keeps_the_weights() -> None:
    assert set(tiny().state_dict()) == set(tiny(stem_stride=1).state_dict())


def test_faces_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(InputError, match="its side is a multiple of 32, not 48"):
        tiny()(torch.zeros(1, 3, 48, 48))
    assert tiny(stem_stride=2, mask_depths=(4, 3, 2, 1)).multiple == 16
