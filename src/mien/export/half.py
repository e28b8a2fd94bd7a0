"""Half precision: an ONNX file of half the size, for processors that compute with 16-bit floats.

Input and outputs stay float32, so whoever uses the bundle sees no difference. On a CPU it saves space and
costs a little time: onnxruntime has no 16-bit kernels for convolutions there and computes them in float32.
"""

from __future__ import annotations

import logging
import warnings

from mien.errors import MissingExtraError, RunError

LARGEST = 65504.0
"""The largest float16. A weight beyond it would become infinite."""


def to_fp16(model: bytes) -> bytes:
    """Weights and arithmetic of an ONNX model in float16, its input and outputs in float32.

    Args:
        model: an fp32 ONNX file.

    Raises:
        RunError: a weight does not fit into half precision.
    """
    try:
        import onnx
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel
    except ModuleNotFoundError:
        raise MissingExtraError("half precision", "train") from None
    import numpy as np
    from onnx import numpy_helper

    graph_model = onnx.load_from_string(model)
    for tensor in graph_model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            largest = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0.0))
            if not largest <= LARGEST:
                raise RunError(
                    f"{tensor.name} holds {largest:.3g}, beyond the {LARGEST:.0f} of half precision; export as fp32"
                )
    logger = logging.getLogger("onnxruntime.transformers.float16")
    level = logger.level
    with warnings.catch_warnings():
        # Weights below 6e-8 are rounded up to that, with a warning for each tensor: less than any rounding of the rest.
        warnings.simplefilter("ignore")
        try:
            logger.setLevel(logging.ERROR)
            half = convert_float_to_float16(graph_model, keep_io_types=True)
        finally:
            logger.setLevel(level)
    OnnxModel(half).topological_sort()  # the converter puts the casts of input and outputs last
    onnx.checker.check_model(half)
    return bytes(half.SerializeToString())
