"""One smoke test per road: recognise, and research."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from document_blocks import ROOT, no_default_model

ASTRONAUT = ROOT / "examples" / "astronaut.jpg"
FACE = (165, 60, 290, 215)  # x1 y1 x2 y2, drawn by hand around the face on that portrait


def test_recognise_a_photograph_from_the_command_line(tmp_path: Path) -> None:
    if (reason := no_default_model()) is not None:
        pytest.skip(reason)
    command = [sys.executable, "-m", "mien", "predict", str(ASTRONAUT), "--json", "--draw", str(tmp_path / "out")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [photograph] = json.loads(done.stdout)
    assert (photograph["status"], photograph["width"], photograph["height"]) == ("ok", 512, 512)
    [face] = photograph["faces"]
    assert _overlap(face["box"], FACE) > 0.4
    assert face["label"] == max(face["probabilities"], key=face["probabilities"].get)
    assert abs(sum(face["probabilities"].values()) - 1) < 1e-3
    assert (tmp_path / "out" / "astronaut.faces.png").stat().st_size > 10_000


def test_research_from_data_to_a_recogniser(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import mien
    from mien import systems
    from mien.errors import SealedSplitError
    from mien.results import verify

    data = mien.load_dataset("drawn", count=350, seed=5)
    recipe = mien.Recipe.of(systems.card("compact")).set(
        ["epochs=2", "batch_size=64", "compile=false", "system.widths=[8, 16, 32]", "system.depths=[1, 1, 1]"]
    )
    run = mien.train("compact", data.train, data.selection, recipe=recipe, out=tmp_path / "runs")
    assert len(run.log) == 2

    with pytest.raises(SealedSplitError):
        _ = data.test.images
    with pytest.raises(SealedSplitError):
        mien.train("compact", data.train, data.test, recipe=recipe, seed=1, out=tmp_path / "runs")

    results = tmp_path / "results"
    result = mien.evaluate(run, data.test, views="flip", results=results)
    result.save(results)
    verified = verify(results, systems=systems.names())
    assert verified.holds, verified.findings

    bundle = run.export(tmp_path / "small.onnx", data=data)
    recognizer = mien.Recognizer(bundle, views="flip")
    faces = recognizer.classify(data.selection.images)
    scores = result.arrays["selection_scores"]
    np.testing.assert_array_equal(faces.ids, scores.argmax(axis=1))
    assert len(recognizer.predict(ASTRONAUT)) == 1


def _overlap(a: list[float], b: tuple[int, ...]) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    common = max(0.0, width) * max(0.0, height)
    return common / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common)
