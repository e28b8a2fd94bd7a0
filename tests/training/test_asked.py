"""What is told of a training before torch is loaded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flat_file import flat_file
from mien.errors import InputError, OccupiedError, RecipeError, RunError, UnknownNameError
from mien.systems.described import described
from mien.training.asked import bring_teachers, check_asked
from mien.training.occupied import occupied
from mien.training.recipe import Recipe
from mien.training.run import run_folder


def test_it_needs_no_torch() -> None:
    code = "import sys; from mien.training.asked import check_asked; check_asked('vggnet', 'mien'); " \
        "sys.exit('torch' in sys.modules)"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_must_be_new_and_is_there(tmp_path: Path) -> None:
    recipe = Recipe.from_toml(described()["vggnet"].recipes["mien"]["toml"]).set(["epochs=3"])
    folder = run_folder(tmp_path, "vggnet", recipe.name, recipe.hash, 1)
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    with pytest.raises(RunError, match=folder.name):  # it is looked at, and this one is no whole run
        check_asked("vggnet", "mien", ["epochs=3"], run_in=(tmp_path, 1))
    check_asked("vggnet", "mien", ["epochs=3"], run_in=(tmp_path, 2))
    check_asked("vggnet", "mien", ["epochs=4"], run_in=(tmp_path, 1))
    check_asked("vggnet", "mien", ["epochs=3"], run_in=(tmp_path, 1), resume=True)
    with occupied(folder), pytest.raises(OccupiedError, match="another process trains in"):
        check_asked("vggnet", "mien", ["epochs=3"], run_in=(tmp_path, 1), resume=True)


def test_a_recipe_that_is_not_there_is_told_with_the_hint() -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'short'; .*; vggnet and short$"):
        check_asked("vggnet", "short", hint=lambda system, recipe: f"; {system} and {recipe}")


@pytest.mark.parametrize("given", ["extra_images", "pretrained"])
def test_files_that_are_not_there(given: str) -> None:
    with pytest.raises(InputError, match=r"nowhere\.x is no file"):
        check_asked("vggnet", "mien", **{given: "nowhere.x"})


def test_teachers_and_runs_that_are_none() -> None:
    check_asked("compact", "mien", teachers=["default"])
    for given in ({"teachers": ["nowhere/run"]}, {"init": "nowhere/run"}):
        with pytest.raises(RunError):
            check_asked("compact", "mien", **given)


def test_a_file_of_a_system_that_taught_nobody(tmp_path: Path) -> None:
    file = tmp_path / "flat.py"
    file.write_text(flat_file(8))
    with pytest.raises(InputError, match="none was with"):
        bring_teachers([], "compact", str(file))
    with pytest.raises(UnknownNameError, match="did you mean 'compact'"):
        bring_teachers([], "compct", None)
    bring_teachers([Path("default")], "compact", None)
