"""The range of an activation leaves out what a ReLU hides, and biases follow the scale of what they are added to."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.export.ranges import fit_ranges, summands
from mien.faces.inference import open_session

onnx = pytest.importorskip("onnx")


def block(tail: str = "Relu") -> bytes:
    """A residual block whose branch reaches far below zero, and a convolution behind it."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    weights = {
        "stem": rng.normal(size=(4, 1, 3, 3)),
        "deep": rng.normal(size=(4, 4, 3, 3)) - 0.6,
        "last": rng.normal(size=(3, 4, 1, 1)),
    }
    biases = {"stem": rng.normal(size=4), "deep": rng.normal(size=4), "last": rng.normal(size=3)}

    def conv(source: str, name: str, to: str) -> Any:
        side = weights[name].shape[-1]
        pads = [side // 2] * 4
        return helper.make_node("Conv", [source, name, f"{name}_bias"], [to], name=name, pads=pads)

    graph = helper.make_graph(
        [
            conv("input", "stem", "raw"),
            helper.make_node("Relu", ["raw"], ["stream"], name="first"),
            conv("stream", "deep", "branch"),
            helper.make_node("Add", ["branch", "stream"], ["sum"], name="add"),
            helper.make_node(tail, ["sum"], ["out"], name="tail"),
            conv("out", "last", "scores"),
            helper.make_node("GlobalAveragePool", ["scores"], ["logits"], name="pool"),
        ],
        "block",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 1, 12, 12])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3, 1, 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()]
        + [numpy_helper.from_array(value.astype(np.float32), f"{name}_bias") for name, value in biases.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())


def quantise(model: bytes, inputs: Any, folder: Path) -> bytes:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Once(CalibrationDataReader):  # type: ignore[misc]
        batches = iter([{"input": inputs}])

        def get_next(self) -> Any:
            return next(self.batches, None)

    (folder / "fp32.onnx").write_bytes(model)
    level = logging.getLogger().level
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger().setLevel(logging.ERROR)
        try:
            quantize_static(
                str(folder / "fp32.onnx"), str(folder / "int8.onnx"), Once(), quant_format=QuantFormat.QDQ,
                per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
            )  # fmt: skip
        finally:
            logging.getLogger().setLevel(level)
    return (folder / "int8.onnx").read_bytes()


def ends(model: bytes, tensor: str) -> tuple[float, float]:
    """The lowest and the highest value that its steps span."""
    from onnx import numpy_helper

    proto = onnx.load_from_string(model)
    known = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    node = next(n for n in proto.graph.node if n.op_type == "QuantizeLinear" and n.input[0] == tensor)
    step, zero = float(known[node.input[1]]), int(known[node.input[2]])
    return -zero * step, (255 - zero) * step


def behind_the_sum(model: bytes, inputs: Any) -> Any:
    """What the ReLU leaves of the sum, before it is rounded itself."""
    proto = onnx.load_from_string(model)
    proto.graph.output.append(onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None))
    return np.maximum(open_session(proto.SerializeToString()).run(["out"], {"input": inputs})[0], 0)


FACES = np.random.default_rng(1).normal(size=(64, 1, 12, 12)).astype(np.float32)
OTHERS = np.random.default_rng(2).normal(size=(256, 1, 12, 12)).astype(np.float32)


def test_what_a_relu_hides_takes_no_steps(tmp_path: Path) -> None:
    model = block()
    plain = quantise(model, FACES, tmp_path)
    fitted, narrow = fit_ranges(plain, model, FACES, (1.0, 0.5))
    low, high = ends(plain, "branch")
    assert low < -1.5 * high, "the branch of this test reaches far below zero"
    bottom, top = ends(fitted, "branch")
    assert bottom > 0.7 * low
    assert top == pytest.approx(high, rel=0.02)
    for tensor in ("stream", "out"):
        assert ends(fitted, tensor) == pytest.approx(ends(plain, tensor), rel=1e-5)
        assert ends(narrow, tensor)[1] == pytest.approx(0.5 * ends(plain, tensor)[1], rel=1e-5)
    wanted = behind_the_sum(model, OTHERS)
    before, after = (np.square(behind_the_sum(one, OTHERS) - wanted).mean() for one in (plain, fitted))
    assert after < 0.8 * before
    assert fit_ranges(plain, model, FACES, (1.0,)) == [fitted], "the same faces give the same file"


def test_without_a_relu_behind_the_sum_all_counts(tmp_path: Path) -> None:
    model = block("Identity")
    plain = quantise(model, FACES, tmp_path)
    assert ends(fit_ranges(plain, model, FACES, (1.0,))[0], "branch") == pytest.approx(ends(plain, "branch"), rel=1e-5)


def test_a_summand_is_what_serves_one_sum_before_a_relu() -> None:
    graph = onnx.load_from_string(block()).graph
    assert summands(graph, "branch") == ["stream"]
    assert summands(graph, "stream") == [], "a convolution reads it, too"
    assert summands(onnx.load_from_string(block("Identity")).graph, "branch") == []
