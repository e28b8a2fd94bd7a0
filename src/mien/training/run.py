"""A run: one training in one folder.

``run.json`` says what was trained on what, ``recipe.toml`` how, ``log.jsonl`` how it went epoch by epoch,
``checkpoint.safetensors`` lets it go on, and ``weights.safetensors`` holds the outcome.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mien.errors import InputError, OccupiedError, RecipeError, RunError
from mien.evaluation.data_choice import notes_of
from mien.evaluation.subjects import Subject, trained_in
from mien.labels import LABEL_SETS, LabelSet
from mien.results.provenance import brought_from, source_state, trained_with
from mien.store import write_text
from mien.systems.brought import bring, check_brought, identity_words, is_source, source
from mien.training.occupied import check_free, occupied
from mien.training.recipe import Recipe
from mien.training.values import Written

if TYPE_CHECKING:
    from mien.bundle import Bundle
    from mien.datasets import Split
    from mien.systems.base import System
    from mien.systems.card import Card

SCHEMA = "mien-run@1"


@dataclass(frozen=True)
class Run:
    """A training, finished or not. `mien.train` makes one, `Run.open` reads one.

    Attributes:
        folder: where it lies.
        recipe: how it was trained.
        info: what ``run.json`` says: system, seed, data fingerprint, status, weights hash, cost, …
    """

    folder: Path
    recipe: Recipe
    info: dict[str, Any]

    @classmethod
    def open(cls, folder: str | Path, system: str | Path | Card | None = None) -> Run:
        """Read a run folder.

        Args:
            folder: where it lies.
            system: of a run whose system is none of mien: its card, or its file, which is executed. It has to be the
                file that the run was trained with. What ``run.json`` names is never executed by itself.

        Raises:
            RunError: it is no run folder, or one of another system than the one given.
        """
        if not isinstance(folder, str | Path):
            raise InputError(f"a run is opened by its folder, not by a {type(folder).__name__}")
        folder = Path(folder)
        if system is not None:
            name = bring(system)
            run = cls.open(folder)
            if run.system != name:
                raise RunError(
                    f"{folder} is a run of {run.system!r}, not of {name!r}; give the one it was trained with"
                )
            check_source(run)
            return run
        if _kind(folder) != "network":
            from mien.training.classical import ClassicalRun

            return ClassicalRun.open(folder)
        try:
            info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            recipe = Recipe.from_toml(folder / "recipe.toml")
        except (OSError, json.JSONDecodeError, UnicodeDecodeError):
            raise RunError(f"{folder} is no run folder; `mien train` makes one (it holds a run.json)") from None
        except RecipeError as error:
            raise RunError(f"{error}; restore it, or train again") from None
        if not isinstance(info, dict) or info.get("schema") != SCHEMA:
            raise RunError(f"{folder}/run.json is not of schema {SCHEMA!r}")
        if info.get("recipe_hash") != recipe.hash:
            raise RunError(f"{folder}: recipe.toml was changed after the run started; its hash does not match run.json")
        return cls(folder, recipe, info)

    @property
    def system(self) -> str:
        """Id of the system."""
        return self.recipe.system_id

    @property
    def source(self) -> dict[str, str]:
        """Where the system comes from, if it is none of mien: ``file`` and ``sha256``, or ``class``; else empty."""
        found = self.info.get("source", {})
        return dict(found) if isinstance(found, dict) else {}

    @property
    def seed(self) -> int:
        """Seed of the training."""
        return int(self.info["seed"])

    @property
    def finished(self) -> bool:
        """Whether the training ran to its end."""
        return self.info.get("status") == "finished"

    @property
    def state(self) -> str:
        """``finished``; ``running`` while a process trains in the folder; else ``stopped``."""
        if self.finished:
            return "finished"
        if (self.folder / "lock").exists():
            try:
                with occupied(self.folder):
                    return "stopped"
            except OccupiedError:
                return "running"
            except OSError:  # not ours to write to, so not ours to go on with either
                pass
        return "stopped"

    @property
    def label_set(self) -> LabelSet:
        """What its outputs mean."""
        name = self.info["label_set"]
        return LabelSet(name, tuple(self.info["labels"])) if "labels" in self.info else LABEL_SETS[name]

    @property
    def log(self) -> list[dict[str, Any]]:
        """One entry per finished epoch."""
        path = self.folder / "log.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def module(self, device: str = "cpu") -> System:
        """The network with the run's weights, in evaluation mode.

        Raises:
            RunError: the run is unfinished, or the weights do not fit or are not those that ``run.json`` names.
        """
        from mien import systems
        from mien.evaluation.devices import device_of
        from mien.training.weights import hash_weights, load_strictly, load_tensors

        device = device_of(device)
        check_brought(self.system, self.source, self.folder)
        path = self.folder / "weights.safetensors"
        if not path.exists():
            raise RunError(
                f"{self.folder} is unfinished; give the `mien train` command that began it again, with --resume"
            )
        state, _ = load_tensors(path)
        if hash_weights(state) != self.info.get("weights_sha256"):
            raise RunError(f"{path} does not hold the weights that run.json names; restore the file or train again")
        module = systems.create(
            self.system, classes=len(self.label_set), channels=self.recipe.input.channels, **self.recipe.system
        )
        load_strictly(module, state, str(path))
        if self.recipe.stages:
            module.begin_stage(self.recipe.staged[-1].name)
        return module.to(device).eval()

    def subject(self, device: str = "cpu") -> Subject:
        """What `mien.evaluate` works with: the network in full precision, and where it comes from."""
        from mien.evaluation.devices import device_of
        from mien.evaluation.environment import environment
        from mien.evaluation.scorers import torch_logits

        device = device_of(device)
        return Subject(
            system=self.system,
            kind="run",
            label_set=self.label_set,
            input=self.recipe.input,
            logits=torch_logits(self.module(device), channels_last=self.recipe.channels_last),
            recipe=self.recipe.to_dict(),
            recipe_hash=self.recipe.hash,
            seed=self.seed,
            weights_sha256=self.info["weights_sha256"],
            extra_data=tuple(self.info.get("extra_data", ())),
            environment={**environment(device.partition(":")[0], "fp32"), **trained_in(self.info)},
            cost=self.info["cost"],
            trained=trained_with(self.info),
            source=brought_from(source(self.system)),
            trained_on=self.info["data_fingerprint"],
            train_rows=self.info["train_rows"],
            data=self.info["data"],
            searched=self.info.get("searched", ""),
        )

    def export(self, path: str | Path, **options: Any) -> Bundle:
        """Write the run as a bundle; see `mien.export.export_run`."""
        import importlib

        # Export stands above training; the method is a convenience of the public API, so it looks upwards by name.
        exported: Bundle = importlib.import_module("mien.export").export_run(self, path, **options).bundle
        return exported

    def continued(self, train: Split, selection: Split, *, resume: bool) -> Self:
        """The run itself, if its caller may go on with it.

        Where an unfinished one goes on with another commit, ``continued_with`` in ``run.json`` names it, and ``dirty``
        is set: no one commit is the source of what comes out.

        Raises:
            RunError: he did not ask to, or gives other rows.
        """
        if not resume:
            raise RunError(_there(self))
        ours = (train.fingerprint, train.rows_hash, selection.rows_hash)
        if ours != tuple(self.info[key] for key in ("data_fingerprint", "train_rows", "selection_rows")):
            raise RunError(f"{self.folder} was trained on other data; give that data set or another folder")
        if self.finished:
            return self
        revision, dirty = source_state()
        before = [self.info.get("commit"), *self.info.get("continued_with", [])]
        if revision != before[-1]:
            return replace(self, info={**self.info, "dirty": True, "continued_with": [*before[1:], revision]})
        # With changes is worse than unknown, and unknown worse than without.
        worse = max(self.info.get("dirty"), dirty, key=[False, None, True].index)
        return replace(self, info={**self.info, "dirty": worse})

    def noted(self, status: str) -> Self:
        """The run with that status, which ``run.json`` has from now on, too."""
        run = replace(self, info={**self.info, "status": status})
        run.save_info()
        return run

    def stopped(self) -> None:
        """Note that the training was stopped, unless ``run.json`` says by now that it had come to its end."""
        try:
            said = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            said = {}
        if said.get("status") != "finished":
            self.noted("stopped")

    def save_info(self) -> None:
        """Write ``run.json``, whole or not at all."""
        write_text(self.folder / "run.json", json.dumps(self.info, indent=2, ensure_ascii=False) + "\n")


def beginning(recipe: Written, train: Split, selection: Split, *, seed: int) -> dict[str, Any]:
    """What ``run.json`` says of a run before it has learnt anything, without extra data."""
    revision, dirty = source_state()
    return {
        "schema": SCHEMA,
        "status": "running",
        "system": recipe.system_id,
        **({"source": brought} if (brought := source(recipe.system_id)) else {}),
        "recipe_hash": recipe.hash,
        "seed": seed,
        **notes_of(train.face_set),
        "train_rows": train.rows_hash,
        "selection_rows": selection.rows_hash,
        "label_set": train.label_set.name,
        "labels": list(train.label_set.labels),
        "extra_data": [],
        "commit": revision,
        "dirty": dirty,
    }


def check_source(run: Run) -> None:
    """Refuse to go on (`RunError`) with a run whose system was another class, in another file, or has changed."""
    if not is_source(run.system, run.source):
        raise RunError(
            f"{run.folder} was begun with another {run.system!r}, that of {identity_words(run.source)}, than this one "
            f"of {identity_words(source(run.system))}; give the one it was begun with, or choose another folder"
        )


def _kind(folder: Path) -> str:
    """Of the system whose run lies there; an unreadable folder counts as a network's, whose reader says why."""
    try:
        info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return str(info.get("kind", "network"))
    except (OSError, ValueError, AttributeError):
        return "network"


def run_folder(out: str | Path, system: str, name: str, recipe_hash: str, seed: int, part: str = "") -> Path:
    """Where the run of a recipe, a seed and a part of the data lies.

    Example:
        >>> run_folder("runs", "compact", "mien", "5408c7758a27883243dc", 0).as_posix()
        'runs/compact-mien-5408c775-s0'
    """
    return Path(out) / f"{system}-{name}-{recipe_hash[:8]}-s{seed}{part and f'-{part}'}"


def check_unused(folder: Path) -> None:
    """Refuse a folder that holds a run already (`RunError`): for what can be told before torch is loaded."""
    check_free(folder)
    if (folder / "run.json").exists():
        raise RunError(_there(Run.open(folder)))


def _there(run: Run) -> str:
    return (
        f"{run.folder} exists ({run.state}); add --resume to continue it (resume=True in Python), or choose another "
        "seed or folder"
    )
