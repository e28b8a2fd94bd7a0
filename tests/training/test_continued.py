"""A run that goes on with another source says so: its number is not that of one commit."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

import mien
from mien.training import Recipe
from mien.training.run import Run


class EnoughError(Exception):
    """What ends a training after its first epoch here."""


def test_a_run_that_goes_on_with_another_commit_is_of_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = mien.load_dataset("drawn", count=140, seed=0)
    recipe = Recipe.of(mien.systems.card("compact"), "mien").set(
        ["epochs=3", "compile=false", "precision=fp32", "system.widths=[4, 8]", "system.depths=[1, 1]"]
    )

    def train(commit: str, epochs: int, *, resume: bool) -> dict[str, object]:
        monkeypatch.setattr("mien.training.run.source_state", lambda: (commit, False))

        def enough(now: mien.training.Progress) -> None:
            if now.entry and now.entry["epoch"] + 1 == epochs < 3:
                raise EnoughError

        given = {"recipe": recipe, "out": tmp_path, "device": "cpu", "on_progress": enough, "resume": resume}
        with contextlib.suppress(EnoughError):
            mien.train("compact", data.train, data.selection, **given)
        (run,) = tmp_path.iterdir()
        said: dict[str, object] = json.loads((run / "run.json").read_text())
        return said

    assert train("aaa", 1, resume=False)["dirty"] is False
    assert "continued_with" not in train("aaa", 2, resume=True)
    said = train("bbb", 3, resume=True)
    assert (said["status"], said["commit"], said["dirty"], said["continued_with"]) == ("finished", "aaa", True, ["bbb"])
    said = train("ccc", 3, resume=True)
    assert said["continued_with"] == ["bbb"], "a finished run goes on with nothing"
    (run,) = tmp_path.iterdir()
    assert Run.open(run).info["dirty"] is True
