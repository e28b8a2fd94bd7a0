from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mien.bundle import read_bundle
from mien.cli import main
from mien.datasets import DATASETS, DataSet, drawn_faces

TINY = ["--data", "drawn", "--set", "epochs=1", "--set", "compile=false", "--set", "system.widths=[4, 8]"]
TINY += ["--set", "system.depths=[1, 1]", "--device", "cpu", "--json"]


def run(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*map(str, arguments)])
    return int(stop.value.code or 0)


@pytest.fixture(autouse=True)
def few_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(DATASETS._entries, "drawn", DataSet("drawn", "few", make=lambda: drawn_faces(70)))


def test_train_goes_on_and_distils(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    assert run("train", "compact", *TINY, "--out", tmp_path) == 0
    first = json.loads(capsys.readouterr().out)
    assert run("train", "compact", *TINY, "--out", tmp_path) == 2
    assert "add --resume" in capsys.readouterr().err
    assert run("train", "compact", *TINY, "--out", tmp_path, "--init", first["folder"]) == 0
    second = json.loads(capsys.readouterr().out)
    assert second["start"]["weights_sha256"] == first["weights_sha256"]
    teachers = ["--teacher", first["folder"], "--teacher", second["folder"]]
    started = ["--init", first["folder"], "--alpha", "0.5"]
    assert run("distill", *teachers, "--student", "compact", *TINY, "--out", tmp_path, *started) == 0
    student = json.loads(capsys.readouterr().out)
    assert student["start"]["weights_sha256"] == first["weights_sha256"]
    assert [each["weights_sha256"] for each in student["teacher"]] == [r["weights_sha256"] for r in (first, second)]
    bundle = tmp_path / "student.onnx"
    assert run("export", student["folder"], "--onnx", bundle, "--data", "none") == 0
    training = read_bundle(bundle).card.notes["training"]
    assert (training["start"], training["teacher"]) == (student["start"], student["teacher"])
    capsys.readouterr()
    assert run("distill", "--teacher", tmp_path, "--student", "compact", *TINY, "--out", tmp_path) == 2
    assert "is no run folder" in capsys.readouterr().err


def test_a_training_in_another_precision_than_its_recipe_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    from mien.training import precision

    told = [argument for argument in TINY if argument != "--json"]
    for has, says in ((False, True), (True, False)):
        monkeypatch.setattr(precision, "has_bf16", lambda has=has: has)
        assert run("train", "compact", *told, "--out", tmp_path / str(has)) == 0
        assert ("computed in fp32: the processor has no fast bf16" in capsys.readouterr().out) == says


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "vgnet"], "did you mean 'vggnet'?"),
        (["train", "compact", "--data", "fer2031"], "did you mean 'fer2013'?"),
        (["train", "compact", "--fold", "x"], "--fold is all or the number of a fold, not 'x'"),
        (["distill", "--teacher", "runs/x", "--student", "compct"], "did you mean 'compact'?"),
    ],
)
def test_misspelt_names_are_told_before_torch_is_loaded(arguments: list[str], message: str) -> None:
    program = f"import sys; sys.modules['torch'] = None\nfrom mien.cli import main\nmain({arguments!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
