from __future__ import annotations

import itertools
import random

import pytest
import torch

from mien import systems
from mien.errors import RecipeError

SPACE = {
    "kernel": (3, 5),
    "padded": (False, True),
    "norm": ("block", "convolution", "none"),
    "pool": ("max", "avg"),
    "hidden": ((), (16,), (16, 8)),
    "activation": ("relu", "elu"),
}


def test_every_point_of_the_space_is_a_network() -> None:
    points = list(itertools.product(*SPACE.values()))
    for point in random.Random(0).sample(points, 30):
        options = dict(zip(SPACE, point, strict=True))
        module = systems.create("cnn-search", filters=((4, 6), (8,)), **options)
        assert module(torch.zeros(2, 1, 48, 48)).shape == (2, 7), options
        assert module.embed(torch.zeros(2, 1, 48, 48)).shape[1] == module.head.in_features


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "blok"}, r"norm = 'blok': choose block, convolution or none"),
        ({"pool": "mean"}, r"pool = 'mean': choose max or avg"),
        ({"activation": "gelu"}, r"activation = 'gelu': choose relu or elu"),
        ({"kernel": 4}, r"kernel = 4: give an odd one"),
        ({"filters": ((8,),) * 5}, r"48 px are used up"),
    ],
)
def test_what_is_outside_of_it_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        systems.create("cnn-search", **options)
