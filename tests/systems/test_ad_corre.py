from __future__ import annotations

import numpy as np
import pytest
import torch

from mien import systems
from mien.systems.ad_corre import (
    correlations,
    embedding_discrimination,
    feature_discrimination,
    mean_discrimination,
)
from mien.systems.base import count_parameters
from mien.training.optimisation import make_criterion
from mien.training.recipe import Loss

LABELS = torch.tensor([0, 1, 2, 0, 1, 6, 3, 6])
TARGETS = torch.nn.functional.one_hot(LABELS, 7).float()


def test_correlations_are_numpys() -> None:
    rows = torch.randn(3, 5, 20, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(correlations(rows), rows.numpy(), strict=True):
        assert np.abs(ours.numpy() - np.corrcoef(theirs)).max() < 1e-6


def test_losses_are_those_of_the_formulas() -> None:
    embeddings = torch.randn(8, 4, 16, generator=torch.Generator().manual_seed(0))
    array, labels = embeddings.numpy().astype(np.float64), LABELS.numpy()
    same = np.where(labels[:, None] == labels[None], 1, -1)
    wanted = np.mean([np.abs(same - np.corrcoef(array[:, k])).mean() for k in range(4)])
    assert float(feature_discrimination(embeddings, TARGETS)) == pytest.approx(wanted, abs=1e-5)

    weights = np.where(labels[None] == np.arange(7)[:, None], 1.0, 1e-7)
    means = [[np.average(array[:, k], axis=0, weights=w) for w in weights] for k in range(4)]
    wanted = np.mean([(1 - np.eye(7)) * (1 + np.corrcoef(m)) for m in means])
    assert float(mean_discrimination(embeddings, TARGETS)) == pytest.approx(wanted, abs=1e-5)

    wanted = np.mean([(1 - np.eye(4)) * (1 + np.corrcoef(face)) for face in array])
    assert float(embedding_discrimination(embeddings)) == pytest.approx(wanted, abs=1e-5)


def test_perfect_embeddings_have_no_feature_loss() -> None:
    pattern = torch.tensor([1.0, -1.0, 1.0, -1.0])
    embeddings = torch.stack([pattern, pattern, -pattern])[:, None]
    targets = torch.eye(2)[[0, 0, 1]]
    assert float(feature_discrimination(embeddings, targets)) == pytest.approx(0, abs=1e-6)
    assert float(feature_discrimination(embeddings, targets.flip(0))) > 0.5


def test_a_face_without_a_label_counts_in_no_pair() -> None:
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(9, 4, 16, generator=generator).requires_grad_()
    targets = torch.cat([TARGETS, torch.zeros(1, 7)])
    loss = feature_discrimination(embeddings, targets)
    assert loss.item() == pytest.approx(feature_discrimination(embeddings[:8], TARGETS).item(), abs=1e-6)
    loss.backward()
    assert embeddings.grad is not None
    assert not embeddings.grad[8].any()
    assert embeddings.grad[:8].any()
    assert feature_discrimination(embeddings, torch.zeros(9, 7)).item() == 0


def test_a_face_counts_by_the_share_of_it_that_has_a_label() -> None:
    """Mixup adds a little of a labelled face to one without a label."""
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(9, 4, 16, generator=generator)

    def pull(row: torch.Tensor) -> float:
        seen = embeddings.clone().requires_grad_()
        feature_discrimination(seen, torch.cat([TARGETS, row[None]])).backward()
        assert seen.grad is not None
        return float(seen.grad[8].norm())

    labelled = TARGETS[0]
    assert 0 < pull(0.01 * labelled) < 0.03 * pull(labelled)
    # The distribution of a mixed face is that of what is known of it.
    whole = feature_discrimination(embeddings[[0, 8]], torch.stack([labelled, labelled]))
    halves = feature_discrimination(embeddings[[0, 8]], torch.stack([labelled / 2, labelled / 2]))
    assert halves.item() == pytest.approx(whole.item(), abs=1e-6)


def gradient(**weights: float) -> torch.Tensor:
    torch.manual_seed(0)
    tiny = {"trunk": "test_resnet", "embeddings": 3, "size": 16, "dropout": 0.0}
    module = systems.create("ad-corre", **{**tiny, "cross_entropy": 1.0, **weights}).train()
    torch.manual_seed(1)
    criterion = make_criterion(Loss(), LABELS, 7)
    terms = module.loss(torch.randn(8, 3, 32, 32), TARGETS, criterion)
    assert set(terms) == {"loss"} | {name for name, weight in weights.items() if weight}
    torch.stack(list(terms.values())).sum().backward()
    return torch.cat([p.grad.flatten() for p in module.trunk.parameters() if p.grad is not None])


def test_each_weight_changes_the_gradients_of_the_trunk() -> None:
    off = {"feature": 0.0, "mean": 0.0, "embedding": 0.0}
    alone = gradient(**off)
    for name in off:
        changed = gradient(**{**off, name: 1.0})
        assert float((changed - alone).norm() / alone.norm()) > 1e-3, f"the {name} loss trains nothing"
        assert torch.isfinite(changed).all()


def test_the_stem_steps_over_every_pixel_when_told() -> None:
    with torch.device("meta"):
        plain, fine = (systems.create("ad-corre", stem_stride=stride) for stride in (2, 1))
        assert count_parameters(plain) == count_parameters(fine)
        sides = [module.trunk.forward_features(torch.zeros(1, 3, 64, 64)).shape[-1] for module in (plain, fine)]
    assert sides == [2, 4]


@pytest.mark.full
def test_xception_itself_exports_alike() -> None:
    from mien.testing import system_checks

    dict(system_checks("ad-corre", tiny_options={"stem_stride": 1}, tiny_size=32))["onnx"]()


def test_published_weights_of_xception_go_into_the_trunk() -> None:
    import timm

    torch.manual_seed(3)
    state = timm.create_model("legacy_xception").state_dict()
    module = systems.create("ad-corre", pretrained=state)
    trunk = module.trunk.state_dict()
    assert "fc.weight" in state
    assert set(trunk) == {name for name in state if not name.startswith("fc.")}
    assert all(torch.equal(value, state[name]) for name, value in trunk.items())
