"""Exact rewrites of a network before it is quantised: fewer, larger steps that give the same numbers.

Convolutions are sums, so an average over 2×2 pixels followed by a 1×1 convolution is one 2×2 convolution of stride 2.
And a 5×5 convolution of stride 2 over one channel is a 3×3 convolution over the four pixels of each 2×2 square: int8
kernels gather 4 neighbouring bytes at once then, instead of one. Both save time because onnxruntime's pooling and its
gathering of single bytes are slow, not because there is less to multiply.

A maximum and a ReLU may change places: behind a convolution the ReLU costs nothing, and what lies below zero takes none
of the steps of what the maximum reads.

Layers that share their weights, as those that look at an average and at a maximum do, and normalisations of a fresh
network, whose equal ones and zeros are written once, get weights of their own: onnxruntime refuses to compute shared
int8 weights exactly where a processor has no VNNI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LAYERS = (
    "Conv",
    "ConvTranspose",
    "Gemm",
    "MatMul",
    "BatchNormalization",
    "InstanceNormalization",
    "LayerNormalization",
)


def simplify(model: bytes) -> bytes:
    """Put ReLUs before maxima; fold average pools into 1×1 convolutions behind them, and 5×5 stems on grey pixels.

    No two convolutions, matrix products or normalisations read one initializer afterwards.

    Args:
        model: an fp32 ONNX file with batch normalisation folded; what does not have these shapes stays as it is.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph_model = onnx.load_from_string(model)
    graph = graph_model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    outputs = {output.name for output in graph.output}

    def readers(name: str) -> list[Any]:
        return [node for node in graph.node if name in node.input]

    def attributes(node: Any) -> dict[str, Any]:
        return {item.name: helper.get_attribute_value(item) for item in node.attribute}

    def become(node: Any, source: str, weight: NDArray[np.float32], side: int, stride: int, pad: int) -> None:
        name = f"{node.name or node.output[0]}_folded"
        graph.initializer.append(numpy_helper.from_array(weight.astype(np.float32), name))
        node.input[0], node.input[1] = source, name
        del node.attribute[:]
        shape = {"kernel_shape": [side] * 2, "strides": [stride] * 2, "pads": [pad] * 4, "dilations": [1, 1]}
        node.attribute.extend(helper.make_attribute(key, value) for key, value in {**shape, "group": 1}.items())

    for pool in [node for node in graph.node if node.op_type == "MaxPool" and len(node.output) == 1]:
        behind = readers(pool.output[0])
        if len(behind) == 1 and behind[0].op_type == "Relu" and pool.output[0] not in outputs:
            relu, before, between, after = behind[0], pool.input[0], pool.output[0], behind[0].output[0]
            relu.input[0], relu.output[0], pool.input[0], pool.output[0] = before, between, between, after
            graph.node.remove(relu)
            graph.node.insert(list(graph.node).index(pool), relu)

    for pool in [node for node in graph.node if node.op_type == "AveragePool"]:
        behind, told = readers(pool.output[0]), attributes(pool)
        plain = told["kernel_shape"] == told.get("strides") and not any(told.get("pads", [0]))
        if not plain or told.get("ceil_mode") or len(behind) != 1 or pool.output[0] in outputs:
            continue
        conv, (high, wide) = behind[0], told["kernel_shape"]
        if conv.op_type != "Conv" or conv.input[1] not in weights or high != wide:
            continue
        weight, found = numpy_helper.to_array(weights[conv.input[1]]), attributes(conv)
        if weight.shape[2:] != (1, 1) or found.get("strides", [1, 1]) != [1, 1] or found.get("group", 1) != 1:
            continue
        become(conv, pool.input[0], np.tile(weight, (1, 1, high, wide)) / (high * wide), high, high, 0)
        graph.node.remove(pool)

    stem = next((node for node in graph.node if node.op_type == "Conv"), None)
    if stem is not None and stem.input[0] == "input" and stem.input[1] in weights:
        weight, found = numpy_helper.to_array(weights[stem.input[1]]), attributes(stem)
        sides = [axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim[2:]]
        even = all(side and side % 2 == 0 for side in sides)
        if (
            even
            and weight.shape[1:] == (1, 5, 5)
            and found.get("strides") == [2, 2]
            and found.get("pads") == [2, 2, 2, 2]
        ):
            square = np.zeros((len(weight), 4, 3, 3), np.float32)
            for row in range(5):
                for column in range(5):
                    square[:, row % 2 * 2 + column % 2, row // 2, column // 2] = weight[:, 0, row, column]
            graph.node.insert(
                list(graph.node).index(stem),
                helper.make_node("SpaceToDepth", ["input"], ["squares"], name="squares", blocksize=2),
            )
            become(stem, "squares", square, 3, 1, 1)
    _separate(graph)
    used = {name for node in graph.node for name in node.input}
    for tensor in [tensor for tensor in graph.initializer if tensor.name not in used]:
        graph.initializer.remove(tensor)
    del graph.value_info[:]
    onnx.checker.check_model(graph_model)
    return bytes(graph_model.SerializeToString())


def _separate(graph: Any) -> None:
    """Give every layer a copy of its own of each initializer that another layer has read before."""
    weights, taken = {tensor.name: tensor for tensor in graph.initializer}, set[str]()
    for number, node in enumerate(graph.node):
        if node.op_type not in _LAYERS:
            continue
        for place, name in enumerate(node.input):
            if name in weights and name in taken:
                copy = graph.initializer.add()
                copy.CopyFrom(weights[name])
                copy.name = node.input[place] = f"{name}_of_node_{number}_{place}"
            taken.add(name)
