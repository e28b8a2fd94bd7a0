"""What a training is given besides its split: its hash is in the recipe, the data behind it in the run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import tiny
import torch
from PIL import Image
from safetensors.torch import save_file

from mien.datasets import FaceSet, draw_face, load_dataset, read_manifest
from mien.errors import DataError, InputError, RecipeError, RunError
from mien.labels import LabelSet
from mien.systems import card
from mien.training import Progress, Recipe, Run, train


@pytest.fixture(scope="module")
def first(drawn: FaceSet, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return tiny.run(drawn, tmp_path_factory.mktemp("first"), "epochs=1")


def test_a_run_goes_on_from_another(first: Run, drawn: FaceSet, tmp_path: Path) -> None:
    run = tiny.run(drawn, tmp_path, "epochs=1", "optim.lr=1e-9", "optim.weight_decay=0", "ema=0", init=first.folder)
    weights, begun = run.module().state_dict(), first.module().state_dict()
    for name, value in weights.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(value, begun[name], atol=1e-5, rtol=1e-5)
    assert run.recipe.start.kind == "run"
    assert run.recipe.start.weights == first.info["weights_sha256"] == run.info["start"]["weights_sha256"]
    assert run.info["extra_data"] == []
    assert run.recipe.hash != tiny.recipe("epochs=1", "optim.lr=1e-9", "optim.weight_decay=0", "ema=0").hash
    assert Run.open(run.folder).finished
    # Resuming, and training the recorded recipe again, need the same weights.
    same = train("compact", drawn.train, drawn.selection, recipe=run.recipe, init=first, out=tmp_path, resume=True)
    assert same == run
    with pytest.raises(InputError, match="give that run with --init"):
        train("compact", drawn.train, drawn.selection, recipe=run.recipe, out=tmp_path)
    with pytest.raises(InputError, match=r"the recipe names start.weights .* give the ones it names"):
        train("compact", drawn.train, drawn.selection, recipe=run.recipe, init=run, out=tmp_path)


def test_the_data_behind_a_start_is_named(first: Run, drawn: FaceSet, tmp_path: Path) -> None:
    half = drawn.train.subset(np.arange(len(drawn.train)) % 2 == 0)
    options: dict[str, Any] = {"recipe": tiny.recipe("epochs=1")}
    part = train("compact", half, drawn.selection, **options, out=tmp_path / "part")
    run = train("compact", drawn.train, drawn.selection, **options, out=tmp_path, init=part)
    assert run.info["extra_data"] == ["other training rows of drawn"]
    other = replace(load_dataset("drawn", count=70, seed=1), name="others")
    run = train("compact", other.train, other.selection, **options, out=tmp_path / "other", init=first)
    assert run.info["extra_data"] == ["drawn"]
    assert run.subject().extra_data == ("drawn",)


def test_no_start_and_no_teacher_carries_in_what_is_left_out(first: Run, drawn: FaceSet, tmp_path: Path) -> None:
    part = drawn.train.subset(np.arange(len(drawn.train)) % 2 == 0)
    copy = load_dataset("drawn", count=70, seed=1)
    bundle = tmp_path / "first.onnx"
    first.export(bundle)
    for split, selection, message in (
        (part, drawn.selection, "learnt from other faces of drawn than this training"),
        (copy.train, copy.selection, "learnt from another copy of drawn"),
    ):
        for given in ({"init": first}, {"teacher": first}, {"teacher": bundle}):
            with pytest.raises(InputError, match=message):
                train("compact", split, selection, recipe=tiny.recipe("epochs=1"), out=tmp_path / "runs", **given)
    assert not (tmp_path / "runs").exists()


def test_starts_that_cannot_be(first: Run, drawn: FaceSet, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    with pytest.raises(RunError, match=r"blocks\.1\.\S+ is"):
        tiny.run(drawn, out, "system.widths=[4, 12]", init=first)
    with pytest.raises(InputError, match="is a run of compact; switching cannot start from it"):
        tiny.run(drawn, out, "staged", init=first)
    with pytest.raises(InputError, match="give --pretrained or --init"):
        tiny.run(drawn, out, init=first, pretrained="timm")
    with pytest.raises(InputError, match="compact has no published weights"):
        tiny.run(drawn, out, pretrained="timm")
    with pytest.raises(RunError, match="is no run folder"):
        tiny.run(drawn, out, init=tmp_path)
    rows = drawn.without_test().all_rows()
    moods = LabelSet("moods", tuple(f"mood {index}" for index in range(7)))
    own = FaceSet.from_arrays("own", moods, rows.images, rows.labels, rows.splits, ("train", "selection"))
    with pytest.raises(InputError, match="fewer than two expressions in common"):
        tiny.run(own, out, init=first)
    assert not list(out.glob("*/weights.safetensors"))


def test_published_weights(drawn: FaceSet, tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = timm.create_model("test_resnet.r160_in1k", pretrained=False).state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    plain = Recipe.of(card("trunked")).set(["epochs=1", "batch_size=32", "optim.lr=1e-9", "precision=fp32"])
    splits = (drawn.train.subset(np.arange(32)), drawn.selection)
    run = train("trunked", *splits, recipe=plain, out=tmp_path, pretrained=tmp_path / "weights.safetensors")
    assert run.recipe.input.mean == (0.485, 0.456, 0.406)
    assert (run.recipe.input.channels, run.recipe.input.size, run.recipe.input.resize) == (3, 32, 36)
    assert run.recipe.system == {"inner": 4}, "the options that the weights need"
    assert (run.recipe.start.kind, len(run.recipe.start.weights)) == ("pretrained", 64)
    assert run.info["extra_data"] == ["ImageNet-1k", "a file given as test_resnet.r160_in1k"]
    assert run.info["start"]["model"] == "test_resnet.r160_in1k"
    torch.testing.assert_close(
        run.module().state_dict()["trunk.conv1.0.weight"], state["conv1.0.weight"], atol=1e-5, rtol=1e-5
    )
    # A recipe that is written for them says what it feeds itself.
    own = plain.with_(start={"kind": "pretrained"}).set(["input.channels=1"])
    with pytest.raises(RunError, match=r"conv1\.0\.weight is \[\d+, 3, 3, 3\] and the network has \[\d+, 1, 3, 3\]"):
        train("trunked", *splits, recipe=own, out=tmp_path, pretrained=tmp_path / "weights.safetensors")


def manifest(folder: Path, source: int) -> Path:
    folder.mkdir(exist_ok=True)
    lines = ["file,label,data,source_id"]
    for index in range(3):
        Image.fromarray(draw_face("disgust", person=100 + index)).save(folder / f"{index}.png")
        lines.append(f"{index}.png,disgust,Drawn disgust,{source}")
    (folder / "extra.csv").write_text("\n".join(lines))
    return folder / "extra.csv"


def test_extra_images(drawn: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = manifest(tmp_path / "extra", int(drawn.train.rows[3]))
    shown: list[int] = []
    from mien.training.pipeline import batches

    real = batches.epoch_rows
    monkeypatch.setattr(
        batches, "epoch_rows", lambda labels, *rest: (shown.append(len(labels)), real(labels, *rest))[1]
    )
    run = tiny.run(drawn, tmp_path, "epochs=1", extra_images=path)
    assert set(shown) == {len(drawn.train) + 3}
    assert run.info["extra_data"] == ["Drawn disgust"]
    assert run.info["extra_images"]["fingerprint"] == run.recipe.extra_images
    assert json.loads((run.folder / "run.json").read_text())["extra_images"]["images"] == 3
    with pytest.raises(InputError, match="give their manifest with --extra-images"):
        train("compact", drawn.train, drawn.selection, recipe=run.recipe, out=tmp_path)
    part = drawn.train.subset(np.arange(len(drawn.train)) != 3)
    with pytest.raises(InputError, match="3 extra images were made from faces outside of this training"):
        train("compact", part, drawn.selection, recipe=tiny.recipe("epochs=1"), out=tmp_path, extra_images=path)
    bad = manifest(tmp_path / "bad", int(drawn.test.rows[0]))
    with pytest.raises(DataError):
        tiny.run(drawn, tmp_path / "none", extra_images=bad)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("name", ["ad-corre", "emonext-t", "lhc-net", "segmentation-vgg19"])
def test_systems_with_losses_and_stages_of_their_own_learn_from_extra_images(
    drawn: FaceSet, first: Run, tmp_path: Path, name: str
) -> None:
    path = manifest(tmp_path / "extra", int(drawn.train.rows[3]))
    own = card(name)
    tree = Recipe.of(own, "mien").to_dict()
    if stages := [{"name": stage["name"], "epochs": 1} for stage in tree.get("stages", ())]:
        tree["stages"] = stages
    changed = {"epochs": 1, "batch_size": 96, "compile": False, "precision": "fp32"}
    size = {**tree["input"], "size": own.tiny_size, "resize": 0}
    recipe = Recipe.from_dict({**tree, **changed, "system": dict(own.tiny), "input": size})
    plain = train(name, drawn.train, drawn.selection, recipe=recipe, out=tmp_path / "plain", device="cpu")
    more: dict[str, Any] = {"recipe": recipe, "device": "cpu", "extra_images": path}
    run = train(name, drawn.train, drawn.selection, out=tmp_path / "more", **more)
    assert run.info["extra_images"]["images"] == 3
    assert run.info["weights_sha256"] != plain.info["weights_sha256"]
    path.write_text(path.read_text().replace("disgust,Drawn", ",Drawn"))  # a teacher tells what they show
    taught = train(name, drawn.train, drawn.selection, out=tmp_path / "taught", teacher=first.folder, **more)
    assert taught.info["extra_images"]["unlabelled"] == 3
    assert all(np.isfinite(entry["loss"]) for entry in taught.log)


def test_images_without_a_label_need_a_teacher(first: Run, drawn: FaceSet, tmp_path: Path) -> None:
    path = manifest(tmp_path / "extra", int(drawn.train.rows[3]))
    labelled = tiny.run(drawn, tmp_path / "labelled", "epochs=1", teacher=first.folder, extra_images=path)
    path.write_text(path.read_text().replace("0.png,disgust", "0.png,"))
    with pytest.raises(DataError, match="line 2: label is empty; give the expression, or let a teacher tell it"):
        tiny.run(drawn, tmp_path / "alone", "epochs=1", extra_images=path)
    read = read_manifest(path, drawn, unlabelled=True)
    with pytest.raises(InputError, match="1 extra images have no label, so only a teacher"):
        tiny.run(drawn, tmp_path / "alone", "epochs=1", extra_images=read)
    assert not (tmp_path / "alone").exists()
    for changes in ((), ("loss.class_weights=balanced", "sampling=balanced", "distill.targets=face")):
        run = tiny.run(drawn, tmp_path, "epochs=1", *changes, teacher=first.folder, extra_images=path)
        assert run.info["extra_data"] == ["Drawn disgust (unlabelled)", "Drawn disgust"]
        assert run.info["extra_images"]["unlabelled"] == 1
        assert run.info["extra_images"]["counts"]["disgust"] == 2
        assert run.info["weights_sha256"] != labelled.info["weights_sha256"]


def test_recipes_that_need_something(drawn: FaceSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the recipe learns from a teacher; train it with `mien distill"):
        tiny.run(drawn, tmp_path, "distill.weight=0.5")
    with pytest.raises(InputError, match="the recipe starts from the weights of a run"):
        tiny.run(drawn, tmp_path, "start.kind=run")
    with pytest.raises(RecipeError, match="choose one of fresh"):
        tiny.recipe("start.kind=best")
    assert not list(tmp_path.iterdir())


def test_what_only_a_caller_can_give(monkeypatch: pytest.MonkeyPatch, drawn: FaceSet) -> None:
    from types import SimpleNamespace

    from mien.training import reproduce, reproduction

    digits = "0" * 64
    recipe = tiny.recipe("distill.weight=0.5", f"distill.teacher={digits}", f"extra_images={digits}")
    monkeypatch.setattr(reproduction, "load_dataset", lambda *_: drawn)
    recorded = SimpleNamespace(
        id="abc", kind="run", protocol="fer2013/private@1", system="compact", recipe=recipe.to_dict(), seed=0
    )
    with pytest.raises(InputError, match="abc was trained with its teacher and its extra images, which a recorded"):
        reproduce(recorded)  # type: ignore[arg-type]


def test_a_stopped_start_goes_on(first: Run, drawn: FaceSet, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.epoch == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny.run(drawn, tmp_path / "a", "epochs=2", init=first, on_progress=stop)
    resumed = tiny.run(drawn, tmp_path / "a", "epochs=2", init=first, resume=True)
    whole = tiny.run(drawn, tmp_path / "b", "epochs=2", init=first)
    assert resumed.info["weights_sha256"] == whole.info["weights_sha256"]
