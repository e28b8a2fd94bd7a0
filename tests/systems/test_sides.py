from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from mien import systems
from mien.errors import InputError, RecipeError
from mien.evaluation.scorers import score, torch_logits
from mien.systems import sides
from mien.systems.card import grey
from mien.systems.sides import check_side, sides_taken


@pytest.mark.parametrize(
    ("name", "side", "takes"),
    [
        ("vggnet", 64, "32 to 47 px"),
        ("vggnet", 224, "32 to 47 px"),
        ("deepemotion", 60, "48 to 49 px"),
        ("vgg19-bn", 24, "32 px and more"),
        ("compact", 44, "39 to 40 px, 47 to 48 px or 55 to 56 px, among others"),
    ],
)
def test_a_refusal_names_what_the_network_takes(name: str, side: int, takes: str) -> None:
    card = systems.card(name)
    with pytest.raises(InputError) as caught:
        check_side(card, side, channels=card.input.channels, options={})
    assert str(caught.value) == f"{name} takes no images of {side} px; it takes {takes}"


@pytest.mark.parametrize(
    ("near", "own", "fits", "takes"),
    [
        (64, 40, lambda side: 32 <= side < 48, "32 to 47 px"),
        (20, 40, lambda side: 32 <= side < 48, "32 to 47 px"),
        (48, 224, lambda side: side == 224, "224 px"),
        (1000, 48, lambda side: 40 <= side < 44 or side == 48, "48 px"),
        (20, 48, lambda side: side >= 30, "30 px and more"),
        (20, 48, lambda side: side >= 30 and side < 1000, "30 to 67 px or 77 px, among others"),
        (1018, 48, lambda side: side == 1024, "1024 px"),
        (240, 224, lambda side: side % 32 == 0, "224 px or 256 px"),
        (44, 48, lambda side: side % 8 in (7, 0), "39 to 40 px, 47 to 48 px or 55 to 56 px, among others"),
        (64, 48, lambda side: False, ""),
    ],
)
def test_few_sides_are_tried_and_nothing_is_told_of_others(
    monkeypatch: pytest.MonkeyPatch, near: int, own: int, fits: Callable[[int], bool], takes: str
) -> None:
    tried: list[int] = []

    def problem(module: object, channels: int, side: int) -> Exception | None:
        tried.append(side)
        return None if fits(side) else ValueError("no")

    monkeypatch.setattr(sides, "_problem", problem)
    card = replace(systems.card("compact"), input=grey(own))
    told = sides_taken(card, near, channels=1, options={})
    assert told == takes
    assert len(tried) <= 130
    if told.endswith("px and more"):
        assert fits(max(tried))
    elif " to " in told:
        assert all(fits(side) for side in range(int(told.split()[0]), int(told.split()[2]) + 1))


def test_a_side_that_is_taken_costs_one_try(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[int] = []
    monkeypatch.setattr(sides, "_problem", lambda module, channels, side: tried.append(side))
    assert sides_taken(systems.card("compact"), 64, channels=1, options={}) == "64 px"
    assert tried == [64]


def test_what_is_taken_passes() -> None:
    check_side(systems.card("vggnet"), 44, channels=3, options={"width": 8})


def test_a_view_that_does_not_fit_is_refused_likewise() -> None:
    module = systems.create("vggnet", width=4, hidden=16)
    faces = np.zeros((2, 80, 80), np.uint8)
    with pytest.raises(InputError, match="vggnet takes no images of 64 px; it takes 32 to 47 px"):
        score(faces, grey(40, resize=48), torch_logits(module), view="tencrop@64")


def test_another_number_of_channels_is_named() -> None:
    module = systems.create("vggnet", width=4, hidden=16)
    faces = np.zeros((2, 48, 48), np.uint8)
    with pytest.raises(InputError, match=r"vggnet was made for images of 1 channel and got 3; .* channels=3"):
        score(faces, grey(40, resize=48, channels=3), torch_logits(module))


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (torch.zeros(1, 1, 64, 64), "vggnet takes no images of 64 px; it takes 32 to 47 px"),
        (torch.zeros(1, 3, 40, 40), "vggnet was made for images of 1 channel and got 3; .* channels=3"),
        (torch.zeros(1, 40, 40), r"float \(N, 1, S, S\), normalised as its input says, not of shape \(1, 40, 40\)"),
        (torch.zeros(1, 1, 64, 40), r"not of shape \(1, 1, 64, 40\)"),
        (torch.zeros(1, 1, 40, 40, dtype=torch.uint8), "not of uint8"),
        (torch.zeros(1, 1, 40, 40, dtype=torch.float64), "vggnet computes in float32 and got images of float64"),
        (np.zeros((1, 1, 40, 40), np.float32), "a tensor of images, not ndarray"),
    ],
)
def test_a_network_that_is_called_names_what_it_takes(images: torch.Tensor, said: str) -> None:
    module = systems.create("vggnet", width=4, hidden=16).eval()
    with pytest.raises(InputError, match=said) as caught:
        module(images)
    assert isinstance(caught.value.__cause__, Exception)


@pytest.mark.parametrize(
    ("name", "stage", "shape"),
    [
        ("resnet18", "", (1, 3, 32, 48)),  # no square, and taken nevertheless
        ("residual-masking-network", "plain-40px", (1, 3, 40, 40)),  # taken in this stage alone
        ("vggnet", "", (1, 1, 40, 40)),
    ],
)
def test_another_fault_is_not_laid_to_the_images(
    monkeypatch: pytest.MonkeyPatch, name: str, stage: str, shape: tuple[int, ...]
) -> None:
    card = systems.card(name)
    module = systems.create(name, **card.tiny).eval()
    if stage:
        module.begin_stage(stage)
    forward = module.forward

    def short_of_memory(images: torch.Tensor) -> torch.Tensor:
        if images.device.type == "meta":
            return forward(images)
        raise torch.OutOfMemoryError("no memory left")

    monkeypatch.setattr(module, "forward", short_of_memory)
    with pytest.raises(torch.OutOfMemoryError, match="no memory left"):
        module(torch.zeros(shape))


def test_a_refusal_leaves_the_network_to_others_as_it_is() -> None:
    """Threads of a service share a network; one of them may feed it badly."""
    module = systems.create("vggnet", width=4, hidden=16).eval()
    wanted = module(torch.ones(2, 1, 40, 40))
    seen: list[str] = []
    hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0].device.type))
    failures: list[BaseException] = []

    def feed(side: int) -> None:
        try:
            for _ in range(12):
                if side == 40:
                    assert torch.equal(module(torch.ones(2, 1, 40, 40)), wanted)
                else:
                    with pytest.raises(InputError, match="takes no images of 64 px"):
                        module(torch.ones(2, 1, side, side))
        except BaseException as error:  # told by the test, not by the thread
            failures.append(error)

    threads = [threading.Thread(target=feed, args=(side,)) for side in (64, 40, 64, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    hook.remove()
    assert not failures
    assert set(seen) == {"cpu"}, "nobody's hook sees what the refusal tries"
    assert {parameter.device.type for parameter in module.parameters()} == {"cpu"}


def test_a_fault_of_a_hook_is_not_laid_to_the_images() -> None:
    module = systems.create("resnet18", **systems.card("resnet18").tiny).eval()

    def broken(*_: object) -> None:
        raise ValueError("hook broke")

    module.register_forward_hook(broken)
    with pytest.raises(ValueError, match="hook broke") as caught:
        module(torch.zeros(1, 3, 32, 48))
    assert not isinstance(caught.value, InputError)


def test_autocast_converts_no_double_precision() -> None:
    module = systems.create("vggnet", width=4, hidden=16).eval()
    with (
        torch.autocast("cpu", torch.bfloat16),
        pytest.raises(InputError, match="computes in float32 and got images of float64"),
    ):
        module(torch.zeros(1, 1, 40, 40, dtype=torch.float64))


def test_training_refuses_before_anything_is_written(tmp_path, faces) -> None:
    from mien.training import Recipe, train

    recipe = Recipe.of(systems.card("vggnet")).set(["input.size=64", "input.resize=0"])
    with pytest.raises(InputError, match="vggnet takes no images of 64 px"):
        train("vggnet", faces.train, faces.selection, recipe=recipe, out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_size_above_the_side_it_is_cut_from_names_what_the_system_takes() -> None:
    from mien.training import Recipe

    with pytest.raises(RecipeError) as caught:
        Recipe.of(systems.card("vggnet")).set(["input.size=64"])
    assert str(caught.value) == (
        "input.size = 64: no crop of 64 px can be cut from faces of 48 px, the recipe's input.resize; vggnet takes "
        "32 to 47 px"
    )
    with pytest.raises(RecipeError, match=r"no crop .* input\.resize; a size above 48 px"):  # of a system there is not
        Recipe.from_dict({"name": "mine", "system_id": "nobody", "input": {"size": 64, "resize": 48}})
