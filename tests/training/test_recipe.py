from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from mien.bundle import InputSpec
from mien.errors import InputError, RecipeError, UnknownNameError
from mien.systems import card, names
from mien.training import Recipe
from mien.training.recipe import Augment, Loss, Optim, Schedule, Start
from mien.training.values import plain

RECIPE = Recipe.of(card("vggnet"), "faithful")


def leaves(tree: dict[str, Any], prefix: str = "") -> list[str]:
    out = []
    for key, value in tree.items():
        out += leaves(value, f"{prefix}{key}.") if isinstance(value, dict) and key != "system" else [prefix + key]
    return out


HASH = "0123456789abcdef" * 4
# For each field another value that is allowed.
OTHER = {
    "name": "own", "system_id": "compact", "input.size": 44, "input.channels": None, "input.colour": None,
    "input.mean": "[0.4]", "input.std": "[0.4]", "input.resize": 56, "system": None, "epochs": 299, "batch_size": 63,
    "augment.flip": 0.4, "augment.vertical_flip": 0.1, "augment.rotate": 5, "augment.rotate_probability": 0.6,
    "augment.scale": "[0.9, 1.2]", "augment.aspect": "[0.8, 1.2]", "augment.translate": 0.1,
    "augment.translate_probability": 0.4, "augment.brightness": 0.1, "augment.contrast": 0.1,
    "augment.erase_probability": 0.2, "augment.erase_area": "[0.02, 0.3]", "augment.outside": "edge",
    "augment.crops": "centre", "augment.mixup": 0.1, "augment.cutmix": 0.1, "optim.name": "adamw", "optim.lr": 0.02,
    "optim.momentum": 0.8, "optim.nesterov": "false", "optim.betas": "[0.8, 0.99]", "optim.weight_decay": 0.1,
    "optim.decay_norms": "false", "schedule.name": "cosine", "schedule.warmup": 1, "schedule.final": 0.1,
    "schedule.rise": 0.2, "schedule.factor": 0.5, "schedule.patience": 4, "schedule.every": 29, "schedule.after": 1,
    "loss.name": "focal", "loss.smoothing": 0.1, "loss.gamma": 1, "loss.class_weights": "balanced", "ema": 0.9,
    "clip": 1, "early_stop": 5, "keep": "last", "precision": "fp32", "channels_last": "false", "compile": "true",
    "augment.affine_probability": 0.5, "augment.light_probability": 0.5, "augment.noise": 0.1, "augment.blur": 1,
    "augment.degrade_probability": 0.5, "augment.equalise_probability": 0.5, "optim.decoupled": "true",
    "schedule.floor": 0.1, "schedule.decay": 0.1, "schedule.cycle": 2.5, "monitor": "loss", "sampling": "balanced",
    "ema_every": 16, "trainable": "['head']", "checkpoint_activations": "true",
    "sync_batch_norm": "true", "start.kind": "pretrained",
    "start.weights": None, "distill.weight": 0.5, "distill.temperature": 2, "distill.targets": "face",
    "distill.teacher": HASH, "extra_images": HASH, "stages": None, "votes": HASH,
    "evaluate_every": None, "capture": "true", "augment.size": 24,
    "augment.window": "centre", "augment.light": "factor", "augment.erase_fill": "grey", "clip_value": 0.5,
    "searched.study": "cnn-1a2b", "searched.seed": 1, "loss.targets": "probability", "loss.share": None,
}  # fmt: skip


def test_every_field_is_part_of_the_hash() -> None:
    assert sorted(OTHER) == sorted(leaves(plain(RECIPE, everything=True))), "a new field needs a line in OTHER"
    hashes = {RECIPE.hash}
    for key, value in OTHER.items():
        if value is not None:
            hashes.add(RECIPE.set([f"{key}={value}"]).hash)
    hashes.add(RECIPE.set(["system.dropout=0.3"]).hash)
    colour = InputSpec(40, 3, "grey", (0.0,) * 3, (1.0,) * 3, 48)
    hashes.add(RECIPE.with_(start=Start("run", HASH)).hash)
    hashes.add(RECIPE.with_(stages=({"name": "one"},)).hash)
    hashes.add(RECIPE.set(["loss.targets=crossentropy", "loss.share=0.5"]).hash)
    hashes.add(RECIPE.set(["evaluate_every=2", "early_stop=0", "schedule.name=constant"]).hash)
    hashes |= {RECIPE.with_(input=colour).hash, RECIPE.with_(input=dataclasses.replace(colour, colour="rgb")).hash}
    assert len(hashes) == len(OTHER) + 1, "a field takes no part in the hash"


@pytest.mark.parametrize(("system", "name"), [(s, r) for s in names() for r in card(s).recipes])
def test_recipes_survive_toml(system: str, name: str, tmp_path: Path) -> None:
    recipe = Recipe.of(card(system), name)
    path = tmp_path / "recipe.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.from_toml(path) == recipe == Recipe.from_toml(recipe.to_toml())
    assert Recipe.from_toml(path).hash == recipe.hash


def test_hash_is_stable_across_processes() -> None:
    """Recorded results name it: if this fails, a field was added or renamed and every recipe hash has changed."""
    assert Recipe.of(card("compact")).hash.startswith("5408c775")


def test_what_came_later_changes_no_recorded_hash() -> None:
    """Fields made by `later` are left out while they have their default, in the hash and on the disk."""
    recorded = {"mien": "f5f7d5a4", "faithful": "2cd40b4e"}
    for name, start in recorded.items():
        recipe = Recipe.of(card("vggnet"), name)
        assert recipe.hash.startswith(start)
        assert (
            recipe.set(["monitor=accuracy", "distill.weight=0", "trainable=[]", "schedule.floor=0"]).hash == recipe.hash
        )
        assert not {"monitor", "stages", "distill", "start", "trainable"} & set(recipe.to_dict())
        assert recipe.to_dict() == json.loads(json.dumps(recipe.to_dict()))
    partly = RECIPE.set(["distill.weight=0.5"])
    assert partly.to_dict()["distill"] == {"weight": 0.5, "temperature": 4.0, "targets": "views", "teacher": ""}


STAGES = (
    {"name": "body", "epochs": 3, "optim": {"lr": 1}, "trainable": ["features"]},
    {"name": "all", "augment": {"scale": [1, 1.5]}, "early_stop": 2},
)


def test_stages_are_recipes_of_their_own() -> None:
    recipe = RECIPE.with_(stages=STAGES)
    body, whole = recipe.staged
    assert (body.name, body.epochs, body.optim.lr, body.trainable, body.early_stop) == (
        "body",
        3,
        1.0,
        ("features",),
        0,
    )
    assert (whole.epochs, whole.early_stop, whole.trainable) == (RECIPE.epochs, 2, ())
    assert (body.augment, whole.optim) == (RECIPE.augment, RECIPE.optim)
    assert body.optim.momentum == RECIPE.optim.momentum
    assert recipe.planned_epochs == 3 + RECIPE.epochs
    assert RECIPE.staged == (RECIPE,)
    assert RECIPE.planned_epochs == RECIPE.epochs


def test_stages_survive_toml_and_equal_ones_are_equal() -> None:
    recipe = RECIPE.with_(stages=STAGES)
    again = Recipe.from_toml(recipe.to_toml())
    assert (again, again.hash) == (recipe, recipe.hash)
    text = recipe.to_toml()
    assert text.count("[[stages]]") == 2
    assert "[stages.optim]\nlr = 1.0\n" in text
    floats = ({**STAGES[0], "optim": {"lr": 1.0}}, STAGES[1])
    assert RECIPE.with_(stages=floats).hash == recipe.hash
    assert (
        len({recipe.hash, RECIPE.hash, RECIPE.with_(stages=STAGES[:1]).hash, RECIPE.with_(stages=STAGES[::-1]).hash})
        == 4
    )


def test_one_stage_is_changed_by_its_name() -> None:
    recipe = RECIPE.with_(stages=STAGES).set(["stages.all.epochs=7", "stages.body.schedule.name=constant", "ema=0.5"])
    assert [(stage.epochs, stage.schedule.name, stage.ema) for stage in recipe.staged] == [
        (3, "constant", 0.5), (7, "plateau", 0.5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([{"epochs": 3}], "stage 1 needs a name of its own"),
        ([{"name": "a b"}], "stage 1 needs a name of its own"),
        ([{"name": "a"}, {"name": "a"}], "stage 2 needs a name of its own"),
        ([{"name": "a", "input": {"size": 48}}], "stage 'a' cannot set 'input'"),
        ([{"name": "a", "epoch": 3}], "stage 'a' cannot set 'epoch'; did you mean 'epochs'"),
        ([{"name": "a", "optim": {"lrr": 3}}], "stage 'a': a recipe has no 'optim.lrr'; did you mean 'optim.lr'"),
        ([{"name": "a", "epochs": 0}], "stage 'a': epochs = 0 lies outside"),
        ([{"name": "a", "distill": {"teacher": HASH}}], "all stages have one teacher"),
        (["a"], "expected a group of settings"),
        ("a", "write some values in brackets"),
    ],
)
def test_stages_that_cannot_be(stages: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        RECIPE.with_(stages=stages)


def test_whole_numbers_are_the_numbers_they_equal() -> None:
    assert RECIPE.with_(clip=1).hash == RECIPE.with_(clip=1.0).hash == RECIPE.set(["clip=1"]).hash
    assert RECIPE.with_(optim=Optim(lr=1)).hash == RECIPE.with_(optim=Optim(lr=1.0)).hash
    assert Augment(scale=[1, 2]) == Augment(scale=(1.0, 2.0))  # type: ignore[arg-type]


def test_a_file_may_say_little() -> None:
    text = 'name = "own"\nsystem_id = "compact"\n[input]\nsize = 48\nchannels = 1\ncolour = "grey"\n'
    text += "mean = [0.5]\nstd = [1]\n"
    recipe = Recipe.from_toml(text)
    assert (recipe.optim, recipe.schedule, recipe.loss, recipe.augment) == (Optim(), Schedule(), Loss(), Augment())
    assert recipe.input == InputSpec(48, 1, "grey", (0.5,), (1.0,))


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("optim.lrr=0.1", "did you mean 'optim.lr'"),
        ("optm.lr=0.1", "did you mean 'optim'"),
        ("epoch=3", "did you mean 'epochs'"),
        ("optim=3", "is a group of settings; set one of them, for example optim.name="),
        ("epochs.x=3", "'epochs' has no parts"),
        ("epochs", "write key=value"),
        ("epochs=0", "epochs = 0 lies outside 1–"),
        ("epochs=3.5", "expected a whole number"),
        ("epochs=true", "expected a whole number"),
        ("compile=1", "expected true or false"),
        ("optim.lr=nan", "lies outside"),
        ("optim.lr=fast", "expected a number"),
        ("optim.name=sdg", "choose one of sgd, adam"),
        ("optim.momentum=0", "nesterov needs"),
        ("optim.betas=[0.9, 1.0]", "below 1"),
        ("schedule.after=-1", "lies outside"),
        ("augment.scale=[1.2, 0.8]", "the smaller first"),
        ("augment.window=left", "choose one of centre, inside"),
        ("augment.light=both", "choose one of offset, factor"),
        ("augment.erase_fill=white", "choose one of grey, black"),
        ("clip_value=-1", "clip_value = -1.0 lies outside"),
        ("augment.scale=1.2", "write 2 values in brackets"),
        ("augment.erase_area=[0.5, 2]", "fractions of the face"),
        ("input.size=4", "outside 8–1024"),
        ("input.resize=0", "needs input.resize"),
        ("input.mean=[0.5, 0.5]", "one value per channel"),
        ("name=../up", "name a recipe with letters"),
        ("name=", "name a recipe with letters"),
        ("monitor=acc", "choose one of accuracy, loss"),
        ("stages=3", "change one by its name: stages.NAME.epochs=3"),
        ("stages.head.epochs=3", "no stage of 'stages.head.epochs'"),
        ("start.weights=abc", "the hash of 64 digits"),
        (f"start.weights={HASH}", "fresh weights come from the seed"),
        ("schedule.name=restarts", "warmup lies within each cycle"),
    ],
)
def test_refusals_say_what_to_do(assignment: str, message: str) -> None:
    recipe = RECIPE.set(["schedule.warmup=20"]) if "restarts" in assignment else RECIPE
    with pytest.raises(RecipeError, match=message):
        recipe.set([assignment])


def test_wrong_types_are_refused_in_code_as_well() -> None:
    with pytest.raises(RecipeError, match="expected a whole number"):
        RECIPE.with_(epochs=2.5)
    with pytest.raises(RecipeError, match="expected a number"):
        Optim(lr="0.1")  # type: ignore[arg-type]


def test_set_takes_values_as_toml() -> None:
    recipe = RECIPE.set(["augment.scale=[1, 1.5]", "optim.lr = 1e-3", "loss.name='focal'", "system.width=16"])
    assert (recipe.augment.scale, recipe.optim.lr, recipe.loss.name) == ((1.0, 1.5), 0.001, "focal")
    assert recipe.system == {"width": 16}
    assert recipe.set(["system.width=32"]).system == {"width": 32}
    assert RECIPE.system == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs = \n", "is no TOML"),
        ('epochs = 3\nspeed = "high"\n', "no 'speed'"),
        ("epochs = 3\n[optim]\nlearning = 1\n", "no 'optim.learning'"),
        ("epochs = 3\noptim = 3\n", "optim is a group of settings"),
        ("epochs = 3\n", "is incomplete: it lacks name, system_id and input; .* mien systems info"),
    ],
)
def test_bad_files(text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.from_toml(text)


def test_missing_files_and_names() -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml: .*give a recipe file"):
        Recipe.from_toml(Path("nowhere.toml"))
    with pytest.raises(RecipeError, match="did you mean 'faithful'"):
        Recipe.of(card("vggnet"), "faithfull")
    with pytest.raises(InputError, match="did you mean 'vggnet'"):
        card("vgnet")


def test_a_recipe_is_had_by_the_id_of_its_system_and_takes_one_setting_alone() -> None:
    recipe = Recipe.of("vggnet", "faithful")
    assert recipe == Recipe.of(card("vggnet"), "faithful")
    assert recipe.set("epochs=2") == recipe.set(["epochs=2"])
    with pytest.raises(UnknownNameError, match="did you mean 'vggnet'"):
        Recipe.of("vgnet")
