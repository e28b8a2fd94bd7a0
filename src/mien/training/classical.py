"""Systems that are fitted instead of trained: their recipes and their runs.

A run of theirs is a folder like any other: ``run.json``, ``recipe.toml``, and ``fitted.npz`` with what was learnt. Long
stages lie in the cache, so a stopped fit goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien import systems
from mien.errors import InputError, RecipeError, RunError
from mien.evaluation.environment import environment
from mien.evaluation.subjects import Subject, no_logits
from mien.features.cache import counted
from mien.features.spaces import file_hash
from mien.registry import suggestion
from mien.results import metrics
from mien.results.provenance import brought_from, trained_with
from mien.store import atomic_file, write_text
from mien.systems.brought import check_brought, source
from mien.systems.classical import ClassicalSystem, make, quiet
from mien.training.occupied import occupied
from mien.training.progress import Beginning
from mien.training.recipe import Recipe
from mien.training.run import Run, beginning, check_source
from mien.training.values import Written, assigned, build, later

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.bundle import Bundle
    from mien.datasets import Split
    from mien.systems.base import System
    from mien.systems.card import Card

Stage = Callable[[str, int, int], None]
"""Told (stage, done, in all)."""


@dataclass(frozen=True)
class ClassicalRecipe(Written):
    """Every choice of a fit.

    Args:
        name: of the recipe.
        system_id: the system it fits.
        system: all its options.
        feature_hashes: of the files among ``system.features``, in their order, filled in when a fit begins; an empty
            one for a space that is no file, none at all where there is no file.
    """

    name: str
    system_id: str
    system: Mapping[str, Any] = field(default_factory=dict)
    feature_hashes: tuple[str, ...] = later(())

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> ClassicalRecipe:
        """The inverse of `to_dict`; options are checked against the system's card."""
        made: ClassicalRecipe = build(cls, value)
        card = systems.card(made.system_id)
        systems.check_options(card, made.system)
        whole = {**card.options, **made.system}
        for name, item in whole.items():
            _check_option(name, item, card.options[name])
        if made.feature_hashes and len(made.feature_hashes) != len(whole.get("features", ())):
            raise RecipeError("feature_hashes has one hash per feature space; leave it out, and the fit fills it in")
        return build(cls, {**made.to_dict(), "system": whole})  # type: ignore[no-any-return]

    @classmethod
    def of(cls, card: Card, name: str = "mien") -> ClassicalRecipe:
        """A named recipe of a system."""
        systems.check_recipe(card.id, name, card.recipes)
        return cls.from_dict({"name": name, "system_id": card.id, **card.recipes[name]})

    def set(self, assignments: Iterable[str]) -> ClassicalRecipe:
        """A recipe with some fields changed: ``system.neighbours=500``, ``name=mine``.

        Example:
            >>> recipe = ClassicalRecipe.of(systems.card("local-learning-bow")).set(["system.neighbours=500"])
            >>> recipe.system["neighbours"]
            500
        """
        tree = self.to_dict()
        for assignment in assignments:
            key, value = assigned(assignment, "system.neighbours=500")
            if key == "name":
                tree["name"] = value
                continue
            known = [f"system.{option}" for option in tree["system"]]
            if key not in known:
                raise RecipeError(f"the recipe has no {key!r}; {suggestion(key, [*known, 'name'])}")
            tree["system"][key.removeprefix("system.")] = value
            if key == "system.features":
                tree.pop("feature_hashes", None)  # of other files
        return type(self).from_dict(tree)

    def identified(self) -> ClassicalRecipe:
        """The recipe with the hashes of its files of features, as they lie there now.

        Raises:
            InputError: a file is missing, or is not the one that the recipe names.
        """
        names = [str(name) for name in self.system.get("features", ())]
        hashes = tuple(file_hash(name) for name in names)
        for name, ours, found in zip(names, self.feature_hashes, hashes, strict=bool(self.feature_hashes)):
            if ours != found:
                raise InputError(
                    f"the recipe names {name} {ours[:12]}…, and the file there is {found[:12]}…; put the one that it "
                    "names back"
                )
        return replace(self, feature_hashes=hashes if any(hashes) else ())


@dataclass(frozen=True)
class ClassicalRun(Run):
    """A fit, finished or not. `mien.train` makes one, `Run.open` reads one.

    Attributes:
        folder: where it lies.
        recipe: how it was fitted, a `ClassicalRecipe`.
        info: what ``run.json`` says.
    """

    recipe: Any

    @classmethod
    def open(cls, folder: str | Path, system: str | Path | Card | None = None) -> ClassicalRun:
        """Read the folder of a fit; arguments and errors as of `Run.open`."""
        if system is not None:
            run = super().open(folder, system)  # makes sure that it is the system of this very run
            assert isinstance(run, cls)
            return run
        folder = Path(folder)
        try:
            info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            # Its options are checked against the card, so the card has to be known.
            check_brought(str(info["system"]), info.get("source", {}), folder)
            recipe = ClassicalRecipe.from_toml(folder / "recipe.toml")
        except RecipeError as error:
            raise RunError(f"{error}; restore it, or fit again") from None
        except (OSError, ValueError, KeyError, AttributeError):
            raise RunError(f"{folder} is no run folder; `mien train` makes one (it holds a run.json)") from None
        if info.get("recipe_hash") != recipe.hash:
            raise RunError(f"{folder}: recipe.toml was changed after the fit started; its hash does not match run.json")
        return cls(folder, recipe, info)

    def fitted(self) -> ClassicalSystem:
        """The system with what it learnt.

        Raises:
            RunError: the run is unfinished, or its file is not the one that ``run.json`` names.
        """
        check_brought(self.system, self.source, self.folder)
        path = self.folder / "fitted.npz"
        try:
            with np.load(path, allow_pickle=False) as file:
                state = {name: file[name] for name in file.files}
        except (OSError, ValueError):
            raise RunError(
                f"{self.folder} is unfinished; give the `mien train` command that began it again, with --resume"
            ) from None
        if _hash_state(state) != self.info.get("weights_sha256"):
            raise RunError(f"{path} does not hold what run.json names; restore the file or fit again")
        made = make(systems.card(self.system), len(self.label_set), self.recipe.system)
        made.restore(state)
        return made

    def subject(self, device: str = "cpu") -> Subject:
        """What `mien.evaluate` works with."""
        fitted = self.fitted()
        card = fitted.card

        def scores(split: Split) -> NDArray[np.float32]:
            return fitted.scores_of(split, notify=quiet)

        return Subject(
            system=self.system,
            kind=card.kind,
            label_set=self.label_set,
            input=card.input,
            logits=no_logits,
            scores=scores,
            recipe=self.recipe.to_dict(),
            recipe_hash=self.recipe.hash,
            seed=self.seed,
            weights_sha256=self.info["weights_sha256"],
            extra_data=tuple(self.info.get("extra_data", ())),
            environment=environment("cpu", "fp32"),
            cost=self.info["cost"],
            trained_on=self.info["data_fingerprint"],
            train_rows=self.info["train_rows"],
            data=self.info["data"],
            scores_kind=fitted.scores_kind,
            trained=trained_with(self.info),
            source=brought_from(source(self.system)),
        )

    def module(self, device: str = "cpu") -> System:
        """There is none: this system is no network."""
        raise RunError(f"{self.system} is no network; measure it with mien.evaluate")

    def export(self, path: str | Path, **options: Any) -> Bundle:
        """There is nothing to export: a bundle holds a network."""
        raise RunError(f"{self.system} is no network, so there is no bundle of it; measure it with mien.evaluate")


def recipe_of(card: Card, source: str | Path) -> Recipe | ClassicalRecipe:
    """A recipe of a system of any kind: by name, or from a TOML file."""
    kind: type[Recipe] | type[ClassicalRecipe] = Recipe if card.kind == "network" else ClassicalRecipe
    if str(source).endswith(".toml") and str(source) not in card.recipes:
        return kind.from_toml(Path(source))
    return kind.of(card, str(source))


def fit(
    recipe: ClassicalRecipe,
    train: Split,
    selection: Split,
    *,
    seed: int,
    folder: Path,
    resume: bool,
    notify: Stage | None = None,
    on_begin: Callable[[Beginning], None] | None = None,
) -> ClassicalRun:
    """Fit a system and measure it on the selection split; `mien.train` calls this and checks the splits.

    Raises:
        RunError: the run exists, belongs to other data or other files of features, or is another process's.
    """
    if resume and not folder.exists():
        _check_files(folder, recipe)
    tell = notify or quiet
    system = make(systems.card(recipe.system_id), len(train.label_set), recipe.system)
    system.check(train, selection)
    run = _start(folder, recipe, train, selection, seed, resume)
    if run.finished:
        return run
    with occupied(folder):
        run = _start(folder, recipe, train, selection, seed, resume)  # another process may have been here meanwhile
        if run.finished:
            return run
        resumed = (folder / "run.json").exists()
        if on_begin is not None:
            on_begin(Beginning(folder, resumed, 0, "fp32"))
        if not resumed:
            write_text(folder / "recipe.toml", recipe.to_toml())
        run = run.noted("running")
        started = time.perf_counter()
        try:
            with counted() as stages:
                system.fit(train, seed=seed, notify=tell)
                scores = system.scores_of(selection, notify=tell)
        except KeyboardInterrupt:
            run.stopped()
            raise
        state = system.state()
        with atomic_file(folder / "fitted.npz") as out:
            np.savez(out, **state)  # type: ignore[arg-type]
        done = ClassicalRun(
            folder,
            recipe,
            {
                **run.info,
                "status": "finished",
                "weights_sha256": _hash_state(state),
                "selection_accuracy": metrics.accuracy(scores.argmax(axis=1), np.asarray(selection.labels)),
                "environment": environment("cpu", "fp32"),
                "extra_data": list(system.extra_data),
                **({"notes": system.notes} if system.notes else {}),
                # A fit whose stages lay in the cache took seconds; what they took in their time stands beside it.
                "cost": {
                    "seconds": round(time.perf_counter() - started, 1),
                    **({"stages": found} if (found := stages()) else {}),
                    "input": _input(systems.card(run.system)),
                },
            },
        )
        done.save_info()
        return done


def _start(
    folder: Path, recipe: ClassicalRecipe, train: Split, selection: Split, seed: int, resume: bool
) -> ClassicalRun:
    if (folder / "run.json").exists():
        found = ClassicalRun.open(folder)
        check_source(found)
        return found.continued(train, selection, resume=resume)
    info = beginning(recipe, train, selection, seed=seed)
    return ClassicalRun(folder, recipe, {**info, "kind": systems.card(recipe.system_id).kind})


def _check_files(folder: Path, recipe: ClassicalRecipe) -> None:
    """Refuse to go on with a fit (`RunError`) whose files of features are others now: its folder has another name."""
    for other in folder.parent.glob(folder.name.replace(recipe.hash[:8], "*")):
        try:
            theirs = ClassicalRun.open(other).recipe
        except RunError:
            continue
        if theirs.feature_hashes and replace(theirs, feature_hashes=()) == replace(recipe, feature_hashes=()):
            names = zip(recipe.system["features"], theirs.feature_hashes, recipe.feature_hashes, strict=True)
            changed = ", ".join(str(name) for name, then, now in names if then != now)
            raise RunError(
                f"{other} was begun with another {changed}; put that file back, or leave out --resume to fit with this "
                "one"
            )


def _input(card: Card) -> list[int]:
    return [card.input.channels, card.input.size, card.input.size]


def _hash_state(state: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _check_option(name: str, value: Any, default: Any) -> None:
    """An option is of the kind of its default: a number for a number, a list for a list."""
    numbers = (int, float)
    fits = isinstance(value, type(default))
    if isinstance(default, float) and not isinstance(default, bool):
        fits = isinstance(value, numbers)
    if isinstance(default, bool) or isinstance(value, bool):
        fits = isinstance(value, bool) and isinstance(default, bool)
    if isinstance(default, (list, tuple)):
        fits = isinstance(value, (list, tuple))
    if not fits:
        raise RecipeError(f"system.{name} = {value!r}: expected a value like {default!r}")
