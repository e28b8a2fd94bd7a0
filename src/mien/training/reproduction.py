"""Measure a recorded result again: from its recipe by training anew, or from given weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from mien.bundle import Bundle, read_bundle
from mien.datasets import FaceSet, load_dataset
from mien.errors import InputError
from mien.evaluation import evaluate
from mien.results import Result, protocols
from mien.training.loop import Progress, train
from mien.training.recipe import Recipe
from mien.training.run import Run


def reproduce(
    recorded: Result,
    *,
    data: str | Path | None = None,
    source: str | Path | None = None,
    results: str | Path = "results",
    on_progress: Callable[[Progress], None] | None = None,
) -> Result:
    """The same measurement once more; compare the two with `mien.results.difference`.

    Where the recorded result opened the test split, this opens it again, and the ledger in ``results`` notes it.

    Args:
        recorded: what was measured.
        data: where the data set lies, if it is not imported yet.
        source: a run folder or a bundle to evaluate. Without it, a run is trained anew from the recorded recipe and
            seed, and of bundles only the default one is at hand.
        results: folder of the ledger.
        on_progress: told how a training goes.

    Raises:
        InputError: nothing that could be measured again is at hand, or the source holds other weights.
    """
    face_set_name = protocols.get(recorded.protocol).face_set
    if face_set_name is None or recorded.kind not in ("run", "bundle"):
        raise InputError(
            f"{recorded.id} is of kind {recorded.kind!r} under {recorded.protocol}; runs and bundles under a "
            "protocol with a data set of its own can be measured again"
        )
    face_set = load_dataset(face_set_name, data)
    subject: Run | Bundle
    if source is not None:
        subject = read_bundle(source) if Path(source).suffix == ".onnx" else Run.open(source)
    elif recorded.kind == "bundle":
        subject = _default_bundle(recorded)
    else:
        with tempfile.TemporaryDirectory() as folder:
            run = train(
                recorded.system,
                face_set.train,
                face_set.selection,
                recipe=Recipe.from_dict(recorded.recipe),
                seed=recorded.seed or 0,
                out=folder,
                on_progress=on_progress,
            )
            return _again(run, recorded, face_set, results)
    weights = subject.card.sha256 if isinstance(subject, Bundle) else subject.info.get("weights_sha256")
    if weights != recorded.weights_sha256:
        raise InputError(f"{source} holds other weights than those that {recorded.id} was measured with")
    return _again(subject, recorded, face_set, results)


def _again(subject: Run | Bundle, recorded: Result, face_set: FaceSet, results: str | Path) -> Result:
    split = face_set.test if recorded.opening else face_set.selection
    return evaluate(subject, split, views=recorded.views, results=results, protocol=recorded.protocol)


def _default_bundle(recorded: Result) -> Bundle:
    from mien.recognition.default import default_bundle

    bundle = default_bundle()
    if bundle.card.sha256 != recorded.weights_sha256:
        raise InputError(f"{recorded.id} was measured with another bundle than the default one; give it with --from")
    return bundle
