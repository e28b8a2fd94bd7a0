"""A bundle is arithmetic on an image: no other files, no foreign code."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import standin
from mien.bundle import check_graph, read_bundle, write_bundle
from mien.errors import BundleError

onnx = pytest.importorskip("onnx")
helper, TensorProto = onnx.helper, onnx.TensorProto


def load() -> object:
    return onnx.load_from_string(standin.graph())


def external_tensor() -> object:
    tensor = onnx.numpy_helper.from_array(np.zeros((8, 7), np.float32), "weights")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../secret")
    return tensor


def branch(node: object) -> object:
    return helper.make_graph([node], "branch", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])


def conditional(node: object) -> object:
    model = load()
    model.graph.node.append(  # type: ignore[attr-defined]
        helper.make_node("If", ["flag"], ["unused"], then_branch=branch(node), else_branch=branch(node))
    )
    return model


def in_initializer() -> object:
    model = load()
    model.graph.initializer[0].CopyFrom(external_tensor())  # type: ignore[attr-defined]
    return model


def in_constant_of_a_branch() -> object:
    return conditional(helper.make_node("Constant", [], ["out"], value=external_tensor()))


def foreign_operator() -> object:
    model = load()
    model.graph.node.append(helper.make_node("Run", ["input"], ["out"], domain="evil.ops"))  # type: ignore[attr-defined]
    return model


def foreign_operator_in_a_branch() -> object:
    return conditional(helper.make_node("Run", ["input"], ["out"], domain="evil.ops"))


def foreign_operator_in_a_function() -> object:
    model = load()
    inner = helper.make_node("Run", ["x"], ["y"], domain="evil.ops")
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("mine", "f", ["x"], ["y"], [inner], opsets))  # type: ignore[attr-defined]
    return model


def compiled_graph() -> object:
    model = load()
    model.graph.node.append(helper.make_node("EPContext", ["input"], ["out"], domain="com.microsoft"))  # type: ignore[attr-defined]
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (in_initializer, "other files"),
        (in_constant_of_a_branch, "other files"),
        (foreign_operator, "foreign library"),
        (foreign_operator_in_a_branch, "foreign library"),
        (foreign_operator_in_a_function, "foreign library"),
        (compiled_graph, "compiled"),
    ],
)
def test_unsafe_graphs_are_refused(make: object, message: str, tmp_path: Path) -> None:
    model = make().SerializeToString()  # type: ignore[operator]
    with pytest.raises(BundleError, match=message):
        check_graph(model)
    with pytest.raises(BundleError, match=message):
        write_bundle(tmp_path / "unsafe.onnx", model, standin.card())
    assert not (tmp_path / "unsafe.onnx").exists()


def test_quantised_operators_and_own_functions_are_fine() -> None:
    model = load()
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(  # type: ignore[attr-defined]
        helper.make_function("mine", "f", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], opsets)
    )
    model.graph.node.append(helper.make_node("f", ["input"], ["a"], domain="mine"))  # type: ignore[attr-defined]
    model.graph.node.append(helper.make_node("QLinearAdd", ["a"], ["b"], domain="com.microsoft"))  # type: ignore[attr-defined]
    check_graph(model.SerializeToString())  # type: ignore[attr-defined]


def test_a_bundle_that_became_unsafe_later_is_refused_when_read(bundle_path: Path) -> None:
    model = onnx.load_from_string(bundle_path.read_bytes())
    model.graph.initializer[0].CopyFrom(external_tensor())
    with pytest.raises(BundleError, match="other files"):
        read_bundle(model.SerializeToString())


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_mutated_models_are_read_or_refused(data: st.DataObject) -> None:
    model = bytearray(standin.graph())
    for _ in range(data.draw(st.integers(1, 4))):
        model[data.draw(st.integers(0, len(model) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(BundleError):
        check_graph(bytes(model[: data.draw(st.integers(1, len(model)))]))
