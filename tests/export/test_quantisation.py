"""What is rewritten before a network is quantised computes the same, and what must not be rounded is left out."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.errors import RunError
from mien.export.quantisation import SMALL, _exact, to_int8
from mien.export.simplification import simplify
from mien.faces.inference import open_session

onnx = pytest.importorskip("onnx")


def model(nodes: list[Any], ends: tuple[int, ...], **weights: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", *ends])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def node(kind: str, inputs: list[str], output: str, **attributes: Any) -> Any:
    return onnx.helper.make_node(kind, inputs, [output], name=f"to {output}", **attributes)


def normal(*shape: int) -> Any:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def small() -> bytes:
    return model(
        [
            node("Conv", ["input", "weight"], "raw"),
            node("Relu", ["raw"], "seen"),
            node("Flatten", ["seen"], "flat"),
            node("Gemm", ["flat", "last"], "logits"),
        ],
        (2,),
        weight=normal(3, 1, 3, 3),
        last=normal(3 * 36, 2),
    )


def test_a_folder_of_its_own_is_all_that_it_writes_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for the system's folder, Python makes a file there; a kill between two steps leaves it."""

    def looked_for() -> None:
        raise AssertionError("the system's folder for temporary files was looked for")

    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_get_default_tempdir", looked_for)
    (tmp_path / ".mien-scratch.0a1b2c3d.part").mkdir()  # of a killed export
    (tmp_path / ".mien-scratch.0a1b2c3d.part" / "plain.onnx").touch()
    assert to_int8(small(), normal(16, 1, 8, 8), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_the_quantiser_only_logs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no room\nProtobuf serialization failed.")

    monkeypatch.setattr("onnxruntime.InferenceSession", fail)
    with pytest.raises(RunError, match=r"cannot simplify the network \(Protobuf serialization failed\.\)"):
        to_int8(small(), normal(16, 1, 8, 8), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_folders_of_the_quantiser_lie_in_ours_and_those_of_other_threads_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[Path] = []
    elsewhere: list[Path] = []
    mkdtemp = tempfile.mkdtemp

    def watched(*given: Any, **named: Any) -> str:
        folder = mkdtemp(*given, **named)
        if threading.current_thread() is threading.main_thread():
            made.append(Path(folder))
            other = threading.Thread(target=another)
            other.start()
            other.join()
        return folder

    def another() -> None:
        from onnxruntime.quantization import quant_utils

        with tempfile.TemporaryDirectory() as one, quant_utils.tempfile.TemporaryDirectory(prefix="ort.") as two:
            elsewhere.extend([Path(one), Path(two)])

    monkeypatch.setattr(tempfile, "mkdtemp", watched)
    assert to_int8(small(), normal(16, 1, 8, 8))
    assert len(made) >= 2, "of both its steps"
    assert all(folder.parent != tmp_path and folder.parent.parent == tmp_path for folder in made)
    assert elsewhere
    assert all(folder.parent == tmp_path for folder in elsewhere)
    assert not list(tmp_path.iterdir())


def test_a_maximum_comes_behind_its_relu() -> None:
    before = model(
        [
            node("Conv", ["input", "weight"], "raw"),
            node("MaxPool", ["raw"], "large", kernel_shape=[2, 2], strides=[2, 2]),
            node("Relu", ["large"], "kept"),
            node("Conv", ["kept", "last"], "logits"),
        ],
        (2, 3, 3),
        weight=normal(3, 1, 3, 3),
        last=normal(2, 3, 1, 1),
    )
    after = simplify(before)
    assert [n.op_type for n in onnx.load_from_string(after).graph.node] == ["Conv", "Relu", "MaxPool", "Conv"]
    was, now = (open_session(one).run(["logits"], {"input": normal(4, 1, 8, 8)})[0] for one in (before, after))
    np.testing.assert_array_equal(was, now)


def test_a_maximum_that_others_read_stays() -> None:
    before = model(
        [
            node("MaxPool", ["input"], "large", kernel_shape=[2, 2], strides=[2, 2]),
            node("Relu", ["large"], "kept"),
            node("Add", ["large", "kept"], "logits"),
        ],
        (1, 4, 4),
    )
    assert [n.op_type for n in onnx.load_from_string(simplify(before)).graph.node] == ["MaxPool", "Relu", "Add"]


def test_layers_that_share_their_weights_get_their_own() -> None:
    """onnxruntime refuses to compute shared int8 weights exactly where a processor has no VNNI."""
    shared = model(
        [
            node("Conv", ["input", "weight", "bias"], "first"),
            node("Relu", ["first"], "seen"),
            node("Conv", ["seen", "weight", "bias"], "second"),
            node("Relu", ["second"], "again"),
            node("Conv", ["again", "weight"], "third"),
            node("Relu", ["third"], "logits"),
        ],
        (1, 2, 2),
        weight=normal(1, 1, 3, 3),
        bias=normal(1),
    )
    simple, faces = simplify(shared), np.abs(normal(16, 1, 8, 8))
    read = [name for node in onnx.load_from_string(simple).graph.node for name in node.input[1:]]
    assert len(read) == len(set(read)) == 5
    (wanted,), (found,) = (open_session(one).run(["logits"], {"input": faces}) for one in (shared, simple))
    assert np.array_equal(found, wanted)
    quantised = onnx.load_from_string(to_int8(shared, faces)).graph
    rounded = {tensor.name for tensor in quantised.initializer if tensor.data_type == onnx.TensorProto.INT8}
    restored = [n.output[0] for n in quantised.node if n.op_type == "DequantizeLinear" and n.input[0] in rounded]
    assert restored
    assert all(sum(name in n.input for n in quantised.node) == 1 for name in restored)


def test_normalisations_of_a_fresh_network_do_not_share_their_ones() -> None:
    """The exporter writes equal weights once, and normalisations that cannot be folded are rounded."""
    same = ["ones", "zeros", "zeros", "ones"]
    fresh = model(
        [
            node("Conv", ["input", "weight"], "first"),
            node("Relu", ["first"], "seen"),
            node("BatchNormalization", ["seen", *same], "even"),
            node("Conv", ["even", "further"], "second"),
            node("Relu", ["second"], "again"),
            node("BatchNormalization", ["again", *same], "logits"),
        ],
        (2, 4, 4),
        weight=normal(2, 1, 3, 3),
        further=normal(2, 2, 3, 3),
        ones=np.ones(2, np.float32),
        zeros=np.zeros(2, np.float32),
    )
    faces = np.abs(normal(16, 1, 8, 8))
    quantised = to_int8(fresh, faces)
    assert len(open_session(quantised).run(["logits"], {"input": faces})[0]) == 16
    graph = onnx.load_from_string(quantised).graph
    rounded = {tensor.name for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8}
    for restored in [n.output[0] for n in graph.node if n.op_type == "DequantizeLinear" and n.input[0] in rounded]:
        assert sum(restored in n.input for n in graph.node) == 1


def test_coordinates_small_dense_layers_and_stacked_matrices_are_not_rounded() -> None:
    many = SMALL // 4 + 1
    graph = model(
        [
            node("Conv", ["input", "weight"], "trunk", pads=[1, 1, 1, 1]),
            node("Conv", ["trunk", "turn"], "turned"),
            node("Transpose", ["turned"], "grid", perm=[0, 2, 3, 1]),
            node("GridSample", ["trunk", "grid"], "seen"),
            node("Conv", ["seen", "look"], "looked"),
            node("MatMul", ["looked", "heads"], "mixed"),
            node("MatMul", ["mixed", "square"], "again"),
            node("Flatten", ["again"], "flat"),
            node("Gemm", ["flat", "few"], "small"),
            node("Gemm", ["small", "many"], "wide"),
            node("Gemm", ["wide", "head"], "logits"),
        ],
        (7,),
        weight=normal(1, 1, 3, 3),
        turn=normal(2, 1, 1, 1),
        look=normal(1, 1, 1, 1),
        heads=normal(1, 8, 8),
        square=normal(8, 8),
        few=normal(64, 4),
        many=normal(4, many),
        head=normal(many, 7),
    )
    assert _exact(graph) == ["to turned", "to grid", "to mixed", "to small", "to logits"]
