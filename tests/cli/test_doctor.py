from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
import tomllib
from pathlib import Path

import pytest

from mien.bench import doctor
from mien.cli import VERBS, main

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
    said = capsys.readouterr().out
    assert "broken: it lacks" in said
    (ready,) = (line for line in said.splitlines() if line.startswith("ready"))
    assert "predict" not in ready
    assert "fetch" in ready
    assert doctor.diagnose(["predict", "fetch", "serve"])["broken"][-1] == "serve"


def test_the_extras_are_those_of_the_project() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        found: set[str] = set()
        for requirement in declared[extra]:
            name, within = re.match(r"([\w-]+)(?:\[(.*)\])?", requirement).groups()
            found |= {p for inner in within.split(",") for p in packages(inner)} if name == "mien" else {name}
        return found

    assert doctor._extras() == {
        extra: sorted(packages(extra)) for extra in declared if extra not in ("test", "test-scale", "dev")
    }


def test_packages_decide_and_not_what_metadata_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """From a checkout without installation, and without torch: no verb that needs it is ready."""
    find = importlib.util.find_spec

    def no_metadata(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", no_metadata)
    monkeypatch.setattr("importlib.metadata.requires", no_metadata)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name in ("torch", "cv2") else find(name))
    found = doctor.diagnose(run=False)
    assert found["packages"]["torch"] is None
    assert found["packages"]["numpy"] == "?"
    assert found["verbs"]["train"] == ["train"]
    assert found["verbs"]["train local-learning-bow"] == ["classical"]
    assert found["verbs"]["search"] == ["search"]
    assert found["verbs"]["predict"] == []


def test_an_extra_that_nobody_knows_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_extras", dict)
    assert doctor.diagnose(run=False)["verbs"]["train"] == ["train"]


@pytest.mark.parametrize(
    ("arguments", "missing", "said"),
    [
        (
            ["live", "--no-browser"],
            "fastapi",
            "mien live needs packages that are not installed: pip install 'mien[serve]'",
        ),
        (["serve"], "fastapi", "mien serve needs packages that are not installed: pip install 'mien[serve]'"),
        (
            ["train", "turtle"],
            "torch",
            "training turtle needs packages that are not installed: pip install 'mien[classical]'",
        ),
        (
            ["train", "compact"],
            "torch",
            "training compact needs packages that are not installed: pip install 'mien[train]'",
        ),
        (["search"], "torch", "mien search needs packages that are not installed: pip install 'mien[search]'"),
    ],
)
def test_a_verb_names_itself_and_the_extra_that_holds_all_it_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], missing: str, said: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else find(name))
    assert run(*arguments) == 2
    assert capsys.readouterr().err.strip() == f"mien: {said}"


def test_every_extra_that_a_verb_needs_exists() -> None:
    declared = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), flags=re.MULTILINE)
    needed = {verb.split()[0]: extras for verb, extras in doctor.VERB_EXTRAS.items()}
    assert {extra for verb in set(VERBS) & set(needed) for extra in needed[verb]} <= set(declared)


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
    found = doctor.diagnose()
    assert found["ok"]
    assert found["broken"] == []
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
