"""Published weights: by timm's names, strictly, without the classifier. Random ones stand in for real ones."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from mien import systems
from mien.errors import InputError, RunError
from mien.systems.base import System, build, composite_elements
from mien.systems.card import Card, Pretrained, grey
from mien.systems.weights import fetch

NAME = "test_resnet.r160_in1k"


class Trunked(System):
    def __init__(self, *, classes: int, channels: int, inner: int = 0) -> None:
        super().__init__()
        self.trunk = timm.create_model("test_resnet", pretrained=False, num_classes=inner, in_chans=channels)
        self.head = nn.Linear(inner or self.trunk.num_features, classes)

    def embed(self, images: Tensor) -> Tensor:
        out: Tensor = self.trunk(images)
        return out

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.head(self.embed(images))
        return out


CARD = Card("trunked", "Trunked", Trunked, grey(48), 0, options={"inner": 0}, pretrained=Pretrained(NAME))


def make(**options: Any) -> System:
    return build(CARD, classes=7, channels=3, options=options)


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(5)
    return dict(timm.create_model(NAME, pretrained=False).state_dict())


@pytest.mark.parametrize("inner", [0, 4])
def test_everything_but_the_classifier_is_taken_over(state: dict[str, Tensor], inner: int) -> None:
    module = make(inner=inner)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_pretrained(state)
    for name, value in module.state_dict().items():
        inside = name.removeprefix("trunk.")
        published = name.startswith("trunk.") and not inside.startswith("fc.")
        assert torch.equal(value, state[inside] if published else before[name]), name


def test_misfits_are_named_and_nothing_is_loaded(state: dict[str, Tensor]) -> None:
    module = make()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    wrong = {**state, "extra.weight": torch.zeros(1), "conv1.0.weight": torch.zeros(2, 2)}
    wrong.pop("bn1.bias")
    with pytest.raises(RunError, match=r"bn1.bias is missing; extra.weight is not part .* conv1.0.weight is \[2, 2\]"):
        module.load_pretrained(wrong)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_misfits_tell_names_of_both_sides(state: dict[str, Tensor]) -> None:
    other = {f"backbone.{name}": value for name, value in state.items()}
    with pytest.raises(
        RunError, match=rf"what was given as {NAME} .* conv1\.0\.weight is missing; .* backbone\.\S+ is not"
    ):
        make().load_pretrained(other)
    whole = {**state, "conv1.0.weight": state["conv1.0.weight"].to(torch.int8)}
    with pytest.raises(RunError, match=r"conv1\.0\.weight is of type int8 and the network of float32"):
        make().load_pretrained(whole)


def test_weights_of_the_whole_network_are_called_so() -> None:
    with pytest.raises(InputError, match=rf"weights of a whole trunked, not those published as {NAME}; .* --init RUN"):
        make().load_pretrained(make().state_dict())


def test_names_of_a_network_on_several_devices_are_known(state: dict[str, Tensor], tmp_path: Path) -> None:
    safetensors.torch.save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "w.safetensors")
    assert fetch(CARD, tmp_path / "w.safetensors").keys() == state.keys()


@pytest.mark.parametrize("nested", [False, True])
def test_local_files(state: dict[str, Tensor], tmp_path: Path, nested: bool) -> None:
    path = tmp_path / ("weights.pth" if nested else "weights.safetensors")
    if nested:
        torch.save({"epoch": 3, "state_dict": state}, path)
    else:
        safetensors.torch.save_file(state, path)
    read = fetch(CARD, path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], state[name]) for name in state)


class Evil:
    def __reduce__(self) -> Any:
        return print, ("this must not run",)


def test_files_that_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist; give --pretrained timm, or a file of .*test_resnet"):
        fetch(CARD, tmp_path / "nowhere")
    with pytest.raises(InputError, match="is a folder; give"):
        fetch(CARD, tmp_path)
    damaged = {"cut.safetensors": b"abc", "cut.pth": b"", "text.pth": b"machine\n", "evil.pth": pickle.dumps(Evil(), 2)}
    for name, content in damaged.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="holds no readable weights") as caught:
            fetch(CARD, tmp_path / name)
        if name in ("text.pth", "evil.pth"):
            assert "it is no file of tensors alone" in str(caught.value)
        assert "weights_only" not in str(caught.value), "advice of torch about its own arguments helps nobody here"
    torch.save({"state_dict": {"a": 1}}, tmp_path / "numbers.pth")
    with pytest.raises(InputError, match="more or less than named tensors"):
        fetch(CARD, tmp_path / "numbers.pth")
    torch.save({"a.weight": torch.tensor([1.0, float("nan")])}, tmp_path / "nan.pth")
    with pytest.raises(InputError, match=r"nan\.pth: a\.weight holds numbers that are infinite or none"):
        fetch(CARD, tmp_path / "nan.pth")
    assert not capsys.readouterr().out


def test_without_a_network_a_local_file_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no route to the hub\nand more")

    monkeypatch.setattr(timm, "create_model", fail)
    with pytest.raises(InputError, match=r"\(no route to the hub\); give a local file of them with --pretrained PATH"):
        fetch(CARD, "timm")


def test_systems_without_published_weights() -> None:
    with pytest.raises(InputError, match="compact has no published weights"):
        systems.create("compact", pretrained=True)
    with pytest.raises(InputError, match="compact has no part called trunk"):
        systems.create("compact").load_pretrained({})


def test_a_library_user_can_create_with_weights(state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "card", lambda name: CARD)
    module = systems.create("trunked", pretrained=state, classes=3)
    assert torch.equal(module.state_dict()["trunk.conv1.0.weight"], state["conv1.0.weight"])
    assert module.head.out_features == 3


def test_every_card_names_weights_that_timm_knows() -> None:
    known = set(timm.list_pretrained())
    for name in systems.networks():
        wanted = systems.card(name).pretrained
        if wanted is not None:
            assert wanted.model in known, f"{name}: timm has no weights {wanted.model!r}"
            assert wanted.extra_data, f"{name} does not say what its published weights were trained on"
            systems.check_options(systems.card(name), wanted.options)


def starts() -> list[tuple[str, str]]:
    """Systems with published weights, and the recipes that may start from them."""
    return [
        (name, recipe)
        for name in systems.networks()
        if systems.card(name).pretrained
        for recipe in systems.card(name).recipes
    ]


@pytest.mark.parametrize(("name", "recipe"), starts())
def test_published_weights_fit_every_recipe(name: str, recipe: str) -> None:
    """By name and shape, nothing missing and nothing left over. Without memory: the largest have gigabytes."""
    from mien.training import Recipe

    known, chosen = systems.card(name), Recipe.of(systems.card(name), recipe)
    wanted = known.pretrained
    assert wanted is not None
    options, channels = dict(chosen.system), chosen.input.channels
    if chosen.start.kind == "fresh":
        options, channels = {**options, **wanted.options}, len(wanted.mean)
    with torch.device("meta"):
        published = timm.create_model(wanted.model, pretrained=False).state_dict()
        build(known, classes=7, channels=channels, options=options).load_pretrained(published)


def test_blocks_are_the_innermost_composite_elements() -> None:
    block = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    stage = nn.Sequential(block, nn.Sequential(nn.Linear(2, 2), nn.ReLU()))
    outer = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.Identity(), stage))
    assert composite_elements(outer) == [block, stage[1]]
    assert len(systems.create("compact").recomputable()) == 8
    assert composite_elements(nn.Linear(2, 2)) == []
