"""``mien systems info``: what is known, without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mien.cli import main


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["systems", "info", *arguments])
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def test_all_that_is_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "resnet18-tricks")
    assert code == 0
    assert out.startswith("ResNet18 with tricks (X. Yuan")
    assert "Deviations:\n- The public loader names PrivateTest" in out
    assert "11,171,271 parameters; recipes: faithful, mien" in out
    assert "options: width = 64, corner_pool = False, unmixed_forward = False" in out


def test_a_recipe_is_toml_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "deepemotion", "--recipe", "faithful")[1]
    assert tomllib.loads(text)["sampling"] == "balanced"
    assert json.loads(run(capsys, "deepemotion", "--recipe", "faithful", "--json")[1]) == tomllib.loads(text)


def test_json_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads(run(capsys, "compact", "--json")[1])
    assert (about["id"], about["parameters"]) == ("compact", 1_501_447)
    assert set(about["recipes"]) == {"mien"}


def test_misspelt_names_get_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "deepemotin")[::2] == (
        2,
        "mien: no system is called 'deepemotin'; did you mean 'deepemotion' or 'deepemotion-8' or 'deepemotion-4'?\n",
    )
    assert "compact has no recipe 'min'; did you mean 'mien'?" in run(capsys, "compact", "--recipe", "min")[2]


def test_torch_is_not_needed() -> None:
    code = "import sys; sys.modules['torch'] = None\nfrom mien.cli import main\nmain(['systems', 'info', 'vggnet'])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "VGGNet on FER2013" in done.stdout


def test_without_results_the_list_says_where_they_come_from(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = "there is no folder results here; name the one of the results with --results"
    for made in (False, True):
        with pytest.raises(SystemExit):
            main(["systems", "list"])
        assert (said in capsys.readouterr().err) is not made
        (tmp_path / "results").mkdir(exist_ok=True)


def test_an_ensemble_without_results_says_that_there_are_none(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["ensemble", "nosuch1", "nosuch2"])
    assert "there is no folder results here" in capsys.readouterr().err
    (tmp_path / "results").mkdir()
    with pytest.raises(SystemExit):
        main(["ensemble", "nosuch1", "nosuch2"])
    assert "no result under results is called 'nosuch1'" in capsys.readouterr().err
