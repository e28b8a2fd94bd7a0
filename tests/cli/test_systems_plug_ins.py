"""``mien systems`` with plug-ins that cannot be used: each is one sentence, and takes nothing from the others."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SYSTEM = """
from torch import nn
from mien.systems.base import System
from mien.systems.card import Card, grey

class Flat(System):
    def __init__(self, *, classes, channels):
        super().__init__()
        BODY

    def forward(self, images):
        return self.body(images)

CARDS = {"NAME": Card("NAME", "Flat", Flat, grey(8), 455)}
"""
GOOD = "self.body = nn.Sequential(nn.Flatten(), nn.Linear(channels * 64, classes))"


def install(site: Path, package: str, name: str, body: str, before: str = "") -> None:
    """A package that offers a system, by what pip leaves behind."""
    (site / f"{package}_module").mkdir(parents=True)
    text = before + SYSTEM.replace("BODY", body).replace("NAME", name)
    (site / f"{package}_module" / "__init__.py").write_text(text, encoding="utf-8")
    info = site / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[mien.systems]\n{name} = {package}_module\n", encoding="utf-8")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    install(tmp_path, "good", "flat", GOOD)
    return tmp_path


def mien(site: Path, *arguments: str, torch: bool = True) -> subprocess.CompletedProcess[str]:
    blocked = "" if torch else "sys.modules['torch'] = None; "
    program = f"import sys; {blocked}from mien.cli import main; main({list(arguments)!r})"
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "300"}
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


WITHOUT = "the plug-in 'flat' of good needs packages that are not installed: pip install 'mien[train]'"


def test_without_torch_the_list_holds_all_else(site: Path) -> None:
    done = mien(site, "systems", "list", torch=False)
    assert (done.returncode, " ".join(done.stderr.split())) == (0, f"mien: {WITHOUT}")
    assert "vggnet" in done.stdout
    entries = json.loads(mien(site, "systems", "list", "--json", torch=False).stdout)
    assert entries[-1] == {"id": "flat", "package": "good", "error": WITHOUT}


@pytest.mark.parametrize("verb", ["info", "check"])
def test_without_torch_one_system_is_one_sentence(site: Path, verb: str) -> None:
    done = mien(site, "systems", verb, "flat", torch=False)
    assert done.returncode == 2
    assert done.stderr.startswith("mien: ")
    assert done.stderr.endswith("needs packages that are not installed: pip install 'mien[train]'\n")
    assert done.stdout == ""


def test_whatever_their_code_raises_the_others_are_listed(site: Path) -> None:
    pytest.importorskip("torch")
    install(site, "moody", "moody", "raise RuntimeError('not today')")
    install(site, "leaving", "leaving", "raise SystemExit(3)")
    install(site, "gone", "gone", GOOD, before="raise SystemExit(0)\n")
    install(site, "lacking", "lacking", GOOD, before="import timm.no_such_part\n")
    install(site, "twin", "flat", GOOD)
    install(site, "another", "round", GOOD)
    done = mien(site, "systems", "list")
    assert done.returncode == 0
    told = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert told == [
        "mien: two plug-ins are called 'flat': good and twin; uninstall or rename one",
        "mien: the plug-in 'gone' of gone: SystemExit: 0",
        "mien: the plug-in 'lacking' of lacking needs packages that are not installed: pip install 'mien[train]'",
        "mien: the plug-in 'leaving' of leaving: SystemExit: 3",
        "mien: the plug-in 'moody' of moody: RuntimeError: not today",
    ]
    for name in ("vggnet", "plug-in of another"):
        assert name in done.stdout
    done = mien(site, "systems", "info", "moody")
    assert (done.returncode, done.stderr) == (2, "mien: the plug-in 'moody' of moody: RuntimeError: not today\n")
