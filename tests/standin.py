"""A stand-in bundle whose answers are known: the expression is the strip of the face that is bright.

The face is cut into eight vertical strips; the mean brightness of strip k, after normalisation, times 4 is logit k
(the eighth strip counts for nothing), and the eight means are the embedding.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mien.bundle import BundleCard, InputSpec, write_bundle
from mien.labels import FER2013

SIZE, STRIPS, GAIN = 48, 8, 4.0
SPEC = InputSpec(SIZE, 1, "grey", (0.5,), (0.25,))
TEMPERATURES = {"one": 1.25, "flip": 1.5}
THRESHOLD = 0.5


def graph(*, embedding: bool = True, channels: int = 1, batch: str | int = "N", classes: int = 7) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    weights = np.zeros((STRIPS * channels, classes), np.float32)
    weights[: min(STRIPS, classes), :][np.diag_indices(min(STRIPS, classes))] = GAIN
    nodes = [
        helper.make_node("AveragePool", ["input"], ["pooled"], kernel_shape=[SIZE, SIZE // STRIPS], strides=[SIZE, 6]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])]
    if embedding:
        outputs.append(helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, STRIPS * channels]))
    inputs = [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, channels, SIZE, SIZE])]
    made = helper.make_graph(nodes, "standin", inputs, outputs, [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def card(**changes: object) -> BundleCard:
    values: dict[str, object] = {
        "name": "standin",
        "system": "strips",
        "label_set": FER2013.name,
        "labels": FER2013.labels,
        "input": SPEC,
        "temperatures": TEMPERATURES,
        "threshold": THRESHOLD,
        "opset": 17,
    }
    return BundleCard(**{**values, **changes})  # type: ignore[arg-type]


def write(path: Path, model: bytes | None = None, **changes: object) -> Path:
    write_bundle(path, graph() if model is None else model, card(**changes))
    return path


def face(label: str, side: int = SIZE) -> np.ndarray:
    """uint8 (side, side): what the stand-in takes for ``label``."""
    columns = np.arange(side) * STRIPS // side
    return np.repeat(np.where(columns == FER2013.id(label), 255, 0).astype(np.uint8)[None], side, axis=0)


def photograph(labels: list[str], side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (H, W, 3) RGB with one face per label, side by side on grey, and the boxes (N, 4)."""
    image = np.full((side + 80, 40 + len(labels) * (side + 40), 3), 127, np.uint8)
    boxes = []
    for column, label in enumerate(labels):
        x = 40 + column * (side + 40)
        image[40 : 40 + side, x : x + side] = face(label, side)[..., None]
        boxes.append([x, 40, x + side, 40 + side])
    return image, np.array(boxes, np.float32).reshape(-1, 4)


def expected(crops: np.ndarray, view: str = "one") -> np.ndarray:
    """float64 (N, 7): the stand-in's calibrated probabilities for uint8 (N, 48, 48), computed without it."""

    def logits(x: np.ndarray) -> np.ndarray:
        strips = (x / 255.0 - 0.5) / 0.25
        return GAIN * strips.reshape(len(x), SIZE, STRIPS, SIZE // STRIPS).mean((1, 3))[:, :7]

    scores = logits(crops) if view == "one" else (logits(crops) + logits(crops[:, :, ::-1])) / 2
    scores = np.exp(scores / TEMPERATURES[view])
    return scores / scores.sum(1, keepdims=True)
