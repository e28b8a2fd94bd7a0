"""One way to open an ONNX model: on the CPU, with the threads this process really has, silent."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import InputError
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    import onnxruntime


def open_session(model: str | Path | bytes, *, threads: int | None = None) -> onnxruntime.InferenceSession:
    """Open a model for inference on the CPU.

    Args:
        model: path of an ONNX file, or its bytes.
        threads: threads within an operator; by default as many as `cpu_count` says.

    Raises:
        InputError: the file is missing, or no model that onnxruntime can run.
    """
    if threads is not None and threads < 1:
        raise InputError(f"threads is {threads}; give 1 or more")
    source = model if isinstance(model, bytes) else str(model)
    if isinstance(source, str) and not Path(source).is_file():
        raise InputError(f"{source} does not exist; give the path of an ONNX file")
    try:
        return _session(source, threads)
    except Exception as error:  # onnxruntime raises classes of its own without a common, importable base
        what = "the model" if isinstance(model, bytes) else str(model)
        raise InputError(f"{what} cannot be run ({str(error).strip().splitlines()[0][:160]}); get it again") from None


def _session(source: str | bytes, threads: int | None) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpu_count()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it would log is in the error that it raises
    # Idle threads sleep: a detector's pool that spins takes the cores from the classifier that runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Without VNNI, onnxruntime's fast int8 products add two of them in 16 bits and cut off what does not fit: an eighth
    # of the faces was decided otherwise by it (docs/decisions/0013-saturation.md). Elsewhere this changes nothing.
    options.add_session_config_entry("session.x64quantprecision", "1")
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
