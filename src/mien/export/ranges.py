"""Choose what the 256 steps of each activation span, by the error that is left where it counts: behind the next ReLU.

What is added to a shortcut before a ReLU need not be known far below zero, since the ReLU cuts the sum off there. In a
residual network those summands carry the largest part of the rounding error (over a third in the default one), and half
of their calibrated range lies where nobody reads it. So the lower end of such a range is fitted on values of
calibration faces, by squared error behind the sum: on a hundred thousand numbers per activation, not on the luck of a
few decisions. The upper ends stay in proportion to each other: the caller says how far all are drawn in, since rare
values that are cut off cost less than coarser steps cost all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLED = 1 << 17
"""Values of each activation that its range is fitted on, drawn from all calibration faces."""
LOWER = tuple(np.linspace(1.1, 0.2, 31).tolist())
"""Shares of the calibrated lower end that are tried."""
CUT = 8.0
"""Weight of the error of a value that is cut off beside that of one that is rounded: rounding errs in all directions
and averages out over pixels, cutting does not."""
_UNBOUNDED = ("Conv", "Gemm", "MatMul", "Add", "Relu")  # the range of pixels and of sigmoids is known


def fit_ranges(quantised: bytes, model: bytes, inputs: NDArray[np.float32], factors: Sequence[float]) -> list[bytes]:
    """The same quantised network with the ranges of its activations fitted, once for each factor.

    Args:
        quantised: QDQ model with unsigned activations per tensor.
        model: what was quantised, in fp32; activations have the same names in it.
        inputs: float32 (n, channels, S, S), calibration faces as the network sees them.
        factors: of all upper ends, 1 for the calibrated ones.
    """
    import onnx
    from onnx import numpy_helper

    proto = onnx.load_from_string(quantised)
    known = {tensor.name: tensor for tensor in proto.graph.initializer}
    activations = _activations(proto)
    summands = [one for one in activations if one.beside]
    values = _values(model, {name for one in summands for name in (one.name, one.beside)}, inputs)
    tried = []
    for factor in factors:
        ranges = {}
        for one in activations:
            step = float(numpy_helper.to_array(known[one.scale]))
            zero = int(numpy_helper.to_array(known[one.zero]))
            low, high = -zero * step * factor, (255 - zero) * step * factor
            mine, beside = values.get(one.name), values.get(one.beside)
            if mine is not None and beside is not None and mine.shape == beside.shape:
                low = _lower_end(mine, beside, -zero * step, high)
            ranges[one.scale] = _steps(low, high)
        changed = onnx.ModelProto()
        changed.CopyFrom(proto)
        _write(changed, ranges, {one.scale: one.zero for one in activations})
        tried.append(bytes(changed.SerializeToString()))
    return tried


@dataclass(frozen=True)
class _Activation:
    """One rounded activation.

    Attributes:
        name: of the tensor.
        scale: name of its scale.
        zero: name of its zero point.
        beside: the tensor that it is added to before a ReLU, where that sum is all that it serves; else empty.
    """

    name: str
    scale: str
    zero: str
    beside: str


def summands(graph: Any, tensor: str) -> list[str]:
    """What a tensor of an fp32 graph is added to, if it is read by one sum alone and only a ReLU reads that sum."""
    readers = [node for node in graph.node if tensor in node.input]
    if len(readers) != 1 or readers[0].op_type != "Add" or readers[0].output[0] in {o.name for o in graph.output}:
        return []
    behind = [node for node in graph.node if readers[0].output[0] in node.input]
    others = [name for name in readers[0].input if name != tensor]
    return others if behind and all(node.op_type == "Relu" for node in behind) else []


def _activations(proto: Any) -> list[_Activation]:
    """Those whose range may be chosen, one for each scale."""
    from onnx import numpy_helper

    graph = proto.graph
    known = {tensor.name: tensor for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)

    def from_zero(node: Any) -> bool:
        """Its lowest value is zero: the ReLU before it went into its zero point."""
        return not numpy_helper.to_array(known[node.input[2]]).any()

    def source(name: str) -> str:
        """The tensor before its rounding."""
        node = makers.get(name)
        before = makers.get(node.input[0]) if node is not None and node.op_type == "DequantizeLinear" else None
        return str(before.input[0]) if before is not None else name

    def beside(node: Any) -> str:
        restored = [back for back in readers[node.output[0]] if back.op_type == "DequantizeLinear"]
        after = [reader for back in restored for reader in readers[back.output[0]]]
        if from_zero(node) or len(after) != 1 or after[0].op_type != "Add":
            return ""
        others = [source(name) for name in after[0].input if source(name) != node.input[0]]
        sums = readers[after[0].output[0]]
        cut = [s.op_type == "Relu" or (s.op_type == "QuantizeLinear" and from_zero(s)) for s in sums]
        return others[0] if len(others) == 1 and cut and all(cut) else ""

    found: dict[str, _Activation] = {}
    for node in graph.node:
        if node.op_type != "QuantizeLinear" or len(node.input) != 3:
            continue
        name, scale, zero = node.input
        maker = makers.get(name)
        if scale not in found and maker is not None and maker.op_type in _UNBOUNDED and not known[scale].dims:
            found[scale] = _Activation(name, scale, zero, beside(node))
    return list(found.values())


def _values(model: bytes, names: Iterable[str], inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Some values of each activation, at the same places in activations of the same shape."""
    import onnx
    from onnx import helper

    from mien.faces.inference import open_session

    proto = onnx.load_from_string(model)
    wanted = sorted({name for node in proto.graph.node for name in node.output} & set(names))
    if not wanted:
        return {}
    told = {output.name for output in proto.graph.output}
    proto.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in wanted if name not in told
    )
    session = open_session(proto.SerializeToString())
    batches = np.array_split(inputs, -(-len(inputs) // 16))
    each = -(-SAMPLED // len(batches))
    seen: dict[str, list[NDArray[np.float32]]] = {name: [] for name in wanted}
    for number, batch in enumerate(batches):
        for name, values in zip(wanted, session.run(wanted, {"input": batch}), strict=True):
            places = np.random.default_rng(number).integers(0, values.size, each)
            seen[name].append(values.ravel()[places])
    return {name: np.concatenate(parts) for name, parts in seen.items()}


def _lower_end(values: NDArray[np.float32], beside: NDArray[np.float32], low: float, high: float) -> float:
    """The lower end of the least squared error of what is left of a sum behind its ReLU."""
    below = values <= high  # what is cut off above is so at any lower end
    values, floor = values[below], -beside[below]
    wanted = np.maximum(values, floor)

    def error(bottom: float) -> float:
        step, zero = _steps(bottom, high)
        codes = np.rint(values / step)
        kept = np.clip(codes, -zero, 255 - zero)
        wrong = np.square(np.maximum(kept * step, floor) - wanted)
        return float(wrong.sum() + (CUT - 1) * wrong[kept != codes].sum())

    return float(min((low * share for share in LOWER), key=error))


def _steps(low: float, high: float) -> tuple[np.float32, int]:
    """Scale and zero point."""
    step = np.float32(max(high - low, 1e-8) / 255)
    return step, int(np.clip(np.rint(-low / step), 0, 255))


def _write(proto: Any, ranges: dict[str, tuple[np.float32, int]], zeros: dict[str, str]) -> None:
    """Put scales and zero points into the graph; biases follow the scale of their layer's input."""
    from onnx import numpy_helper

    weights = {tensor.name: tensor for tensor in proto.graph.initializer}
    makers = {name: node for node in proto.graph.node for name in node.output}

    def array(name: str) -> NDArray[Any]:
        return numpy_helper.to_array(weights[name])

    def put(name: str, values: NDArray[Any]) -> None:
        weights[name].CopyFrom(numpy_helper.from_array(values, name))

    restored = {name for name, node in makers.items() if node.op_type == "DequantizeLinear"}
    for node in proto.graph.node:
        if node.op_type in ("Conv", "Gemm") and len(node.input) == 3 and {node.input[0], node.input[2]} <= restored:
            step, bias = makers[node.input[0]].input[1], makers[node.input[2]].input
            if step in ranges:
                factor = float(ranges[step][0]) / float(array(step))
                put(bias[0], np.rint(array(bias[0]) / factor).astype(np.int32))
                put(bias[1], (array(bias[1]) * np.float64(factor)).astype(np.float32))
    for scale, (step, zero) in ranges.items():
        put(zeros[scale], np.array(zero, array(zeros[scale]).dtype))
        put(scale, np.array(step, np.float32))
