"""Measure a recorded result again: from the very weights, from its recipe by training anew, or from its members."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from mien.bundle import Bundle
from mien.datasets import FaceSet, load_dataset
from mien.errors import InputError
from mien.evaluation import evaluate, parts
from mien.results import Result, protocols
from mien.store import scratch_directory
from mien.training.begin import train
from mien.training.classical import ClassicalRecipe
from mien.training.given import ingredients
from mien.training.progress import Progress
from mien.training.recipe import Recipe
from mien.training.run import Run
from mien.training.trained import open_trained

_FITTED = ("classical", "clustering")


def reproduce(
    recorded: Result,
    *,
    data: str | Path | None = None,
    source: str | Path | None = None,
    retrain: bool = False,
    results: str | Path = "results",
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """The same measurement once more; compare the two with `mien.results.difference`.

    A bundle is evaluated again, and with ``retrain`` trained, exported and evaluated. A run has to be trained again,
    unless ``source`` says where it lies; under cross-validation all its folds are. A system that is no network is
    fitted again, and an ensemble is put together from the recorded results of its members. Where the recorded result
    opened the test split, this opens it again, and the ledger in ``results`` notes it.

    Args:
        recorded: what was measured.
        data: where the data set lies, if it is not imported yet.
        source: a run folder or a bundle to evaluate. Of bundles the default one is found without it.
        retrain: train from the recorded recipe and seed even if the weights are at hand.
        results: folder of the ledger; an ensemble's members are looked up in ``results`` and ``my-results``, too.
        on_progress: told how a training goes.

    Raises:
        InputError: nothing that could be measured again is at hand, or the source holds other weights.
    """
    protocol = protocols.get(recorded.protocol)
    if recorded.kind == "ensemble":
        if retrain or source is not None:
            raise InputError("an ensemble is put together from its recorded members: leave out the training and source")
        # Ensembles stand above training; whoever holds a result need not know that, so it looks upwards by name.
        rebuilt: Result = importlib.import_module("mien.ensembles.again").rebuild(recorded, results)
        return rebuilt
    if protocol.face_set is None or recorded.kind not in ("run", "bundle", *_FITTED):
        raise InputError(
            f"{recorded.id} is of kind {recorded.kind!r} under {recorded.protocol}; what was made here under a "
            "protocol with a data set of its own can be measured again"
        )
    if retrain and source is not None:
        raise InputError("training again needs no weights: leave the source away, or do not ask for a training")
    face_set = load_dataset(protocol.face_set, data)
    if retrain or (recorded.kind in ("run", *_FITTED) and source is None):
        return _retrained(recorded, face_set, results, on_progress)
    subject = _default_bundle(recorded) if source is None else open_trained(source)
    weights = subject.card.sha256 if isinstance(subject, Bundle) else subject.info.get("weights_sha256")
    if weights != recorded.weights_sha256:
        raise InputError(f"{source} holds other weights than those that {recorded.id} was measured with")
    return _again(subject, recorded, face_set, results)


def _retrained(
    recorded: Result, face_set: FaceSet, results: str | Path, on_progress: Callable[[Progress], None] | None
) -> Result:
    if not recorded.recipe or recorded.seed is None:
        raise InputError(f"{recorded.id} says neither recipe nor seed, so it cannot be trained again")
    fitted = recorded.kind in _FITTED
    recipe = (ClassicalRecipe if fitted else Recipe).from_dict(recorded.recipe)
    if isinstance(recipe, Recipe) and (lacking := ingredients(recipe)):
        raise InputError(
            f"{recorded.id} was trained with {' and '.join(lacking)}, which a recorded recipe names by hash only; "
            "train it again with `mien train` or `mien distill`"
            + (", export it, and evaluate the bundle" if recorded.kind == "bundle" else ", and give the run here")
        )
    with scratch_directory() as folder:
        runs = [
            train(
                recorded.system,
                part.train,
                part.selection,
                recipe=recipe,
                seed=recorded.seed,
                out=folder,
                part=part.name,
                on_progress=on_progress,
            )
            for part in parts(face_set, recorded.protocol)
        ]
        if len(runs) > 1:
            return evaluate(runs, face_set.train, views=recorded.views, protocol=recorded.protocol)
        if fitted or recorded.kind == "run":
            return _again(runs[0], recorded, face_set, results)
        said = recorded.environment
        precision, calibration = str(said.get("precision", "fp32")), str(said.get("calibration", "temperature"))
        bundle = runs[0].export(folder / "again.onnx", data=face_set, precision=precision, calibration=calibration)
        return _again(bundle, recorded, face_set, results)


def _again(subject: Run | Bundle, recorded: Result, face_set: FaceSet, results: str | Path) -> Result:
    split = face_set.test if recorded.opening else face_set.selection
    return evaluate(subject, split, views=recorded.views, results=results, protocol=recorded.protocol)


def _default_bundle(recorded: Result) -> Bundle:
    from mien.recognition.bundles import default_bundle

    bundle = default_bundle()
    if bundle.card.sha256 != recorded.weights_sha256:
        raise InputError(
            f"{recorded.id} was measured with another bundle than the default one; name its file, or train it again"
        )
    return bundle
