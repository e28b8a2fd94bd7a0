from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from mien.training.optimisation import MovingAverage, learning_rate, make_criterion, make_optimizer, soft_targets
from mien.training.recipe import Loss, Optim, Schedule


def torch_rates(make: object, steps: int, metrics: list[float] | None = None) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)  # type: ignore[operator]
    out = []
    for step in range(steps):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step(*([metrics[step]] if metrics else []))
    return out


def test_cosine_is_that_of_torch() -> None:
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 20, eta_min=0.1), 21)
    ours = [learning_rate(Schedule("cosine", final=0.1), t, 20, []) for t in range(21)]
    assert ours == pytest.approx(theirs)


def test_cosine_after_warmup() -> None:
    schedule = Schedule("cosine", warmup=2)
    assert [learning_rate(schedule, t, 12, []) for t in (0, 0.5, 1, 2, 7, 12)] == pytest.approx(
        [0, 0.25, 0.5, 1, 0.5, 0]
    )


def test_onecycle_is_that_of_torch() -> None:
    steps = 1001
    theirs = torch_rates(
        lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, steps, pct_start=0.3, cycle_momentum=False), steps - 1
    )
    schedule = Schedule("onecycle", rise=0.3, final=1 / 25e4)
    ours = [learning_rate(schedule, 10 * t / (steps - 1), 10, []) for t in range(steps - 1)]
    assert ours == pytest.approx(theirs, abs=0.006)  # torch's peak lies one of a thousand steps earlier


@pytest.mark.parametrize("after", [0, 7])
def test_step_is_that_of_torch(after: int) -> None:
    schedule = Schedule("step", factor=0.5, every=3, after=after)
    ours = [learning_rate(schedule, t, 20, []) for t in range(20)]
    if after:
        assert ours == [1.0] * 7 + [0.5] * 3 + [0.25] * 3 + [0.125] * 3 + [0.0625] * 3 + [0.03125]
    else:
        assert ours == pytest.approx(torch_rates(lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), 20))


def test_plateau_is_that_of_torch() -> None:
    accuracies = [0.1, 0.2, 0.2, 0.15, 0.1, 0.3, 0.3, 0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.31, 0.3]
    theirs = torch_rates(
        lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, "max", factor=0.5, patience=2, threshold=0),
        len(accuracies),
        accuracies,
    )
    schedule = Schedule("plateau", factor=0.5, patience=2)
    assert [learning_rate(schedule, t, 99, accuracies[:t]) for t in range(len(accuracies))] == pytest.approx(theirs)
    assert theirs[-1] < 0.3


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle", "step", "plateau"])
def test_the_rate_is_a_factor(name: str) -> None:
    schedule = Schedule(name, warmup=0 if name == "onecycle" else 1)
    rates = [learning_rate(schedule, t / 10, 10, [0.1] * (t // 10)) for t in range(100)]
    assert min(rates) >= 0
    assert max(rates) <= 1
    assert max(rates) > 0.99


def test_smoothing_keeps_the_sum() -> None:
    soft = soft_targets(torch.tensor([2, 0]), 4, 0.3)
    torch.testing.assert_close(soft, torch.tensor([[0.1, 0.1, 0.7, 0.1], [0.7, 0.1, 0.1, 0.1]]))
    torch.testing.assert_close(soft_targets(torch.tensor([1]), 3, 0.0), torch.tensor([[0.0, 1.0, 0.0]]))
    assert not soft_targets(torch.tensor([255]), 3, 0.3).any(), "a face without a label adds nothing to a loss"


def test_cross_entropy_is_that_of_torch() -> None:
    logits, labels = torch.randn(9, 7, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 7
    criterion = make_criterion(Loss(), labels, 7)
    torch.testing.assert_close(criterion(logits, soft_targets(labels, 7, 0)), functional.cross_entropy(logits, labels))
    # torch gives the right class a share of the smoothing as well: its ε is ours · 7 / 6.
    theirs = functional.cross_entropy(logits, labels, label_smoothing=0.12 * 7 / 6)
    torch.testing.assert_close(criterion(logits, soft_targets(labels, 7, 0.12)), theirs)


def test_focal_loss_is_its_formula() -> None:
    logits, labels = torch.randn(9, 7, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 7
    p = logits.softmax(1)[torch.arange(9), labels]
    ours = make_criterion(Loss("focal", gamma=1.7), labels, 7)(logits, soft_targets(labels, 7, 0))
    torch.testing.assert_close(ours, (-((1 - p) ** 1.7) * p.log()).mean())


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_has_a_slope_where_the_answer_is_certain(gamma: float) -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = make_criterion(Loss("focal", gamma=gamma), torch.tensor([0]), 3)(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    loss.backward()
    assert math.isfinite(float(loss.detach()))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_balanced_classes_weigh_alike() -> None:
    labels = torch.tensor([0, 0, 0, 1])
    criterion = make_criterion(Loss(class_weights="balanced"), labels, 2)
    # Every face answered with one half: each class contributes half of the whole.
    torch.testing.assert_close(criterion(torch.zeros(4, 2), soft_targets(labels, 2, 0)), torch.tensor(math.log(2)))
    rare = criterion(torch.zeros(1, 2), torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(rare, torch.tensor(2 * math.log(2)))


def test_moving_average() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(module, 0.9)
    expected = module[0].weight.detach().clone()
    mean = torch.zeros(2)
    for step in range(50):
        with torch.no_grad():
            module[0].weight += 1
        module.train()(torch.randn(4, 2))
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * module[0].weight.detach()
        mean = decay * mean + (1 - decay) * module[1].running_mean
    torch.testing.assert_close(average.module[0].weight, expected)
    torch.testing.assert_close(average.module[1].running_mean, mean)
    assert int(average.module[1].num_batches_tracked) == 50
    assert not any(p.requires_grad for p in average.module.parameters())
    assert not average.module.training


@pytest.mark.parametrize(
    ("name", "kind"),
    [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("radam", torch.optim.RAdam)],
)
def test_optimisers(name: str, kind: type) -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    made = make_optimizer(module, Optim(name, weight_decay=0.1))
    assert type(made) is kind
    assert [(len(g["params"]), g["weight_decay"]) for g in made.param_groups] == [(1, 0.1), (3, 0.0)]
    whole = make_optimizer(module, Optim(name, weight_decay=0.1, decay_norms=True))
    assert [(len(g["params"]), g["weight_decay"]) for g in whole.param_groups] == [(4, 0.1)]


def test_restarts_are_cosines_one_after_the_other() -> None:
    schedule = Schedule("restarts", warmup=0.5, cycle=2.5, final=0.1)
    single = Schedule("cosine", warmup=0.5, final=0.1)
    for time in (0.0, 0.25, 0.5, 1.7, 2.49):
        wanted = learning_rate(single, time, 2.5, [])
        assert [learning_rate(schedule, time + k * 2.5, 99, []) for k in range(4)] == pytest.approx([wanted] * 4)
    assert learning_rate(schedule, 2.499999, 99, []) == pytest.approx(0.1, abs=1e-3)


def test_inverse_is_the_decay_of_keras() -> None:
    schedule = Schedule("inverse", decay=1e-2)
    assert [learning_rate(schedule, t, 9, [], steps=50) for t in (0, 1, 2.5)] == pytest.approx(
        [1, 1 / 1.5, 1 / (1 + 1.25)]
    )


def test_no_factor_falls_below_the_floor() -> None:
    for schedule in (
        Schedule("step", factor=0.1, every=1, floor=0.01),
        Schedule("plateau", factor=0.1, patience=0, floor=0.01),
        Schedule("inverse", decay=1.0, floor=0.01),
    ):
        factors = [learning_rate(schedule, t, 900, [0.0] * t, steps=1) for t in (1, 2, 3, 500)]
        assert factors[-1] == 0.01
        assert min(factors) == 0.01


def test_decoupled_decay_acts_on_the_weights_alone() -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    module = nn.Module()
    module.weight = weight
    optimizer = make_optimizer(module, Optim("radam", lr=0.1, weight_decay=0.5, decoupled=True))
    weight.grad = torch.zeros_like(weight)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 2), 1 - 0.1 * 0.5))


def test_rmsprop_and_parameters_that_do_not_learn() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    module[0].requires_grad_(False)
    optimizer = make_optimizer(module, Optim("rmsprop", momentum=0.0))
    assert isinstance(optimizer, torch.optim.RMSprop)
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == {
        id(p) for p in module[1].parameters()
    }
