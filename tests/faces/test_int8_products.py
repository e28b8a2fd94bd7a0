"""Does onnxruntime compute int8 exactly here, and as fast as it can? See docs/decisions/0013-saturation.md."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mien.faces import inference
from mien.faces.inference import PROBE, fast_products_are_exact, open_session

ASK = """
import sys
sys.path[:0] = sys.argv[1:]
import numpy as np
from mien.faces.inference import PROBE, fast_products_are_exact, open_session
row, faces = np.full((1, 64), 254, np.uint8), np.full((1, 16, 3, 3), 254, np.uint8)
product, convolved = open_session(PROBE).run(["product", "convolved"], {"row": row, "faces": faces})
print(fast_products_are_exact(), product.min(), convolved.min())
"""


def probe() -> bytes:
    """What is shipped as `PROBE`."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "matrix": np.full((64, 16), 127, np.int8),
        "kernel": np.full((16, 16, 3, 3), 127, np.int8),
        "one": np.float32(1),
        "zero": np.uint8(0),
        "signed_zero": np.int8(0),
        "share": np.float32(1 / (16 * 9 * 127 * 2)),
    }
    convolution = ["faces", "one", "zero", "kernel", "share", "signed_zero", "one", "zero"]
    graph = helper.make_graph(
        [
            helper.make_node("MatMulInteger", ["row", "matrix"], ["product"]),
            helper.make_node("QLinearConv", convolution, ["convolved"]),
        ],
        "int8_products",
        [
            helper.make_tensor_value_info("row", TensorProto.UINT8, [1, 64]),
            helper.make_tensor_value_info("faces", TensorProto.UINT8, [1, 16, 3, 3]),
        ],
        [
            helper.make_tensor_value_info("product", TensorProto.INT32, [1, 16]),
            helper.make_tensor_value_info("convolved", TensorProto.UINT8, [1, 16, 1, 1]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="mien")
    written: bytes = model.SerializeToString()
    return written


def test_the_probe_is_what_this_file_builds() -> None:
    onnx = pytest.importorskip("onnx")
    assert onnx.load_from_string(PROBE.read_bytes()) == onnx.load_from_string(probe())


@pytest.mark.parametrize("exact", [True, False])
def test_the_exact_way_is_taken_where_the_fast_one_is_not(exact: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(inference, "fast_products_are_exact", lambda: exact)
    monkeypatch.setattr(inference, "_session", lambda source, threads, *, precise: asked.append(precise))
    open_session(b"model")
    assert asked == [not exact]


def test_products_are_exact_on_this_processor() -> None:
    """Through the session that callers get, whichever way it takes."""
    pytest.importorskip("onnx")
    session = open_session(probe())
    row, faces = np.full((1, 64), 254, np.uint8), np.full((1, 16, 3, 3), 254, np.uint8)
    product, convolved = session.run(["product", "convolved"], {"row": row, "faces": faces})
    assert (product == 64 * 254 * 127).all()
    assert (convolved == 127).all()


def test_vnni_is_exact_and_fast() -> None:
    """Linux says which instructions there are; where it does not, nothing is known beforehand."""
    flags = Path("/proc/cpuinfo")
    if not flags.is_file() or "avx2" not in flags.read_text():
        pytest.skip("no x86 processor that tells its instructions")
    assert fast_products_are_exact() == ("vnni" in flags.read_text())


@pytest.mark.full
def test_a_processor_without_vnni() -> None:
    """Haswell has AVX2 and no VNNI; QEMU computes as it does."""
    emulator = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if emulator is None:
        pytest.skip("needs qemu-user")
    source = Path(inference.__file__).parents[2]
    command = [emulator, "-cpu", "Haswell", os.path.realpath(sys.executable), "-c", ASK, str(source)]
    packages = [path for path in sys.path if path.endswith("site-packages")]
    found = subprocess.run([*command, *packages], capture_output=True, text=True, timeout=300, check=True)
    assert found.stdout.split() == ["False", str(64 * 254 * 127), "127"], (
        "cut off, and therefore computed the other way"
    )
