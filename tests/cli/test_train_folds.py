"""``mien train --protocol --fold``: one run per fold, each named after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mien.cli import main
from mien.datasets import FaceSet
from mien.evaluation import Part

pytest.importorskip("torch")

TINY = [
    "epochs=1", "batch_size=84", "compile=false", "precision=fp32", "system.widths=[4, 8]", "system.depths=[1, 1]",
]  # fmt: skip


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["train", "compact", "--data", "drawn", "--device", "cpu", *arguments])
    return int(stop.value.code or 0)


def test_every_fold_gets_a_run_of_its_own(
    faces: FaceSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import numpy as np

    import mien.evaluation

    def two(face_set: FaceSet, protocol: str | None, fold: int | None) -> list[Part]:
        halves = np.arange(len(faces.train)) % 2
        found = [Part("x", k, faces.train.subset(halves != k), faces.selection) for k in (0, 1)]
        return found if fold is None else [found[fold]]

    monkeypatch.setattr(mien.evaluation, "parts", two)
    settings: list[Any] = [word for setting in TINY for word in ("--set", setting)]
    out = ["--out", str(tmp_path), "--json", *settings]
    assert run("--fold", "1", *out) == 0
    only = json.loads(capsys.readouterr().out)
    assert only["folder"].endswith("-s0-fold1")
    assert run("--fold", "all", "--resume", *out) == 0
    both = json.loads(capsys.readouterr().out)
    assert [Path(each["folder"]).name[-5:] for each in both] == ["fold0", "fold1"]
    assert both[1]["weights_sha256"] == only["weights_sha256"]  # the finished run was not trained again
    assert both[0]["train_rows"] != both[1]["train_rows"]


def test_folds_that_are_none(tmp_path: Path) -> None:
    assert run("--fold", "first", "--out", str(tmp_path)) == 2
    assert run("--fold", "0", "--out", str(tmp_path)) == 2  # own data has no folds
    assert run("--protocol", "fer2013/folds@1", "--out", str(tmp_path)) == 2  # drawn faces are not FER2013
    assert list(tmp_path.iterdir()) == []
