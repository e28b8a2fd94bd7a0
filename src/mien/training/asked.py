"""What is asked of a training by names and paths: what is misspelt or missing is told before torch and faces load."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from mien import systems
from mien.errors import InputError, RecipeError
from mien.evaluation.devices import check_device
from mien.registry import suggestion
from mien.systems.brought import bring, check_brought, is_file
from mien.systems.described import Described, described
from mien.training.occupied import check_free
from mien.training.recipe import Recipe
from mien.training.run import Run, check_unused, run_folder
from mien.training.trained import open_trained
from mien.training.values import check_recipe_system


def check_asked(
    system: str,
    recipe: str,
    assignments: Sequence[str] = (),
    *,
    device: str = "auto",
    teachers: Iterable[str | Path] = (),
    init: str | Path | None = None,
    pretrained: str | None = None,
    extra_images: str | Path | None = None,
    run_in: tuple[Path, int] | None = None,
    resume: bool = False,
    hint: Callable[[str, str], str] = lambda system, recipe: "",
) -> None:
    """Refuse a training that cannot begin, as far as names, settings and paths tell it.

    `mien.train` refuses all of it, too, and more, but once torch, the faces and the teachers are loaded. Files of
    systems are not run: of such a system less is known here.

    Args:
        system: id of a system, or a Python file that holds it.
        recipe: name of one of its recipes, or a TOML file.
        assignments: ``KEY=VALUE`` of what is changed in it.
        device: ``auto``, ``cpu``, ``cuda`` (also ``cuda:1``) or ``mps``.
        teachers: run folders and bundles.
        init: the run folder whose weights are gone on from.
        pretrained: ``timm``, or a file of published weights.
        extra_images: manifest of extra images.
        run_in: folder of run folders, and seed; None where the recipe's hash, which names the run's own, waits for
            something that is given.
        resume: whether that run may be there already; in no case another process may be at it.
        hint: system and name of a recipe that it does not have → half a sentence more for the error.

    Raises:
        InputError: an unknown system, option or device; a file that is not there; a recipe of another system.
        RecipeError: a recipe that is not there, or a field of it that cannot be.
        OccupiedError: another process trains in the run's folder.
        RunError: a run that exists already; a teacher or a run to go on from that is none.
        BundleError, FetchError: a teacher that is no bundle, or a damaged one.
        MissingExtraError: packages that the system needs are not installed.

    Example:
        >>> check_asked("vggnet", "mien", ["epochs=3"])
        >>> check_asked("vggnet", "faithfull")
        Traceback (most recent call last):
        ...
        mien.errors.RecipeError: vggnet has no recipe 'faithfull'; did you mean 'faithful'?
    """
    from_file = recipe.endswith(".toml")
    if not is_file(system):
        systems.check_name(system)
        if from_file:
            check_recipe_system(Path(recipe), system)
    known = described().get(system)
    if known is not None and known.kind == "network":
        read = _recipe(known, recipe, hint).set(assignments)
        systems.check_options(known, read.system)
        if run_in is not None and read.loss.targets == "majority":  # else it waits for the hash of votes
            out, seed = run_in
            (check_free if resume else check_unused)(run_folder(out, system, read.name, read.hash, seed))
    elif from_file and not Path(recipe).is_file():
        raise InputError(f"{recipe}: no such file; give a recipe file (.toml)")
    if extra_images is not None and not Path(extra_images).is_file():
        raise InputError(f"{extra_images} is no file; give the manifest of the extra images")
    if pretrained not in (None, "timm") and not Path(str(pretrained)).is_file():
        near = suggestion(str(pretrained), ["timm"])
        said = f"{near} Or give" if near.startswith("did") else "give --pretrained timm, or"
        raise InputError(
            f"{pretrained} is no file; {said} a file of the weights; from a run a training goes on with --init RUN"
        )
    for teacher in teachers:
        open_trained(teacher)
    if init is not None:
        Run.open(init)
    if not is_file(system):
        systems.check_installed(system)
    check_device(device)


def bring_teachers(teachers: Iterable[Path], student: str, file: str | None) -> None:
    """Run the Python files that teachers were trained with, and refuse teachers whose file is not given.

    Args:
        teachers: run folders and bundles; bundles bring their network along.
        student: id of the system that learns, or its Python file, which may be a teacher's, too.
        file: the Python file of a teacher; None where none has one.

    Raises:
        UnknownNameError: no system is called as the student.
        RunError, BundleError, FetchError: a teacher that is none, or whose file is not given.
        InputError: a file that no teacher was trained with.
    """
    if not is_file(student):
        systems.check_name(student)
    given = [name for name in (file, student) if name is not None and is_file(name)]
    known = {name: bring(name) for name in given}
    runs = [trained for teacher in teachers if isinstance(trained := open_trained(teacher), Run)]
    for run in runs:
        check_brought(run.system, run.source, run.folder)
    if file is not None and known.get(file) not in {run.system for run in runs}:
        raise InputError(f"--system is the Python file that a teacher was trained with, and none was with {file}")


def _recipe(known: Described, name: str, hint: Callable[[str, str], str]) -> Recipe:
    if name.endswith(".toml"):
        return Recipe.from_toml(Path(name))
    try:
        systems.check_recipe(known.id, name, known.recipes)
    except RecipeError as error:
        raise RecipeError(f"{error}{hint(known.id, name)}") from None
    return Recipe.from_toml(known.recipes[name]["toml"])
