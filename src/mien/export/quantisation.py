"""Static int8 quantisation by onnxruntime: weights per output channel, activations calibrated on Training faces."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError
from mien.export.simplification import simplify

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_FACES = 2048


def to_int8(model: bytes, inputs: NDArray[np.float32], *, method: str = "minmax") -> bytes:
    """Quantise an ONNX model (QDQ format: signed weights per channel, unsigned activations per tensor).

    Args:
        model: fp32 model with the input ``input``.
        inputs: float32 (n, channels, S, S), faces as the network sees them; `CALIBRATION_FACES` of them are plenty.
        method: how the range of an activation is found: ``minmax`` (averaged over batches, so that a single odd face
            does not widen it), ``percentile`` (99.99) or ``entropy``.

    Raises:
        InputError: an unknown method.
    """
    try:
        import onnx  # noqa: F401
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantFormat,
            QuantType,
            quantize_static,
        )
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ModuleNotFoundError:
        raise MissingExtraError("quantisation", "train") from None
    methods = {
        "minmax": CalibrationMethod.MinMax,
        "percentile": CalibrationMethod.Percentile,
        "entropy": CalibrationMethod.Entropy,
    }
    if method not in methods:
        raise InputError(f"no calibration method is called {method!r}; choose one of {', '.join(methods)}")

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches: Iterator[Any] = iter(np.array_split(inputs, max(1, len(inputs) // 128)))

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"input": batch}

    root = logging.getLogger()
    level = root.level
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain, prepared, quantised = (Path(folder) / name for name in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        plain.write_bytes(model)
        try:
            root.setLevel(logging.ERROR)  # onnxruntime logs advice to the root logger
            # Folds batch normalisation into convolutions, so that no rounding stands between the two.
            quant_pre_process(str(plain), str(prepared))
            prepared.write_bytes(simplify(prepared.read_bytes()))
            quantize_static(
                str(prepared),
                str(quantised),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[method],
                extra_options={"CalibPercentile": 99.99, "CalibMovingAverage": method == "minmax"},
            )
        finally:
            root.setLevel(level)
        return quantised.read_bytes()
