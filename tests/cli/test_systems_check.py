"""``mien systems check``: a stranger's file is held against the contract."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

GOOD = """
from torch import nn
from mien.systems.base import System
from mien.systems.card import Card, grey

class Flat(System):
    def __init__(self, *, classes, channels, width=24):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(channels * 256, width), nn.ReLU())
        self.head = nn.Linear(width, classes)

    def embed(self, images):
        return self.body(images)

    def forward(self, images):
        return self.head(self.embed(images))

CARDS = {"flat": Card("flat", "Flat", Flat, grey(16), 6343, options={"width": 24}, recipes={"mien": {}})}
"""
# Its recipe feeds 20 px, its count is wrong, its forward pass fails for one face.
BAD = (
    GOOD.replace('"mien": {}', '"mien": {"input": {"size": 20}}')
    .replace("6343", "6344")
    .replace("return self.body(images)", "return self.body(images) if len(images) > 1 else 1 / 0")
    .replace('"flat"', '"bad"')
)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    from mien.cli import main

    with pytest.raises(SystemExit) as caught:
        main(["systems", "check", *arguments])
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def write(folder: Path, text: str) -> str:
    (folder / "theirs.py").write_text(text, encoding="utf-8")
    return str(folder / "theirs.py")


def test_a_good_file_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, write(tmp_path, GOOD), "--json")
    outcomes = json.loads(out)
    assert (code, err) == (0, "")
    assert {outcome["check"] for outcome in outcomes} >= {"parameters", "recipes", "gradients", "onnx", "learning"}
    assert all(outcome["passed"] and outcome["system"] == "flat" for outcome in outcomes)


def test_a_bad_one_is_told_all_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, write(tmp_path, BAD))
    assert (code, err) == (1, "")
    lines = {line.split()[2]: " ".join(line.split()[5:]) for line in out.splitlines() if "FAILS" in line}
    assert lines["parameters"] == "bad has 6,343 parameters and its card says 6,344"
    assert lines["recipes"] == "InputError: bad takes no images of 20 px; it takes 16 px"
    assert lines["outputs"] == "ZeroDivisionError: division by zero"
    assert "as outputs" in lines.values()
    assert list(lines.values()).count(lines["outputs"]) == 1
    assert "options" not in lines
    assert f"{len(lines)} of 11 checks fail" in out


@pytest.mark.parametrize(
    ("text", "arguments", "message"),
    [
        (GOOD, ["--only", "flot"], "holds no system 'flot'; did you mean 'flat'?"),
        ("x = 1", [], "holds no systems; define CARDS"),
        (GOOD.replace("Flat, grey", "nn.Linear, grey"), [], "flat is no network"),
        (GOOD.replace('"flat"', '"vggnet"'), [], "the id 'vggnet' is that of a system of mien; give yours another one"),
    ],
)
def test_bad_input_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, arguments: list[str], message: str
) -> None:
    code, out, err = run(capsys, write(tmp_path, text), *arguments)
    assert (code, out) == (2, "")
    assert message in err.replace("\n", " ")


def test_unknown_id_and_no_file(capsys: pytest.CaptureFixture[str]) -> None:
    from mien.systems import described, elsewhere
    from mien.testing import system_checks

    (own,) = elsewhere.find(described.describe("vggnet").file)
    assert next(system_checks(own))  # its own file is no other system
    assert run(capsys, "vgnet")[::2] == (2, "mien: no system is called 'vgnet'; did you mean 'vggnet'?\n")
    assert run(capsys, "zzz")[2].endswith("…; name your own by its file, FILE.py\n")
    assert "is no file" in run(capsys, "./no_such_file.py")[2]
    code, _, err = run(capsys, "local-learning-bow")
    assert code == 2
    assert "is no network" in err
