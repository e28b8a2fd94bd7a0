"""A linear correction of a bundle's logits, written into its graph: ``scale * logits + embedding · weight + bias``.

What comes out is an ordinary ONNX file that any runtime computes. Neither onnx nor torch is needed: an ONNX file is a
protocol buffer (the numbers below are those of onnx.proto3), the old output is renamed, a node or two are appended,
and every other byte stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mien.bundle import message_fields, message_piece
from mien.errors import BundleError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRAPH, _NODE, _TENSOR, _VALUE_INFO = 7, 1, 5, 13
_FLOAT = 1


def correct_logits(
    model: bytes,
    bias: NDArray[np.float32],
    weight: NDArray[np.float32] | None = None,
    *,
    scale: NDArray[np.float32] | None = None,
) -> bytes:
    """Multiply the output ``logits`` of an ONNX model by ``scale``, then add ``embedding · weight + bias``.

    Args:
        model: with the output ``logits``, and ``embedding`` where a weight is given.
        bias: float32 (classes,).
        weight: float32 (D, classes), or None.
        scale: float32 (classes,), or None for 1.

    Returns:
        The new model, metadata included as they were.

    Raises:
        BundleError: the graph does not name these outputs.
    """
    number = next(n for n in range(1000) if f"before.{n}.logits".encode() not in model)
    before = f"before.{number}.logits"
    names = {name: f"adapted.{number}.{name}" for name in ("bias", "weight", "scale")}
    graph = next(model[payload:end] for field, _, payload, end in message_fields(model) if field == _GRAPH)
    pieces, renamed = [], 0
    for field, start, payload, end in message_fields(graph):
        inner, piece = graph[payload:end], graph[start:end]
        if field == _NODE:
            node, found = _renamed(inner, (1, 2), "logits", before)
            renamed += found
            piece = message_piece(_NODE, node) if found else piece
        elif field == _VALUE_INFO:
            value, found = _renamed(inner, (1,), "logits", before)
            piece = message_piece(_VALUE_INFO, value) if found else piece
        pieces.append(piece)
    if not renamed:
        raise BundleError("no node of the graph computes 'logits', so it cannot be adapted; export it again")
    addition = names["bias"]
    if weight is not None:
        addition = f"adapted.{number}.shift"
        pieces.append(message_piece(_NODE, _node("Gemm", ("embedding", names["weight"], names["bias"]), addition)))
        pieces.append(message_piece(_TENSOR, _tensor(names["weight"], weight)))
    summand = before
    if scale is not None:
        summand = f"adapted.{number}.scaled"
        pieces.append(message_piece(_NODE, _node("Mul", (before, names["scale"]), summand)))
        pieces.append(message_piece(_TENSOR, _tensor(names["scale"], scale)))
    pieces.append(message_piece(_NODE, _node("Add", (summand, addition), "logits")))
    pieces.append(message_piece(_TENSOR, _tensor(names["bias"], bias)))
    return b"".join(
        message_piece(_GRAPH, b"".join(pieces)) if field == _GRAPH else model[start:end]
        for field, start, _, end in message_fields(model)
    )


def _renamed(message: bytes, places: tuple[int, ...], old: str, new: str) -> tuple[bytes, int]:
    """The message with the names in some of its fields changed, and how many were."""
    pieces, count = [], 0
    for field, start, payload, end in message_fields(message):
        if field in places and message[payload:end] == old.encode():
            pieces.append(message_piece(field, new.encode()))
            count += 1
        else:
            pieces.append(message[start:end])
    return b"".join(pieces), count


def _node(operator: str, inputs: tuple[str, ...], output: str) -> bytes:
    names = b"".join(message_piece(1, name.encode()) for name in inputs)
    return names + message_piece(2, output.encode()) + message_piece(4, operator.encode())


def _tensor(name: str, values: NDArray[np.float32]) -> bytes:
    dims = np.array(values.shape, np.int64)
    packed = b"".join(_varint(int(side)) for side in dims)
    kind = bytes([2 << 3]) + _varint(_FLOAT)
    raw = np.ascontiguousarray(values, "<f4").tobytes()
    return message_piece(1, packed) + kind + message_piece(8, name.encode()) + message_piece(9, raw)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
