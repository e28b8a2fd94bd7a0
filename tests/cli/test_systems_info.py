"""``mien systems info``: what is known, without torch."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mien.cli import main
from mien.results import load_all
from mien.site.listing import listing, measured, shipped


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        main(["systems", "info", *arguments])
    output = capsys.readouterr()
    return int(caught.value.code or 0), output.out, output.err


def test_all_that_is_known_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "resnet18-tricks")
    assert code == 0
    assert re.match(
        r"ResNet18 with tricks[^\n]*\n[^\n]+\n\nclaimed: +\d\d\.\d\d % on FER2013, which others state\n", out
    )
    for line in (
        "parameters: +11,171,271",
        r"multiply-accumulates: \d+ million per face \(recipe faithful\)",
        r"input: +1 × 4\d × 4\d, grey \(recipe faithful\)",
        "recipes: +faithful, mien",
        r"options: +width = 64  \w.*",
        r" +unmixed_forward = False  \w.*",
    ):
        assert re.search(f"^{line}$", out, re.MULTILINE), line
    assert "\nDeviations:\n- The public loader names PrivateTest" in out
    assert max(map(len, out.splitlines())) <= 80


def test_the_paper_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(capsys, "vggnet")[1]
    assert out.startswith("VGGNet on FER2013: ")
    assert out.count("Khaireddin") == 1


def test_our_result_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Path(__file__).parents[2] / "results"
    entry = next(e for e in listing(measured(load_all(recorded))) if e.get("measured"))
    for given in ((), ("--results", str(recorded))):
        out = run(capsys, entry["id"], *given)[1]
        assert f"{100 * entry['measured']['accuracy']:.1f} % on PrivateTest" in " ".join(out.split())
        assert entry["measured"]["id"] in out
    assert "is no folder; give the one that holds the results" in run(capsys, "vggnet", "--results", "nowhere")[2]


def test_a_recipe_is_toml_or_json(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "deepemotion", "--recipe", "faithful")[1]
    assert tomllib.loads(text)["sampling"] == "balanced"
    assert json.loads(run(capsys, "deepemotion", "--recipe", "faithful", "--json")[1]) == tomllib.loads(text)


def test_the_recipe_of_a_result_is_pointed_to_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    entry = next(entry for entry in shipped()["identiface"] if entry["recipe"] == "short")
    status, _, err = run(capsys, "identiface", "--recipe", "short")
    assert status == 2
    assert f"mien systems info identiface --recipe {entry['id'][:8]} --results results > short.toml" in err


def test_the_recipe_of_a_result_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    recorded = Path(__file__).parents[2] / "results"
    entry = measured(load_all(recorded))["vggnet"][0]
    text = run(capsys, "vggnet", "--recipe", entry["id"][:8], "--results", str(recorded))[1]
    assert (tomllib.loads(text)["name"], tomllib.loads(text)["system_id"]) == (entry["recipe"], "vggnet")
    assert (
        "of a recorded result name the folder, too: --results results"
        in run(capsys, "vggnet", "--recipe", entry["id"])[2]
    )


def test_a_result_is_found_as_everywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    recorded = Path(__file__).parents[2] / "results"
    first = measured(load_all(recorded))["vggnet"][0]["id"]
    other = next(result for result in load_all(recorded) if result.system == "compact")
    for path in recorded.rglob(f"{first}.*"):
        shutil.copy(path, tmp_path)
    for named in (first[:4], str(tmp_path / f"{first}.json")):
        text = run(capsys, "vggnet", "--recipe", named, "--results", str(tmp_path))[1]
        assert tomllib.loads(text)["system_id"] == "vggnet"
    (tmp_path / f"{first[:6]}{'0' * 10}.json").touch()
    told = run(capsys, "vggnet", "--recipe", first[:6], "--results", str(tmp_path))[::2]
    assert told[0] == 2
    assert f"'{first[:6]}' begins 2 ids under" in told[1]
    told = run(capsys, "vggnet", "--recipe", other.id, "--results", str(recorded))[2]
    assert f"{other.id} is a result of compact, not of vggnet" in told
    told = run(capsys, "vggnet", "--recipe", "min", "--results", str(recorded))[2]
    assert "vggnet has no recipe 'min'; did you mean 'mien'?" in told


def test_json_is_whole(capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads(run(capsys, "compact", "--json")[1])
    assert (about["id"], about["parameters"]) == ("compact", 1_501_447)
    assert list(about["recipes"]) == ["mien", "taught"]
    assert about["meanings"].keys() == about["options"].keys()
    assert about["measured"] == shipped()["compact"]


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


def test_anywhere_the_list_shows_what_this_release_measured(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(["systems", "list", "--json"])
    entry = next(e for e in json.loads(capsys.readouterr().out) if e["id"] == "lhc-net")
    assert entry["measured"] == shipped()["lhc-net"][0]
    assert entry["measured"]["input"][1] < entry["input"][1]


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
