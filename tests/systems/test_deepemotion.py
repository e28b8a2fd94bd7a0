from __future__ import annotations

import pytest
import torch

from mien import systems
from mien.systems.base import count_macs


def terms(**options: float) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    module = systems.create("deepemotion", **options)
    images, targets = torch.zeros(2, 1, 48, 48), torch.eye(7)[:2]
    return module.loss(images, targets, lambda logits, wanted: (logits * wanted).sum())


def test_the_penalty_is_on_the_last_two_layers_alone() -> None:
    module = systems.create("deepemotion", penalty=0.5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.hidden[1].weight[0, :3] = 2.0
        module.head.weight[0, 0] = 4.0
        module.features[0].weight.fill_(9.0)
    found = module.loss(torch.zeros(2, 1, 48, 48), torch.eye(7)[:2], lambda logits, wanted: logits.sum())
    assert float(found["penalty"].detach()) == pytest.approx(0.5 * (3 * 4 + 16))
    assert set(terms()) == {"loss"}


def test_initial_weights_behind_the_warp_are_normal() -> None:
    torch.manual_seed(0)
    module = systems.create("deepemotion-4", initial_std=0.05)
    assert float(module.hidden[1].weight.std().detach()) == pytest.approx(0.05, rel=0.02)
    assert not module.warp.regression[-1].weight.any(), "the warp starts as the identity"


@pytest.mark.parametrize(("name", "macs"), [("deepemotion", 3.9e6), ("deepemotion-8", 158e6)])
def test_width_is_that_of_the_trunk(name: str, macs: float) -> None:
    with torch.device("meta"):
        assert count_macs(systems.create(name), 1, 48) == pytest.approx(macs, rel=0.02)
