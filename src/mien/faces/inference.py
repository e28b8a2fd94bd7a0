"""One way to open an ONNX model: on the CPU, with the threads this process really has, silent."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mien.errors import InputError
from mien.store.cpu import cpu_count

if TYPE_CHECKING:
    import onnxruntime

PROBE = Path(__file__).with_name("int8_products.onnx")
"""A product of matrices and a convolution whose sums need more than 16 bits (`tests/faces/test_int8_products.py`)."""


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
    what = "the model" if isinstance(model, bytes) else str(model)
    exact = fast_products_are_exact()
    try:
        return _session(source, threads, precise=not exact)
    except Exception as error:  # onnxruntime raises classes of its own without a common, importable base
        if not exact and _opens_inexactly(source):
            raise InputError(
                f"{what} cannot be computed exactly on this processor, which lacks VNNI: layers share their "
                "int8 weights; export it anew (`mien export` gives each layer its own), or take it as fp32"
            ) from None
        raise InputError(f"{what} cannot be run ({str(error).strip().splitlines()[0][:160]}); get it again") from None


@functools.cache
def fast_products_are_exact() -> bool:
    """Whether onnxruntime's fast products of unsigned and signed bytes are exact on this processor.

    Without VNNI two products are added in 16 bits and what does not fit is cut off: an eighth of the faces was decided
    otherwise by that. The exact way can take five times as long also where the fast one is exact, so each process
    tries which it is, in a few milliseconds (docs/decisions/0013-saturation.md).
    """
    if not PROBE.is_file():
        raise InputError(f"{PROBE} is missing; install mien again")
    session = _session(str(PROBE), 1, precise=False)
    row, faces = np.full((1, 64), 254, np.uint8), np.full((1, 16, 3, 3), 254, np.uint8)
    product, convolved = session.run(["product", "convolved"], {"row": row, "faces": faces})
    # 64 products of 254 · 127; the convolution's sum is shared out so that 127 is left.
    return bool((product == 64 * 254 * 127).all() and (convolved == 127).all())


def _opens_inexactly(source: str | bytes) -> bool:
    try:
        _session(source, 1, precise=False)
    except Exception:
        return False
    return True


def _session(source: str | bytes, threads: int | None, *, precise: bool) -> onnxruntime.InferenceSession:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cpu_count()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what it would log is in the error that it raises
    # Idle threads sleep: a detector's pool that spins takes the cores from the classifier that runs next.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.x64quantprecision", str(int(precise)))
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
