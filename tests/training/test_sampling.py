from __future__ import annotations

import torch

from mien.training.pipeline.sampling import epoch_rows

LABELS = torch.tensor([3] * 10 + [0] * 4 + [5] * 1)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_sampling_each_row_comes_once() -> None:
    rows = epoch_rows(LABELS, "none", generator())
    assert sorted(rows.tolist()) == list(range(15))
    assert torch.equal(rows, torch.randperm(15, generator=generator())), "recorded runs drew their order like this"


def test_balanced_shows_each_class_as_often_as_the_largest() -> None:
    rows = epoch_rows(LABELS, "balanced", generator())
    assert torch.bincount(LABELS[rows]).tolist() == [10, 0, 0, 10, 0, 10]
    counts = torch.bincount(rows, minlength=15).tolist()
    assert counts[:10] == [1] * 10
    assert sorted(counts[10:14]) == [2, 2, 3, 3], "whole rounds first, the rest without repetition"
    assert counts[14] == 10
    assert LABELS[rows].tolist() != sorted(LABELS[rows].tolist())


def test_faces_without_a_label_are_no_class() -> None:
    labels = torch.cat([LABELS, torch.tensor([255, 255])])
    rows = epoch_rows(labels, "balanced", generator())
    assert sorted(rows[rows >= 15].tolist()) == [15, 16]
    assert len(rows) == 30 + 2


def test_each_epoch_draws_anew() -> None:
    first, again = (epoch_rows(LABELS, "balanced", generator(seed)) for seed in (0, 0))
    assert torch.equal(first, again)
    rest = {
        tuple(torch.bincount(epoch_rows(LABELS, "balanced", generator(s)), minlength=15).tolist()) for s in range(9)
    }
    assert len(rest) > 1
