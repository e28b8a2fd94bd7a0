"""Bring the channels of a network to one range before it is quantised, by exact rewriting.

One scale serves all channels of an activation, so a channel that is ten times as large as the others leaves them a
tenth of the 256 steps. But a channel may be multiplied by any positive number if whoever reads it divides by it: ReLU,
sums and maxima let the factor through, and convolutions take it into their weights for nothing. (Nagel et al.,
"Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.1. There the ranges are
those of the weights; here those of the activations on real faces weigh more, since weights have a scale per output
channel anyway.)
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.export.ranges import summands

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHARE = 0.9
"""Of the activations in the balance with the weights: 1 makes all channels equally large, 0 all weights."""
LIMIT = 8.0
"""Largest factor of a channel."""
QUANTILE = 0.9999
"""Of a channel's values that counts as its range."""
HIDDEN = 0.5
"""Share of what lies below zero that counts where a ReLU behind a sum hides most of it (see `mien.export.ranges`)."""
RESTORED = "_restored"
"""Ending of the nodes that give pooled features their own scale back."""
_THROUGH = frozenset({"Relu", "Add", "MaxPool", "AveragePool", "Identity"})
_POOLED = frozenset({"ReduceMean", "GlobalAveragePool"})


def equalise(model: bytes, inputs: NDArray[np.float32]) -> bytes:
    """The same function with channels of comparable range; what cannot be rewritten exactly stays as it is.

    Args:
        model: fp32 ONNX file with batch normalisation folded.
        inputs: float32 (n, channels, S, S), faces as the network sees them.
    """
    import onnx
    from onnx import helper, numpy_helper

    proto = onnx.load_from_string(model)
    graph = proto.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    readers: dict[str, list[Any]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            readers[name].append(node)

    def array(name: str) -> NDArray[np.float32]:
        return numpy_helper.to_array(weights[name])

    def put(name: str, values: NDArray[np.floating[Any]]) -> None:
        weights[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name))

    found = list(_groups(graph, weights, readers))
    ranges = _ranges(proto, [name for group in found for name in group.rounded], inputs)
    for group in found:
        largest = np.max([ranges[name] for name in group.rounded], axis=0)
        weight = np.max([np.abs(array(conv.input[1])).max(axis=(0, 2, 3)) for conv in group.read], axis=0)
        factor = np.maximum(weight, 1e-6) ** (1 - SHARE) / np.maximum(largest, 1e-6) ** SHARE
        factor = np.clip(factor / np.exp(np.log(factor).mean()), 1 / LIMIT, LIMIT)
        for conv in group.made:
            put(conv.input[1], array(conv.input[1]) * factor[:, None, None, None])
            put(conv.input[2], array(conv.input[2]) * factor)
        for conv in group.read:
            put(conv.input[1], array(conv.input[1]) / factor[None, :, None, None])
        for node in group.pooled:
            keeps = node.op_type == "GlobalAveragePool" or _attribute(node, "keepdims", 1)
            name, inner = node.output[0], f"{node.output[0]}_scaled"
            shape = (1, -1, 1, 1) if keeps else (1, -1)
            graph.initializer.append(
                numpy_helper.from_array((1 / factor).reshape(shape).astype(np.float32), f"{name}_factor")
            )
            node.output[0] = inner
            restore = helper.make_node("Mul", [inner, f"{name}_factor"], [name], name=f"{name}{RESTORED}")
            graph.node.insert(list(graph.node).index(node) + 1, restore)
    del graph.value_info[:]
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString())


@dataclass(frozen=True)
class _Group:
    """Activations that share their channels: the convolutions that make and read them, the pools that end them."""

    made: list[Any]
    read: list[Any]
    pooled: list[Any]
    rounded: list[str]


def _groups(graph: Any, weights: Any, readers: Any) -> Iterator[_Group]:
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            name = parent[name]
        return name

    makers = {name: node for node in graph.node for name in node.output}
    for node in graph.node:
        if node.op_type in _THROUGH:
            for name in node.input:
                parent[root(name)] = root(node.output[0])
    members: dict[str, list[str]] = defaultdict(list)
    for name in makers:
        members[root(name)].append(name)
    outputs = {value.name for value in graph.output}
    for names in members.values():
        through = [makers[name] for name in names if makers[name].op_type in _THROUGH]
        made = [makers[name] for name in names if makers[name].op_type not in _THROUGH]
        used = [(node, name) for name in names for node in readers[name] if node.op_type not in _THROUGH]
        pooled = [node for node, _ in used if _pools(node, weights)]
        read = [node for node, name in used if _foldable(node, weights, readers) and node.input[0] == name]
        exact = (
            not outputs & set(names)
            and all(_foldable(node, weights, readers) and len(node.input) == 3 for node in made)
            and len(read) + len(pooled) == len(used)
            # A sum with a constant, or with the input of the network, is not scaled along.
            and all(name in names for node in through for name in node.input)
        )
        if exact and made and read:
            # What only a ReLU reads is rounded behind it.
            rounded = [name for name in names if any(node.op_type != "Relu" for node in readers[name])]
            yield _Group(made, read, pooled, rounded)


def _foldable(node: Any, weights: Any, readers: Any) -> bool:
    """A dense convolution over images whose weights are its own."""
    return (
        node.op_type == "Conv"
        and all(name in weights and len(readers[name]) == 1 for name in node.input[1:])
        and len(weights[node.input[1]].dims) == 4
        and _attribute(node, "group", 1) == 1
    )


def _pools(node: Any, weights: Any) -> bool:
    """A mean over all pixels."""
    from onnx import numpy_helper

    if node.op_type == "GlobalAveragePool":
        return True
    if node.op_type != "ReduceMean" or len(node.input) != 2 or node.input[1] not in weights:
        return False
    return sorted(int(axis) % 4 for axis in numpy_helper.to_array(weights[node.input[1]]).ravel()) == [2, 3]


def _attribute(node: Any, name: str, default: int) -> int:
    return next((int(item.i) for item in node.attribute if item.name == name), default)


def _ranges(proto: Any, names: list[str], inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float64]]:
    """For each activation, the range of each of its channels; a few activations at a time, to bound the memory."""
    import onnx
    from onnx import helper

    from mien.faces.inference import open_session

    found: dict[str, NDArray[np.float64]] = {}
    for start in range(0, len(names), 4):
        some = names[start : start + 4]
        open_graph = onnx.ModelProto()
        open_graph.CopyFrom(proto)
        open_graph.graph.output.extend(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in some
        )
        session = open_session(open_graph.SerializeToString())
        batches = [session.run(some, {"input": batch}) for batch in np.array_split(inputs, -(-len(inputs) // 128))]
        for at, name in enumerate(some):
            values = np.concatenate([batch[at] for batch in batches])
            found[name] = _reach(values, hidden=bool(summands(proto.graph, name)))
    return found


def _reach(values: NDArray[np.float32], hidden: bool) -> NDArray[np.float64]:
    """How far each channel of (N, channels, H, W) reaches from zero, but for its rarest values."""
    flat = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)
    rare = max(1, round(flat.shape[1] * (1 - QUANTILE)))
    flat = np.partition(flat, (rare - 1, -rare), axis=1)
    above, below = flat[:, -rare], -flat[:, rare - 1]
    reach: NDArray[np.float64] = np.maximum(above, below * (HIDDEN if hidden else 1.0)).astype(np.float64)
    return reach
