from __future__ import annotations

from typing import Any

import pytest
import torch

from mien import systems
from mien.errors import RecipeError
from mien.systems import options as checks
from mien.systems.classical import make

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("emonext-t", {"dims": [96, 192]}, "dims = [96, 192]: give 4 values, one for each stage, not 2"),
    ("emonext-t", {"dims": []}, "dims = []: give 4 values, one for each stage, not 0"),
    ("emonext-t", {"depths": [3] * 5}, "depths = [3, 3, 3, 3, 3]: give 4 values, one for each stage, not 5"),
    ("emonext-t", {"attention": "vit"}, "attention = 'vit': choose batch or tokens"),
    ("emonext-t", {"attention_weight": -1.0}, "attention_weight = -1.0: give a number of at least 0"),
    ("fernext-sdafe", {"depths": [3, 3, 9]}, "depths = [3, 3, 9]: give 4 values, one for each stage, not 3"),
    ("fernext-sdafe", {"layer_scale": -1}, "layer_scale = -1: give a number of at least 0"),
    (
        "compact",
        {"widths": []},
        "widths = [] and depths = (2, 3, 3): give each one value for each stage, not 0 and 3",
    ),
    ("compact", {"widths": 32}, "widths = 32: expected a list of whole numbers of at least 1, such as (32, 64, 160)"),
    ("ad-corre", {"trunk": ""}, "trunk = '': give the name of a network of timm, such as legacy_xception or resnet50"),
    (
        "ad-corre",
        {"trunk": "vit_tiny_patch16_224"},
        "trunk = 'vit_tiny_patch16_224': give a network whose first convolution has stride 2, such as legacy_xception "
        "or resnet50",
    ),
    ("ad-corre", {"stem_stride": 4}, "stem_stride = 4: the stem reduces faces by 2 (as published) or 1"),
    ("ad-corre", {"size": 1}, "size = 1: give a whole number of at least 2"),
    ("ad-corre", {"mean": -0.5}, "mean = -0.5: give a number of at least 0"),
    (
        "ad-corre",
        {"cross_entropy": 0, "feature": 0, "mean": 0, "embedding": 0},
        "cross_entropy, feature, mean and embedding are all 0: give at least one loss a weight",
    ),
    ("efficientnet-b2", {"model": "resnet18"}, "model = 'resnet18': give an EfficientNet of timm, such as "),
    ("lhc-net", {"hidden": [64]}, "hidden = [64]: give 2 values, one for each hidden layer, not 1"),
    ("lhc-net", {"depths": [3, 4, 6]}, "depths = [3, 4, 6]: give 4 values, one for each stage, not 3"),
    ("residual-masking-network", {"depths": [3]}, "depths = [3]: give 4 values, one for each stage, not 1"),
    ("residual-masking-network", {"widths": []}, "widths = []: give 4 values, one for each stage, not 0"),
    ("segmentation-vgg19", {"widths": [8]}, "widths = [8]: give 5 values, one for each stage, not 1"),
    ("resnet18", {"depths": [2, 2]}, "depths = [2, 2]: give 4 values, one for each stage, not 2"),
    ("pramerdorfer-resnet", {"depths": []}, "depths = []: give at least one value, one for each stage, not 0"),
    (
        "pramerdorfer-inception",
        {"widths": [[8], [32]]},
        "widths = [[8], [32]]: give at least one stage, and one module of 16 channels in each",
    ),
    ("deepemotion", {"penalty": -1.0}, "penalty = -1.0: give a number of at least 0"),
]


@pytest.mark.parametrize(("system", "options", "said"), REFUSED)
def test_a_refusal_names_the_option_what_it_takes_and_what_it_got(
    system: str, options: dict[str, Any], said: str
) -> None:
    with torch.device("meta"), pytest.raises(RecipeError) as caught:
        systems.create(system, **options)
    assert str(caught.value).startswith(f"{system}: {said}")


def test_an_unknown_network_gets_the_nearest_names() -> None:
    with pytest.raises(RecipeError, match=r"did you mean .*'resnet50'"):
        checks.check_network("trunk", "resnet_50", ["resnet34"])
    with pytest.raises(RecipeError, match=r"such as resnet34 or resnet50$"):  # nothing is fetched by such a name
        checks.check_network("trunk", "hf-hub:someone/else@@", ["resnet34", "resnet50"])


def test_what_fits_passes() -> None:
    assert checks.check_choice("pool", "max", {"max": 1, "avg": 2}) == "max"
    checks.check_count("depths", (1, 2), 2, "stage")
    checks.check_stages(widths=[8], depths=[1])
    checks.check_not_negative(weight=0)
    checks.check_stride(1)


@pytest.mark.parametrize(
    ("system", "options", "said"),
    [
        ("turtle", {"steps": 0}, "steps = 0: expected a whole number of at least 1, such as 6000"),
        ("turtle", {"entropies": ["a"]}, "entropies = ['a']: expected a list of numbers, such as (10.0,)"),
        ("turtle", {"entropies": []}, "entropies = []: give at least one value, one for each try, not 0"),
        ("turtle", {"lr": -1.0}, "lr = -1.0: give a number above 0"),
        ("turtle", {"lr": float("nan")}, "lr = nan: "),
        ("local-learning-bow", {"neighbours": False}, "neighbours = False: expected a whole number of at least 1"),
        ("local-learning-bow", {"words": 0}, "words = 0: expected a whole number of at least 1, such as 10000"),
        ("local-learning-bow", {"patches": ["a"]}, "patches = ['a']: expected a list of whole numbers of at least 1"),
        ("local-learning-bow", {"neighbours": -1}, "neighbours = -1: expected a whole number of at least 1"),
        ("local-learning-bow", {"neighbours": 0, "penalty": 0.0}, "penalty = 0.0: give a number above 0"),
        (
            "local-learning-bow",
            {"level_weights": [1.0]},
            "levels = (1, 2, 3, 4) and level_weights = [1.0]: give each one value for each level, not 4 and 1",
        ),
    ],
)
def test_systems_that_are_fitted_refuse_likewise(system: str, options: dict[str, Any], said: str, faces: Any) -> None:
    with pytest.raises(RecipeError) as caught:
        make(systems.card(system), 7, options).check(faces.train)
    assert said in str(caught.value)
