"""A system in a file of one's own, through every verb that takes it, as separate processes would."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flat_file import flat_file
from mien.bundle import read_bundle
from mien.cli import main
from mien.datasets import DATASETS, DataSet, FaceSet, drawn_faces

SYSTEM = flat_file(16, recipe='{"epochs": 1, "compile": False, "precision": "fp32"}')


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    return int(stop.value.code or 0)


def few(count: int = 70, seed: int = 0) -> FaceSet:
    return drawn_faces(count, seed=seed)


def forget() -> None:
    """As another process would begin."""
    from mien.systems import brought

    brought._cards.clear()
    brought._sources.clear()


@pytest.fixture(autouse=True)
def few_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from mien.systems import brought

    monkeypatch.setitem(DATASETS._entries, "drawn", DataSet("drawn", "few", make=few))
    monkeypatch.setattr(brought, "_cards", {})
    monkeypatch.setattr(brought, "_sources", {})
    monkeypatch.chdir(tmp_path)
    Path("flat.py").write_text(SYSTEM)


@pytest.fixture
def folder(few_faces: None, capsys: pytest.CaptureFixture[str]) -> str:
    pytest.importorskip("torch")
    assert run("train", "flat.py", "--data", "drawn", "--device", "cpu", "--json") == 0
    forget()
    return str(json.loads(capsys.readouterr().out)["folder"])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_its_results_say_where_it_comes_from_and_hold(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    from mien.training import Run

    source = {"sha256": Run.open(folder).source["sha256"]}
    assert run("evaluate", folder, "--system", "flat.py", "--split", "test", "--json") == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["source"] == source
    assert run("export", folder, "--system", "flat.py", "--onnx", "flat.onnx", "--data", "none") == 0
    assert read_bundle("flat.onnx").card.notes["training"]["source"] == source
    assert str(Path.cwd()) not in json.dumps(read_bundle("flat.onnx").card.notes), "nobody learns where it lay"
    forget()
    capsys.readouterr()
    assert run("evaluate", "flat.onnx", "--json") == 0
    assert json.loads(capsys.readouterr().out)["source"] == source
    Path("flat.py").unlink()  # recomputing needs no code
    assert run("results", "verify", "my-results") == 0
    assert "2 results recomputed, nothing to complain about" in capsys.readouterr().out


def test_its_run_is_explained_by_its_file(folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    Image.fromarray(np.zeros((40, 40), np.uint8)).save("dark.png")
    explain = ["explain", "dark.png", "--run", folder, "--method", "gradcam"]
    assert run(*explain) == 2
    assert "name it if you trust it: --system flat.py" in said(capsys)
    assert run(*explain, "--system", "flat.py") == 2
    assert "there is no face on these photographs" in said(capsys), "the run was opened"
    assert run("explain", "dark.png", "--system", "flat.py") == 2
    assert "give the run with --run" in said(capsys)


def test_its_run_teaches_by_its_file(
    folder: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    distill = ["distill", "--teacher", folder, "--data", "drawn", "--device", "cpu", "--out", "students"]
    small = ["--set", "epochs=1", "--set", "compile=false", "--set", "system.widths=[4, 8]"]
    small += ["--set", "system.depths=[1, 1]"]

    def unread(count: int = 70, seed: int = 0) -> None:
        raise AssertionError("faces were loaded")

    with monkeypatch.context() as patched:
        patched.setitem(DATASETS._entries, "drawn", DataSet("drawn", "none", make=unread))
        assert run(*distill, "--student", "compact", *small) == 2
        assert "name it if you trust it: --system flat.py" in said(capsys)
        assert run(*distill, "--student", "compact", "--system", "compact") == 2
        assert "--system flat.py" in said(capsys)
        Path("flat.py").write_text(SYSTEM + "# changed")
        assert run(*distill, "--student", "compact", *small, "--system", "flat.py") == 2
        assert "goes by that id here; give the one it was trained with" in said(capsys)
        Path("flat.py").write_text(SYSTEM)
        Path("other.py").write_text(SYSTEM.replace('"flat"', '"other"'))
        assert run(*distill, "--student", "flat.py", "--system", "other.py") == 2
        assert "--system is the Python file that a teacher was trained with, and none was with other.py" in said(capsys)
        forget()
    assert run(*distill, "--student", "compact", *small, "--system", "flat.py", "--json") == 0
    assert json.loads(capsys.readouterr().out)["teacher"][0]["name"] == Path(folder).name
    forget()
    assert run(*distill, "--student", "flat.py", "--json") == 0, "a student's file is a teacher's, too"


def test_one_of_the_files_systems_is_checked(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run("systems", "check", "flat.py:flot") == 2
    assert "flat.py holds no system 'flot'; did you mean 'flat'?" in said(capsys)
    assert run("systems", "check", "flat.py:flat") == 0
    assert "flat  holds  parameters" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("nn.Linear(channels", "nn.Linea(channels"),
        ("channels * 256", "channels * 255"),
    ],
)
def test_a_network_that_cannot_be_built_is_told_with_its_line_and_leaves_nothing(
    wrong: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch")
    Path("flat.py").write_text(SYSTEM.replace(wrong, told))
    assert run("train", "flat.py", "--data", "drawn", "--device", "cpu") == 2
    words = said(capsys)
    if "Linea(" in told:
        assert "flat cannot be built: AttributeError: module 'torch.nn' has no attribute 'Linea'" in words
        assert "(flat.py, line 9)" in words
    else:
        assert "flat takes images of no side that was tried, 16 px among them" in words
    assert not Path("runs").exists()


@pytest.mark.parametrize("system", ["'flat.py'", "'flat.py:flat'", "pathlib.Path('flat.py')"])
def test_without_torch_a_file_is_told_which_extra_is_missing(system: str) -> None:
    program = f"import pathlib, sys; sys.modules['torch'] = None\nimport mien\nmien.train({system}, None, None)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert "training flat.py" in done.stderr
    assert "needs packages that are not installed: pip install 'mien[train]'" in done.stderr
