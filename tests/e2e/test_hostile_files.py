"""Files that somebody else made to do harm: refused with one sentence by the command line, and nothing happens.

Archives have tests of their own (tests/store/test_archives.py), images and mutated files too (tests/fuzz).
"""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.bundle import MAX_BYTES, BundleCard, InputSpec, write_bundle
from mien.cli import main
from mien.errors import BundleError, MienError, RecipeError

pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

PHOTO = str(Path(__file__).parents[2] / "examples" / "astronaut.jpg")
CARD = BundleCard(
    name="m", system="compact", label_set="fer2013",
    labels=("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"),
    input=InputSpec(size=48, channels=1, colour="grey", mean=(0.5,), std=(0.5,)),
)  # fmt: skip


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """The one sentence that the command line says."""
    capfd.readouterr()
    with pytest.raises(SystemExit) as end:
        main(words)
    out, err = capfd.readouterr()
    assert end.value.code == 2, (out, err)
    assert out == ""
    lines = [line for line in err.splitlines() if line.strip()]
    assert len(lines) == 1, err
    assert lines[0].startswith("mien: ")
    assert "Traceback" not in err
    return lines[0].removeprefix("mien: ")


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


@pytest.fixture
def mark(tmp_path: Path) -> Any:
    mark = tmp_path / "it-ran"
    yield mark
    assert not mark.exists(), "code of the file was run"


def pickled(path: Path, mark: Path) -> Path:
    path.write_bytes(pickle.dumps({"state_dict": Trap(mark)}))
    return path


def checkpoint(path: Path, mark: Path) -> Path:
    import torch

    torch.save({"state_dict": Trap(mark)}, path)
    return path


@pytest.mark.parametrize("make", [pickled, checkpoint])
@pytest.mark.parametrize("name", ["evil.pt", "evil.pkl", "evil.onnx", "evil.safetensors"])
def test_pickles_are_refused(
    make: Any, name: str, tmp_path: Path, mark: Path, mien_cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from mien.systems import card
    from mien.systems.weights import fetch
    from mien.training import Run

    evil = make(tmp_path / name, mark)
    said = [refused(["predict", PHOTO, "--model", str(evil)], capfd)]
    for read in (Run.open, lambda path: fetch(card("emonext-t"), path)):
        with pytest.raises(MienError) as caught:
            read(evil)
        said.append(str(caught.value))
    assert all("evil" in sentence and "\n" not in sentence for sentence in said), said


def test_arrays_of_objects_are_refused(tmp_path: Path, mark: Path, mien_cache: Path, capfd: Any) -> None:
    with zipfile.ZipFile(tmp_path / "evil.npz", "w") as archive:
        for name in ("images", "labels", "usage"):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, np.array([Trap(mark)], object), allow_pickle=True)
    refused(["data", "import", "fer2013", str(tmp_path / "evil.npz")], capfd)
    np.save(tmp_path / "evil.npy", np.array([Trap(mark)], object), allow_pickle=True)
    from mien.features.matrix import read_matrix

    with pytest.raises(MienError):
        read_matrix(tmp_path / "evil.npy", 1)


def graph(*nodes: Any, initializers: tuple[Any, ...] = (), opsets: tuple[Any, ...] = ()) -> bytes:
    helper, kinds = onnx.helper, onnx.TensorProto
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("input", kinds.FLOAT, ["n", 1, 48, 48])],
        [helper.make_tensor_value_info("logits", kinds.FLOAT, ["n", 7])],
        list(initializers),
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17), *opsets], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


def bundled(path: Path, model: bytes, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As a stranger would, who does not check."""
    with monkeypatch.context() as patch:
        patch.setattr("mien.bundle.check_graph", lambda *given: None)
        write_bundle(path, model, CARD)
    return path


def elsewhere() -> bytes:
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    weight.ClearField("float_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return graph(onnx.helper.make_node("Identity", ["input"], ["logits"]), initializers=(weight,))


def foreign() -> bytes:
    node = onnx.helper.make_node("Run", ["input"], ["logits"], domain="evil.ops")
    return graph(node, opsets=(onnx.helper.make_opsetid("evil.ops", 1),))


def absurd() -> bytes:
    """The weights of four terabytes that are not there."""
    weight = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0])
    weight.dims[:] = [1 << 20, 1 << 20]
    return graph(onnx.helper.make_node("MatMul", ["input", "w"], ["logits"]), initializers=(weight,))


def greedy() -> bytes:
    """The answer needs four terabytes of memory."""
    make, kinds = onnx.helper.make_node, onnx.TensorProto
    numbers = {"s": [1 << 40], "from": [0], "to": [7], "axis": [1]}
    return graph(
        make("ConstantOfShape", ["s"], ["c"]),
        make("ReduceSum", ["c"], ["r"], keepdims=0),
        make("Flatten", ["input"], ["f"]),
        make("Slice", ["f", "from", "to", "axis"], ["part"]),
        make("Add", ["part", "r"], ["logits"]),
        initializers=tuple(onnx.helper.make_tensor(k, kinds.INT64, [1], v) for k, v in numbers.items()),
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (elsewhere, "keeps weights in other files"),
        (foreign, "needs a foreign library"),
        (absurd, "cannot be run"),
        (greedy, "cannot be run on"),
    ],
)
def test_onnx_files_are_refused(
    make: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    evil = bundled(tmp_path / "evil.onnx", make(), monkeypatch)
    assert words in refused(["predict", PHOTO, "--crops", "--model", str(evil)], capfd)


def test_a_model_file_beyond_the_bound_is_not_even_read(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "large.onnx"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert "larger than an ONNX file can be" in refused(["predict", PHOTO, "--model", str(path)], capfd)


@pytest.mark.parametrize(
    "change",
    [
        {"labels": ("a", "\x1b[31mb")},
        {"labels": ("a", "=1+1")},
        {"labels": tuple(map(str, range(1001)))},
        {"name": "x" * 201},
        {"name": "two\nlines"},
        {"name": 7},
        {"labels": 7},
        {"threshold": "high"},
        {"temperatures": {"one": "hot"}},
        {"extra_data": ({},)},
    ],
)
def test_cards_say_short_printable_things(change: dict[str, Any]) -> None:
    with pytest.raises(BundleError):
        BundleCard.from_json({**CARD.to_json(), **change})


def test_a_card_that_is_too_deep_or_too_long(
    tmp_path: Path, bundle_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mien import bundle

    body, _ = bundle._split(bundle_path.read_bytes(), "it")
    for number, text in enumerate(("[" * 100_000, '"' + "x" * (bundle.MAX_CARD_BYTES + 1) + '"')):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(body + bundle._entry("mien.bundle", text))
        assert "the card is" in refused(["predict", PHOTO, "--model", str(path)], capfd)


@pytest.mark.parametrize(
    "text",
    [
        "epochs = " + "[" * 20_000,
        "a." * 20_000 + "b = 1",
        'name = "../../outside"',
        'name = "a/b"',
        'system_id = "../compact"',
        "epochs = true",
        "epochs = 1e400",
        'epochs = "many"',
        "optim = 3",
        "\x00",
        "epochs = 1\nepochs = 2",
        "#" * 300_000,
    ],
)
def test_recipes_are_refused(text: str, tmp_path: Path) -> None:
    from mien.training import Recipe

    path = tmp_path / "recipe.toml"
    path.write_text(text + "\n")
    with pytest.raises(RecipeError) as caught:
        Recipe.from_toml(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd"])
def test_names_are_no_paths(name: str, tmp_path: Path, mien_cache: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    for words in (
        ["fetch", "--", name],
        ["data", "info", "--", name],
        ["systems", "info", "--", name],
        ["train", "--out", out, "--data", name, "compact"],
        ["predict", PHOTO, f"--model={name}"],
        ["predict", PHOTO, f"--detector=yunet:{name}"],
        ["evaluate", "--no-save", "--", name],
        ["results", "withdraw", "--reason", "x", "--results", str(tmp_path), "--", name],
    ):
        if words[0] == "fetch" and not name:
            continue
        refused(words, capfd)
    assert not (tmp_path / "out").exists()


def test_a_name_that_looks_like_a_formula_is_none(bundle_path: Path, tmp_path: Path, capfd: Any) -> None:
    """It stays the name of the same file, and the table can be given back."""
    import csv

    from PIL import Image

    os.chdir(tmp_path)
    name = "=HYPERLINK(A1).png"
    Image.fromarray(np.full((48, 48), 90, np.uint8)).save(name)
    with pytest.raises(SystemExit) as end:
        main(["predict", name, "--crops", "--model", str(bundle_path), "--out", "t.csv"])
    assert end.value.code in (0, None)
    with Path("t.csv").open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    assert row["file"] == f"./{name}"
    with pytest.raises(SystemExit) as end:
        main(["predict", "--list", "t.csv", "--crops", "--model", str(bundle_path), "--out", "again.csv"])
    assert end.value.code in (0, None)
    assert Path("again.csv").read_bytes() == Path("t.csv").read_bytes()


def test_markup_in_a_card_stays_text(tmp_path: Path) -> None:
    """What strangers write in a submission or bundle reaches pages escaped."""
    from mien.site.rendering import environment

    page = environment().from_string("<p title='{{ x }}'>{{ x }}</p>").render(x="<script>alert('1')</script>")
    assert "<script" not in page
    assert "&lt;script&gt;" in page
