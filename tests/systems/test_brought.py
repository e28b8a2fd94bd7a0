"""One id means one place within a process: cells and files may be run again, others take another id."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest

from flat_file import flat_file
from mien.errors import InputError, RunError
from mien.systems import brought
from mien.systems.card import Card

CELL = flat_file(8)
OTHER = CELL.replace("class Flat", "class Other").replace("Flat, grey", "Other, grey")


@pytest.fixture(autouse=True)
def nothing_brought(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr(brought, "_cards", {})
    monkeypatch.setattr(brought, "_sources", {})


def typed_in(text: str = CELL, module: str = "__main__") -> Card:
    space: dict[str, object] = {"__name__": module}
    exec(text, space)
    return space["CARDS"]["flat"]  # type: ignore[index]


def write(path: Path, text: str = CELL) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))


@pytest.mark.usefixtures("notebook")
def test_a_cell_may_be_run_again_and_another_class_needs_another_id() -> None:
    first, second = typed_in(), typed_in()
    for card in (first, second):
        assert brought.bring(card) == "flat"
        assert brought.brought("flat") is card
    assert brought.source("flat") == {"class": "__main__.Flat"}
    with pytest.raises(
        InputError,
        match=r"the id 'flat' is that of the class __main__\.Flat in this process, and not of the class "
        r"__main__\.Other; give one of the two another id",
    ):
        brought.bring(typed_in(OTHER))
    assert brought.brought("flat") is second


def test_a_file_may_change_and_move_and_another_one_needs_another_id(tmp_path: Path) -> None:
    path = write(tmp_path / "flat.py")
    assert brought.bring(path) == "flat"
    brought.bring(write(tmp_path / "moved.py"))  # the same bytes elsewhere
    brought.bring(path)
    brought.bring(write(path, OTHER))  # the same place with other bytes
    assert brought._cards["flat"].module.__name__ == "Other"
    with pytest.raises(InputError, match=r"is that of flat\.py \(.{12}…\) in this process, and not of moved\.py"):
        brought.bring(tmp_path / "moved.py")
    with pytest.raises(InputError, match=r"and not of the class typed\.Flat; give one"):
        brought.bring(typed_in(module="typed"))


def test_the_class_of_a_file_and_the_file_are_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "imported_flat.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    import imported_flat  # type: ignore[import-not-found]

    try:
        brought.bring(imported_flat.CARDS["flat"])
        assert brought.source("flat") == {"class": "imported_flat.Flat"}
        brought.bring(tmp_path / "imported_flat.py")
        assert "sha256" in brought.source("flat")
        brought.bring(imported_flat.CARDS["flat"])
    finally:
        del sys.modules["imported_flat"]


@pytest.mark.parametrize("spec", [None, "theirs.training"])
def test_a_class_of_a_script_is_called_as_others_import_it(monkeypatch: pytest.MonkeyPatch, spec: str | None) -> None:
    """Classes of one name in two scripts are two, and the script that trains need not be the one that measures."""
    main = types.ModuleType("__main__")
    main.__file__ = "/home/somebody/training.py"
    main.__spec__ = None if spec is None else types.SimpleNamespace(name=spec)  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "__main__", main)
    brought.bring(typed_in())
    assert brought.source("flat") == {"class": f"{spec or 'training'}.Flat"}
    assert brought.bring(typed_in(module=spec or "training")) == "flat"
    with pytest.raises(InputError, match=r"and not of the class measuring\.Flat"):
        brought.bring(typed_in(module="measuring"))


def test_a_run_of_another_class_is_refused() -> None:
    noted = {"class": "mine.Flat"}
    with pytest.raises(RunError, match=r"which was given as a Card \(mine\.Flat\); give that card again"):
        brought.check_brought("flat", noted, "runs/flat")
    brought.bring(typed_in(module="mine"))
    brought.check_brought("flat", noted, "runs/flat")
    words = (
        r"with the 'flat' of the class theirs\.Flat, and that of the class mine\.Flat goes by that id here; give the"
    )
    with pytest.raises(RunError, match=words):
        brought.check_brought("flat", {"class": "theirs.Flat"}, "runs/flat")
    for source, words in (
        ({}, "of mien or of an installed package"),
        ({"file": "/a/b.py", "sha256": "0"}, r"of b\.py"),
    ):
        with pytest.raises(RunError, match=f"was trained with the 'flat' {words}"):
            brought.check_brought("flat", source, "runs/flat")


def test_a_fit_is_opened_with_its_own_system_alone(tmp_path: Path) -> None:
    from mien import systems
    from mien.training import ClassicalRecipe, ClassicalRun, Run

    recipe = ClassicalRecipe.of(systems.card("turtle"))
    (tmp_path / "recipe.toml").write_text(recipe.to_toml(), encoding="utf-8")
    info = {"schema": "mien-run@1", "kind": "clustering", "system": "turtle", "recipe_hash": recipe.hash}
    (tmp_path / "run.json").write_text(json.dumps(info), encoding="utf-8")
    assert ClassicalRun.open(tmp_path, system="turtle") == ClassicalRun.open(tmp_path)
    for reader in (ClassicalRun, Run):
        with pytest.raises(RunError, match="is a run of 'turtle', not of 'compact'; give the one it was trained with"):
            reader.open(tmp_path, system="compact")
