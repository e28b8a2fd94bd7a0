"""Static int8 quantisation by onnxruntime: weights per output channel, activations calibrated on Training faces.

Around it three things that cost no time at inference and bring the logits closer to those of fp32: channels of equal
range (`mien.export.equalisation`), a last layer that is not rounded, and ranges that leave out what nobody reads
(`mien.export.ranges`), all a little narrower than the widest ever seen, chosen by the logits of calibration faces.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import math
import tempfile
import threading
import warnings
from collections.abc import Container, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, MissingExtraError, RunError
from mien.export.equalisation import RESTORED, equalise
from mien.export.ranges import fit_ranges
from mien.export.simplification import simplify
from mien.store import scratch_directory

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATION_FACES = 2048
EQUALISATION_FACES = 512

SMALL = 1 << 16
"""Weights of a dense layer that is not rounded: some microseconds in fp32."""
NARROWINGS = (1.0, 0.95, 0.9, 0.85, 0.8)
"""Of the activations' ranges that are tried: rare values beyond them are cut off, and all others get finer steps."""
JUDGED_FACES = 1024
"""Calibration faces whose logits say which narrowing is the best."""

_ONE_AT_A_TIME = threading.Lock()


def to_int8(
    model: bytes, inputs: NDArray[np.float32], *, method: str = "minmax", folder: str | Path | None = None
) -> bytes:
    """Quantise an ONNX model (QDQ format: signed weights per channel, unsigned activations per tensor).

    Args:
        model: fp32 model with the input ``input``.
        inputs: float32 (n, channels, S, S), faces as the network sees them; `CALIBRATION_FACES` of them are plenty.
        method: how the range of an activation is found: ``minmax`` (averaged over batches, so that a single odd face
            does not widen it), ``percentile`` (99.99) or ``entropy``.
        folder: where to put files that are needed meanwhile; what a kill leaves of them, the next call with that folder
            removes. By default the system's folder for temporary files.

    Raises:
        InputError: an unknown method.
        RunError: onnxruntime cannot simplify the network, or has no room for it.
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

    with scratch_directory(folder) as scratch:
        plain, prepared, quantised = (scratch / name for name in ("plain.onnx", "prepared.onnx", "int8.onnx"))
        plain.write_bytes(model)
        with _within(scratch) as complaints:
            # Folds batch normalisation into convolutions, so that no rounding stands between the two.
            # The exporter wrote the shapes; inferring them symbolically adds nothing and breaks off at some networks.
            quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
            if complaints:  # it goes on with a network that is not simplified
                raise RunError(
                    f"onnxruntime cannot simplify the network ({complaints[-1]}), so nothing was written; check the "
                    f"space on the disk of {scratch.parent}, or export it as fp32"
                )
            ready = equalise(simplify(prepared.read_bytes()), inputs[:EQUALISATION_FACES])
            prepared.write_bytes(ready)
            quantize_static(
                str(prepared),
                str(quantised),
                Reader(),
                quant_format=QuantFormat.QDQ,
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=methods[method],
                nodes_to_exclude=_exact(ready),
                extra_options={"CalibPercentile": 99.99, "CalibMovingAverage": method == "minmax"},
            )
        judged = inputs[:JUDGED_FACES]
        wanted = _logits(model, judged)
        tried = fit_ranges(quantised.read_bytes(), ready, inputs[:EQUALISATION_FACES], NARROWINGS)
        return min(tried, key=lambda one: float(np.square(_logits(one, judged) - wanted).mean()))


@contextlib.contextmanager
def _within(folder: Path) -> Iterator[list[str]]:
    """Let onnxruntime's quantisation be silent and make its own folders in ours, so that nothing stays after a kill.

    It asks for them by the module `tempfile` and takes no place for them. Setting that module's folder would send the
    files of every other thread there, too, so only onnxruntime's three modules that ask get another answer.

    Yields:
        The errors that it only logs, as they come.
    """
    names = ("quant_utils", "quantize", "shape_inference")  # the second is also a function of the package
    modules = [importlib.import_module(f"onnxruntime.quantization.{name}") for name in names]
    thread = threading.get_ident()

    def directory(*given: Any, **named: Any) -> tempfile.TemporaryDirectory[str]:
        if threading.get_ident() == thread:
            named.setdefault("dir", str(folder))
        return tempfile.TemporaryDirectory(*given, **named)

    def loud(record: logging.LogRecord) -> bool:  # it logs advice to the root logger
        return record.thread != thread or record.levelno >= logging.ERROR

    complaints: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        if record.thread == thread and record.levelno >= logging.ERROR:
            complaints.append(record.getMessage().strip().splitlines()[-1])  # of a traceback, what was raised
            return False
        return True

    root, simplifying = logging.getLogger(), logging.getLogger("onnxruntime.quantization.shape_inference")
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        root.addFilter(loud)
        simplifying.addFilter(note)
        for module in modules:
            setattr(module, "tempfile", SimpleNamespace(TemporaryDirectory=directory))  # noqa: B010
        try:
            yield complaints
        finally:
            for module in modules:
                setattr(module, "tempfile", tempfile)  # noqa: B010
            root.removeFilter(loud)
            simplifying.removeFilter(note)


def _exact(model: bytes) -> list[str]:
    """Nodes that stay in fp32: the last layer, the pool before it, small dense layers, and what computes coordinates.

    A vector per face costs no time, but rounding it moves every logit. A coordinate in -1…1 that is rounded to 256
    steps is off by a tenth of a pixel at 48 px, so what looks through a window looks past it.
    """
    import onnx

    graph = onnx.load_from_string(model).graph
    pools = ("ReduceMean", "GlobalAveragePool")
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    coordinates = {
        node.name
        for sampler in graph.node
        if sampler.op_type == "GridSample"
        for node in _before(graph, sampler.input[1], stop=_before(graph, sampler.input[0])).values()
    }
    kept = [
        node.name
        for node in graph.node
        if "logits" in node.output
        or node.op_type in pools
        or (node.op_type == "Gemm" and math.prod(shapes.get(node.input[1], [SMALL + 1])) <= SMALL)
        # Stacked matrices, as of several heads: onnxruntime has no kernel for them with a scale per channel.
        or (node.op_type == "MatMul" and any(len(shapes.get(name, [])) > 2 for name in node.input))
        or node.name.endswith(RESTORED)
        or node.name in coordinates
    ]
    return [name for name in kept if name]


def _before(graph: Any, tensor: str, stop: Container[str] = ()) -> dict[str, Any]:
    """The nodes that a tensor is computed by, up to those of ``stop``, by the name of their first output."""
    makers = {name: node for node in graph.node for name in node.output}
    found: dict[str, Any] = {}
    waiting = [tensor]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None and node.output[0] not in found and node.output[0] not in stop:
            found[node.output[0]] = node
            waiting.extend(node.input)
    return found


def _logits(model: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    from mien.faces.inference import open_session

    session = open_session(model)
    batches = np.array_split(inputs, -(-len(inputs) // 128))
    return np.concatenate([session.run(["logits"], {"input": batch})[0] for batch in batches])
