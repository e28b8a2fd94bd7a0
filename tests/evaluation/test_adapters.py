"""Somebody else's ONNX file and its adapter: measured, marked as submitted, refused where they do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mien.cli import main
from mien.datasets import FaceSet
from mien.errors import BundleError, DataError, InputError, ResultError
from mien.evaluation import evaluate, foreign_subject
from mien.evaluation.adapters import read_adapter
from mien.labels import FER2013
from mien.results import verify

LABELS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry")


def network(path: Path, *, softmax: bool = False, columns: int = 7, batch: int | str = "n", **changes: Any) -> Path:
    """Column k is the mean brightness of row k of a 48 × 48 face (RGB: of all channels)."""
    weights = np.zeros((3 * 48 * 48, columns), np.float32)
    for column in range(columns):
        picture = np.zeros((3, 48, 48), np.float32)
        picture[:, 5 * column + 5] = 1 / 144
        weights[:, column] = picture.ravel()
    nodes = [
        helper.make_node("Flatten", ["faces"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
        *([helper.make_node("Softmax", ["scores"], ["shares"])] if softmax else []),
    ]
    graph = helper.make_graph(
        changes.get("nodes", nodes),
        "g",
        [helper.make_tensor_value_info("faces", TensorProto.FLOAT, [batch, *changes.get("shape", (3, 48, 48))])],
        [helper.make_tensor_value_info("shares" if softmax else "scores", TensorProto.FLOAT, [batch, columns])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path, **changes.get("save", {}))
    return path


def adapter(path: Path, **changes: Any) -> Path:
    said = {
        "system": "their-network", "title": "Their network", "authors": ["Ada Example"], "extra_data": ["unknown"],
        "size": 48, "colour": "rgb", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "labels": LABELS,
        "output": "logits",
    }  # fmt: skip
    code = changes.pop("code", "")
    said |= changes
    lines = [f"{name} = {value!r}" for name, value in said.items() if value is not ...]
    path.write_text("\n".join([*lines, code, ""]), encoding="utf-8")
    return path


def expected(faces: FaceSet) -> Any:
    """What the network says of the selection faces, in the order of FER2013."""
    images = faces.selection.images.astype(np.float32)
    rows = np.stack([(images[:, 5 * k + 5].mean(axis=1) / 255 - 0.5) / 0.25 for k in range(7)], axis=1)
    return rows[:, [LABELS.index(label) for label in FER2013.labels]]


def test_an_adapter_has_its_annotations_as_they_are_written(tmp_path: Path) -> None:
    """Not as strings, which the first line of the module that runs it makes of its own."""
    said = read_adapter(adapter(tmp_path / "a.py", code="def prepare(faces: list): return faces"))
    assert said.prepare is not None
    assert said.prepare.__annotations__ == {"faces": list}


def test_it_is_measured_and_marked_as_submitted(faces: FaceSet, tmp_path: Path) -> None:
    subject = foreign_subject(network(tmp_path / "m.onnx"), adapter(tmp_path / "a.py", seed=3, notes="by hand"))
    result = evaluate(subject, faces.test, results=tmp_path / "r")
    assert (result.kind, result.system, result.seed, result.extra_data) == (
        "submitted", "their-network", 3, ("unknown",)
    )  # fmt: skip
    assert result.submission is not None
    assert result.submission["authors"] == ["Ada Example"]
    assert result.submission["model_sha256"] == result.weights_sha256
    wanted = expected(faces)
    assert result.selection_scores is not None
    got = result.selection_scores.astype(np.float32)
    np.testing.assert_allclose(got, wanted - wanted.max(axis=1, keepdims=True), atol=1 / 32)  # recorded in steps
    assert result.metrics["selection_accuracy"] == pytest.approx(
        (wanted.argmax(1) == faces.selection.labels).mean(), abs=1e-6
    )
    result.save(tmp_path / "r")
    assert verify(tmp_path / "r").holds
    assert verify(tmp_path / "r").openings == {"their-network": 1}


def test_the_same_network_said_otherwise_gives_the_same(faces: FaceSet, tmp_path: Path) -> None:
    wanted = expected(faces).argmax(axis=1)
    turn = "def prepare(faces):\n    return faces.transpose(0, 2, 3, 1)\n"
    back = [
        helper.make_node("Transpose", ["faces"], ["first"], perm=[0, 3, 1, 2]),
        helper.make_node("Flatten", ["first"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["scores"]),
    ]
    ways = [
        (network(tmp_path / "p.onnx", softmax=True), adapter(tmp_path / "p.py", output="probabilities")),
        (network(tmp_path / "b.onnx", batch=4), adapter(tmp_path / "b.py")),
        (network(tmp_path / "l.onnx", nodes=back, shape=(48, 48, 3)), adapter(tmp_path / "l.py", code=turn)),
        (
            network(tmp_path / "e.onnx", columns=8),
            adapter(tmp_path / "e.py", labels=[*LABELS, None], code="import numpy as np\n_helper = np.zeros(1)"),
        ),
        (
            network(tmp_path / "f.onnx"),
            adapter(tmp_path / "f.py", labels=LABELS[::-1], code="def finish(out):\n    return out[0][:, ::-1]\n"),
        ),
    ]
    for model, said in ways:
        subject = foreign_subject(model, said)
        assert subject.label_set is FER2013
        result = evaluate(subject, faces.selection, results=tmp_path)
        assert result.selection_scores is not None
        assert np.array_equal(result.selection_scores.argmax(axis=1), wanted), model.name


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra_data": ...}, "lacks extra_data"),
        ({"extra_data": "none"}, "extra_data is a list of text"),
        ({"sise": 48}, "unknown key 'sise'; did you mean 'size'"),
        ({"system": "vggnet"}, "vggnet is a system of this project; choose an id of your own"),
        ({"system": "../etc"}, "markup, a path or a control character"),
        ({"title": "<b>best</b>"}, "markup, a path"),
        ({"output": "softmax"}, "output is logits or probabilities"),
        ({"labels": "angry"}, "labels is a list"),
        ({"mean": [0.5]}, "one value per channel"),
        ({"colour": "bgr"}, "grey or rgb"),
        ({"size": 4}, "outside 8"),
        ({"prepare": 3}, "prepare is a function"),
        ({"code": "x ="}, "a.py, line 11: fails: SyntaxError"),
        ({"code": "raise SystemExit('bye')"}, "line 11: fails: SystemExit: bye"),
        ({"code": "1 / 0"}, "fails: ZeroDivisionError"),
        ({"code": "#" * 70000}, "larger than an adapter"),
    ],
)
def test_bad_adapters(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        foreign_subject(network(tmp_path / "m.onnx"), adapter(tmp_path / "a.py", **changes))


def test_an_adapter_is_executed_only_after_the_network_was_looked_at(tmp_path: Path) -> None:
    touch = f"import pathlib\npathlib.Path({str(tmp_path / 'touched')!r}).touch()"
    (tmp_path / "m.onnx").write_bytes(b"no network")
    with pytest.raises(BundleError, match="no ONNX model"):
        foreign_subject(tmp_path / "m.onnx", adapter(tmp_path / "a.py", code=touch))
    assert not (tmp_path / "touched").exists()


def test_unsafe_networks_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = adapter(tmp_path / "a.py")
    outside = {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0}
    with pytest.raises(BundleError, match="keeps weights in other files"):
        foreign_subject(network(tmp_path / "x.onnx", save=outside), said)
    foreign = [helper.make_node("Run", ["faces"], ["scores"], domain="com.example")]
    with pytest.raises(BundleError, match="needs a foreign library"):
        foreign_subject(network(tmp_path / "y.onnx", nodes=foreign), said)
    monkeypatch.setattr("mien.evaluation.adapters.MAX_MODEL_BYTES", 1000)
    with pytest.raises(BundleError, match="is larger than"):
        foreign_subject(network(tmp_path / "z.onnx"), said)
    with pytest.raises(BundleError, match="No such file"):
        foreign_subject(tmp_path / "nowhere.onnx", said)


def test_what_does_not_fit_is_refused(faces: FaceSet, tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx")
    with pytest.raises(InputError, match="correct size and channels"):
        foreign_subject(model, adapter(tmp_path / "a.py", size=64))
    with pytest.raises(InputError, match="two columns"):
        foreign_subject(model, adapter(tmp_path / "a.py", labels=[*LABELS[:6], "happy"]))

    def refused(message: str, error: type[Exception] = InputError, **changes: Any) -> None:
        with pytest.raises(error, match=message):
            evaluate(foreign_subject(model, adapter(tmp_path / "a.py", **changes)), faces.test, results=tmp_path / "r")
        assert not (tmp_path / "r").exists(), "the test split was opened for nothing"

    refused("names 8 labels", labels=[*LABELS, None])
    refused("the labels differ", labels=["joy", *LABELS[:6]])
    refused("sum to 1", ResultError, output="probabilities")
    refused("cannot be run on what the adapter gives it", code="def prepare(faces):\n    return faces[:, :2]\n")
    with pytest.raises(InputError, match="this network takes 48 px"):
        evaluate(foreign_subject(model, adapter(tmp_path / "a.py")), faces.selection, views="tencrop@40")


def test_code_that_fails_later_is_named_with_its_line(faces: FaceSet, tmp_path: Path) -> None:
    model = network(tmp_path / "m.onnx")
    for code, message in (
        ("def finish(out):\n    return out[3]\n", "line 12: finish fails: IndexError"),
        ("def finish(out):\n    return [[1], [1, 2]]\n", "finish fails: ValueError"),
        ("def prepare(faces):\n    return faces + {}\n", "line 12: prepare fails: TypeError"),
    ):
        subject = foreign_subject(model, adapter(tmp_path / "a.py", code=code))
        with pytest.raises(DataError, match=message):
            evaluate(subject, faces.test, results=tmp_path / "r")
        assert not (tmp_path / "r").exists(), "the test split was opened for nothing"


@pytest.mark.parametrize(
    "code",
    [
        # Told from the whole batch.
        "def finish(out):\n    return (out[0] - out[0].mean(axis=0)) / out[0].std(axis=0)\n",
        # Drawn.
        "import numpy as np\n_chance = np.random.default_rng(0)\n"
        "def finish(out):\n    return out[0] + _chance.normal(size=out[0].shape)\n",
    ],
)
def test_a_face_is_told_from_itself_alone(faces: FaceSet, tmp_path: Path, code: str) -> None:
    subject = foreign_subject(network(tmp_path / "m.onnx"), adapter(tmp_path / "a.py", code=code))
    with pytest.raises(InputError, match="a face is told from itself alone"):
        evaluate(subject, faces.test, results=tmp_path / "r")
    assert not (tmp_path / "r").exists(), "the test split was opened for nothing"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str | Path) -> int:
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", *map(str, arguments), "--data", "drawn", "--results", str(tmp_path / "r")])
        return int(stop.value.code or 0)

    model, said = network(tmp_path / "m.onnx"), adapter(tmp_path / "a.py")
    assert run("--onnx", model, "--adapter", said, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "submitted"
    assert Path(found["path"]).is_file()
    assert run("--onnx", model) == 2
    assert run() == 2
    assert run(model, "--onnx", model, "--adapter", said) == 2
