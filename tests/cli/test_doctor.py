from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from mien.bench import doctor
from mien.cli import app, main

ROOT = Path(__file__).parents[2]
GOOD = {"ok": True, "sha256": "0" * 64, "message": "standin, 0.1 MB"}


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*arguments])
    return int(stop.value.code or 0)


def test_json_says_everything(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_default_bundle", lambda: GOOD)
    monkeypatch.setattr(doctor, "_inference", lambda: {"ok": True, "message": "works"})
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {
        "mien",
        "python",
        "packages",
        "extras",
        "verbs",
        "cpu",
        "cache",
        "models",
        "fetched",
        "inference",
        "ok",
    } <= set(found)
    assert found["packages"]["numpy"]
    assert found["verbs"]["predict"] == []
    assert found["cpu"]["threads"] >= 1
    assert found["models"]["centerface"]["ok"]


def test_a_missing_package_is_named_with_the_verbs_that_need_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = doctor._version
    monkeypatch.setattr(doctor, "_default_bundle", lambda: GOOD)
    monkeypatch.setattr(doctor, "_inference", lambda: {"ok": True, "message": "works"})
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
    needed = {verb.split()[0]: extras for verb, extras in doctor.VERB_EXTRAS.items()}
    there = {str(item.name) for item in (*app.registered_commands, *app.registered_groups)}
    assert {extra for verb in there & set(needed) for extra in needed[verb]} <= set(declared)


def test_only_verbs_that_exist_are_listed() -> None:
    found = doctor.diagnose(["predict", "data", "dance"], run=False)
    assert list(found["verbs"]) == [
        "predict", "predict --out faces.parquet", "predict --engine ray", "data import", "data audit", "dance",
    ]  # fmt: skip
    assert found["inference"]["message"] == "not tried"


def test_an_engine_that_does_not_run_here_is_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("illegal instruction\nand more")

    monkeypatch.setattr(doctor, "_default_bundle", lambda: GOOD)
    monkeypatch.setattr("mien.recognition.Recognizer", fail)
    monkeypatch.setenv("COLUMNS", "200")
    assert run("doctor") == 1
    assert "recognition fails here (illegal instruction); reinstall mien" in " ".join(capsys.readouterr().out.split())


def test_recognition_is_tried() -> None:
    if not (bundle := doctor._default_bundle())["ok"]:
        pytest.skip(bundle["message"])
    found = doctor.diagnose()
    assert found["ok"]
    assert re.fullmatch(r"works: loaded in .* s, one face in .* ms", found["inference"]["message"])


def test_fetched_models_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import hashlib

    from mien.store.fetching import fetch
    from mien.store.manifest import Entry

    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(doctor, "_default_bundle", lambda: GOOD)
    monkeypatch.setattr(doctor, "_inference", lambda: {"ok": True, "message": "works"})
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "m").write_bytes(b"model")
    urls = ((tmp_path / "m").as_uri(),)
    fetch(Entry("mine", "detector", urls, hashlib.sha256(b"model").hexdigest(), 5))
    assert run("doctor") == 0
    assert "ok: fetched detector" in " ".join(capsys.readouterr().out.split())
    (tmp_path / "cache" / "models" / "mine.onnx").write_bytes(b"other")
    assert run("doctor") == 0
    assert "and run mien fetch mine" in " ".join(capsys.readouterr().out.split())


def test_the_pinned_detector_is_the_one_that_the_build_makes() -> None:
    assert f'MODEL_SHA256 = "{doctor.DETECTOR_SHA256}"' in (ROOT / "hatch_build.py").read_text()


def test_the_cache_may_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path / "not" / "yet"))
    cache = doctor.diagnose(run=False)["cache"]
    assert cache == {"path": str(tmp_path / "not" / "yet"), "exists": False, "writable": True, "bytes": 0}
    assert not (tmp_path / "not").exists()
