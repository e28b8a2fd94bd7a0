from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mien.bench import doctor
from mien.cli import main

ROOT = Path(__file__).parents[2]
GOOD = {"ok": True, "sha256": "0" * 64, "message": "standin, 0.1 MB"}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    return int(stop.value.code or 0)


def test_json_says_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_default_bundle", lambda: GOOD)
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {"mien", "python", "packages", "extras", "verbs", "cpu", "cache", "models", "ok"} <= set(found)
    assert found["packages"]["numpy"]
    assert found["verbs"]["predict"] == []
    assert found["cpu"]["threads"] >= 1
    assert found["models"]["centerface"]["ok"]


def test_a_missing_package_is_named_with_the_verbs_that_need_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_default_bundle", lambda: GOOD)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "torch" else version(name))
    monkeypatch.setattr(doctor, "_extras", lambda: {"train": ["timm", "torch"], "audit": ["cleanlab", "torch"]})
    found = doctor.diagnose()
    assert found["extras"]["train"] == ["torch"]
    assert found["verbs"]["train"] == ["train"]
    assert found["verbs"]["predict"] == []
    assert found["ok"]
    monkeypatch.setenv("COLUMNS", "200")
    assert run("doctor") == 0
    assert "pip install 'mien[train]'" in capsys.readouterr().out


def test_a_broken_model_is_status_1(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_default_bundle", lambda: {"ok": False, "sha256": None, "message": "it lacks"})
    assert run("doctor") == 1
    assert "broken: it lacks" in capsys.readouterr().out


def test_extras_within_extras_are_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    requirements = [
        "numpy>=1.26",
        "torch>=2.11; extra == 'train'",
        'cleanlab>=2.7; extra == "audit"',
        "mien[train]; extra == 'audit'",
        "mien[audit,all]; extra == 'all'",
    ]
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: requirements)
    assert doctor._extras() == {
        "train": ["torch"],
        "audit": ["cleanlab", "torch"],
        "all": ["cleanlab", "torch"],
    }


def test_every_extra_that_a_verb_needs_exists() -> None:
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert {extra for needed in doctor.VERB_EXTRAS.values() for extra in needed} <= set(declared)


def test_the_pinned_detector_is_the_one_that_the_build_makes() -> None:
    assert f'MODEL_SHA256 = "{doctor.DETECTOR_SHA256}"' in (ROOT / "hatch_build.py").read_text()


def test_the_cache_may_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "not" / "yet"))
    assert doctor.diagnose()["cache"] == {"path": str(tmp_path / "not" / "yet"), "exists": False, "writable": True}
    assert not (tmp_path / "not").exists()
