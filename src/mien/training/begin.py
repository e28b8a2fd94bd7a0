"""The beginning of a training: what is refused, what is given, and the folder that it gets."""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import mien
from mien import systems
from mien.errors import InputError, MienError, RunError, SealedSplitError
from mien.evaluation.devices import check_device
from mien.evaluation.parts import check_split
from mien.evaluation.processes import joined
from mien.store import write_text
from mien.store.launch import launched
from mien.systems.brought import bring, identity, source
from mien.training.classical import ClassicalRecipe, fit, recipe_of
from mien.training.compute.parallel import fabric_of
from mien.training.compute.precision import computed
from mien.training.feasible import check_feasible
from mien.training.given import Given, resolve
from mien.training.loop import Loop
from mien.training.occupied import clear_away, occupied
from mien.training.progress import Beginning, Progress
from mien.training.recipe import Recipe
from mien.training.run import Run, beginning, check_source, run_folder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import ExtraImages, Split
    from mien.systems.card import Card


def train(
    system: str | Path | Card,
    train: Split,
    selection: Split,
    *,
    recipe: str | Path | Recipe | ClassicalRecipe = "mien",
    seed: int = 0,
    out: str | Path = "runs",
    part: str = "",
    resume: bool = False,
    device: str = "auto",
    pretrained: str | Path | None = None,
    init: str | Path | Run | None = None,
    teacher: Any = None,
    extra_images: str | Path | ExtraImages | None = None,
    votes: NDArray[np.uint8] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    on_begin: Callable[[Beginning], None] | None = None,
    timeout: float | None = None,
) -> Run:
    """Train a system and choose its epoch on the selection split. The test split cannot be given.

    Processes that torchrun started train together, and all of them return the run. SIGTERM, where the program does not
    handle it, lets the training finish its step and save.

    The recipe of the run holds the hashes of what was given, and its ``extra_data`` names the data behind it.

    Args:
        system: id of the system, or its card; or a Python file with ``CARDS``, which is run (``tiny.py:ID`` where it
            holds several systems).
        train: rows to learn from.
        selection: rows that choose the epoch and drive a plateau schedule.
        recipe: a recipe's name, a `Recipe` (of a system that is no network a `ClassicalRecipe`), or a TOML file.
        seed: of weights, order, augmentation and dropout.
        out: folder that holds run folders; the run's own is named after system, recipe and seed.
        part: added to that name, where the splits are those of one fold or of another protocol.
        resume: continue an unfinished run, return a finished one; without it an existing run is an error.
        device: ``auto`` (the best there is), ``cpu``, ``cuda`` (the first that CUDA_VISIBLE_DEVICES names), or ``mps``.
        pretrained: start from the card's published weights: ``timm`` gets them, or a local file of them.
        init: start from the weights of this run of the same system; where it tells other expressions, or the same in
            another order, the last layer follows their names.
        teacher: run, bundle, path of either, or several of them, whose answers ``recipe.distill`` gives a weight.
        extra_images: manifest of further training images, or what `mien.datasets.read_manifest` made of it.
        votes: what raters say of each face of the whole face set, uint8 (faces, 10), columns as in FER+, for a recipe
            whose ``loss.targets`` learns from them; of FER2013 and FER+ the votes that were imported.
        on_progress: called after each step and each epoch.
        on_begin: called once before the first step; not for a run that was finished already.
        timeout: seconds that one of several processes waits for another, 600 by default.

    Returns:
        The finished run.

    Raises:
        InputError: an unknown system or device, splits that are not those of one face set, a recipe of another system,
            or something that does not go with the recipe.
        RecipeError: a recipe that is not there or cannot be.
        SealedSplitError: a test split was given.
        RunError: the run exists, belongs to other data, or is another process's; weights that do not fit the network.
        StoppedError: SIGTERM came.
        ProcessError: one of several processes is lost, or was given something else than the others.
        MissingExtraError: packages that the system needs are not installed.
    """
    system = bring(system)
    systems.check_installed(system)
    check_splits(train, selection)
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"a seed is a whole number from 0, not {seed!r}")
    if not isinstance(recipe, str | Path | Recipe | ClassicalRecipe):
        raise InputError(f"a recipe is a name, a file or a Recipe, not a {type(recipe).__name__}")
    check_device(device)
    card = systems.card(system)
    if card.kind != "network":
        for what, thing in (
            ("pretrained", pretrained),
            ("init", init),
            ("teacher", teacher),
            ("extra_images", extra_images),
            ("votes", votes),
        ):
            if thing is not None:
                raise InputError(f"{system} is no network; it takes no {what.replace('_', ' ')}")
        return _fit(system, train, selection, recipe, seed, Path(out), part, resume, on_progress, on_begin)
    if not isinstance(recipe, Recipe):
        found = recipe if isinstance(recipe, ClassicalRecipe) else recipe_of(card, recipe)
        if not isinstance(found, Recipe):
            raise InputError(f"{system} is a network; give a Recipe, or the name of one of its recipes")
        recipe = found
    if recipe.system_id != system:
        raise InputError(f"the recipe is one of {recipe.system_id!r}, not of {system!r}")
    # A recipe for fresh weights may change with published ones; one for them is refused before they are fetched.
    early = recipe.start.kind == "pretrained"
    if early:
        _check_network(card, recipe, len(train.label_set))
    processes = joined(timeout)
    own = str(fabric_of(device, recipe.precision, processes).device)
    with processes.first_ahead():  # published weights are fetched once
        given = resolve(
            recipe,
            card,
            train,
            device=own,
            pretrained=pretrained,
            init=init,
            teacher=teacher,
            extra_images=extra_images,
            votes=votes,
        )
    recipe = given.recipe
    processes.check_same(
        "recipes, seeds, faces or precision",
        lambda: " ".join(
            [
                recipe.hash,
                str(seed),
                train.fingerprint,
                train.rows_hash,
                selection.rows_hash,
                mien.__version__,
                computed(recipe.precision, torch.device(own).type),
                identity(source(system)),
            ]
        ),
    )
    if not early:
        _check_network(card, recipe, len(train.label_set))
    folder = run_folder(out, system, recipe.name, recipe.hash, seed, part)
    begun = partial(_start, folder, given, train, selection, seed, resume)
    run = processes.on_first(begun)
    if run.finished:
        if processes.first:
            clear_away(folder)
        return run
    with contextlib.ExitStack() as stack:
        processes.on_first(lambda: stack.enter_context(occupied(folder)))
        run = processes.on_first(begun)  # another process may have been here meanwhile
        if run.finished:
            return run
        # Refuses what does not fit the network.
        loop = Loop(run, given, train, selection, device, on_progress, processes)
        resumed = processes.on_first((folder / "run.json").exists)
        if on_begin is not None:
            on_begin(Beginning(folder, resumed, len(loop.log), loop.precision))
        if processes.first:
            if not resumed:
                write_text(folder / "recipe.toml", recipe.to_toml())
            run.noted("running")
        return loop.run_to_end()


def _check_network(card: Card, recipe: Recipe, classes: int) -> None:
    if card.id in systems.names():
        # The contract of systems has tried all recipes of ours.
        check_feasible(card, recipe, classes=classes, tried=[Recipe.of(card, name) for name in card.recipes])
        return
    try:
        check_feasible(card, recipe, classes=classes)
    except MienError:
        raise
    except (Exception, SystemExit) as error:  # a stranger's code may raise anything
        said = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{card.id} cannot be built: {type(error).__name__}: {said}{_line_of(card, error)}; `mien systems check` "
            "tells all that is wrong with a file of systems"
        ) from error


def _line_of(card: Card, error: BaseException) -> str:
    """Where in the system's own file an error came up, in words."""
    own = getattr(sys.modules.get(card.module.__module__), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if own and frame.filename == own]
    return f" ({Path(str(own)).name}, line {lines[-1]})" if lines else ""


def _fit(
    system: str,
    train: Split,
    selection: Split,
    recipe: str | Path | Recipe | ClassicalRecipe,
    seed: int,
    out: Path,
    part: str,
    resume: bool,
    on_progress: Callable[[Progress], None] | None,
    on_begin: Callable[[Beginning], None] | None,
) -> Run:
    """The same for a system that is no network."""
    if isinstance(recipe, Recipe):
        raise InputError(f"{system} is no network; give a ClassicalRecipe, or the name of one of its recipes")
    if not isinstance(recipe, ClassicalRecipe):
        found = recipe_of(systems.card(system), recipe)
        assert isinstance(found, ClassicalRecipe)
        recipe = found
    if recipe.system_id != system:
        raise InputError(f"the recipe is one of {recipe.system_id!r}, not of {system!r}")
    recipe = recipe.identified()
    if launched():
        raise InputError(f"{system} is no network and is fitted by one process; start it without torchrun")
    tell = on_progress or (lambda progress: None)
    return fit(
        recipe,
        train,
        selection,
        seed=seed,
        folder=run_folder(out, system, recipe.name, recipe.hash, seed, part),
        resume=resume,
        notify=lambda stage, done, total: tell(Progress(0, 1, done, total, stage=stage)),
        on_begin=on_begin,
    )


def _start(folder: Path, given: Given, train: Split, selection: Split, seed: int, resume: bool) -> Run:
    """The run that lies there, or one that is not written yet."""
    if (folder / "run.json").exists():
        try:
            found = Run.open(folder)
        except RunError:
            if (folder / "run.json").exists():
                raise
            # Another process removed it between our two steps.
        else:
            check_source(found)
            return found.continued(train, selection, resume=resume)
    info = beginning(given.recipe, train, selection, seed=seed)
    study = given.recipe.searched.by(seed)
    searched = {"searched": study} if study else {}
    return Run(folder, given.recipe, {**info, "extra_data": given.extra_data, **given.notes, **searched})


def check_splits(train: Split, selection: Split) -> None:
    """Refuse what must not be learnt from or chosen on, and what cannot be (`SealedSplitError`, `InputError`)."""
    for name, split in (("train", train), ("selection", selection)):
        check_split(split, f"data.{name}")
        if split.role == "test":
            raise SealedSplitError(
                "training and selection never see the test split; give data.train and data.selection"
            )
    if train.label_set != selection.label_set:
        raise InputError("training and selection have different label sets")
    if train.role != "train":
        raise InputError(f"the first split is of role {train.role!r}; learn from data.train, choose on data.selection")
    for split in (train, selection):
        _check_rows(split)
    if selection.role != "selection" or selection.fingerprint != train.fingerprint:
        raise InputError("choose on data.selection of the same face set that data.train comes from")


def _check_rows(split: Split) -> None:
    if not len(split):
        raise InputError(f"the split {split.name!r} is empty; give one with faces")
    unlabelled = int((np.asarray(split.labels) >= len(split.label_set)).sum())
    if unlabelled:
        raise InputError(
            f"{unlabelled} faces of the split {split.name!r} have no label; leave them out: "
            "split.subset(split.labels < len(split.label_set))"
        )
