"""What can be evaluated, and what an evaluation has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.bundle import Bundle, InputSpec
from mien.errors import DataError, InputError, RunError, SealedSplitError
from mien.evaluation.processes import joined
from mien.evaluation.scorers import score
from mien.labels import LabelSet
from mien.results import Ledger, Opening
from mien.results.folders import default_results
from mien.results.provenance import brought_from, trained_with

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import Split
    from mien.datasets.faceset import SealedSplit
    from mien.evaluation.scorers import Logits


@dataclass(frozen=True)
class Subject:
    """A trained thing under evaluation. A run and a bundle each turn into one.

    Args:
        system: id of the system.
        kind: as in results: ``run``, ``bundle``, …
        label_set: meaning of the outputs.
        input: what the network takes.
        logits: the network: float32 (n, channels, S, S) → float32 (n, classes).
        recipe: every training choice.
        recipe_hash: its hash.
        seed: of the training; None where there is none.
        weights_sha256: hash of the weights, or of the bundle's graph.
        extra_data: data beyond the training split.
        environment: device, precision and versions of this evaluation.
        cost: seconds, epochs, params, macs, input.
        trained: commit and dirty of the source that trained it, or ``members``; None if unknown.
        source: where its system comes from, as in results; None for the systems of mien.
        trained_on: fingerprint of the face set it was trained on; empty if unknown.
        train_rows: `Split.rows_hash` of the faces it was trained on; empty if unknown.
        data: name of the face set it was trained on; empty if unknown.
        adapted: whether it was adapted to somebody's own crops, of which nothing says what they show.
        searched: the search that it is a trial of, or was trained like one; empty for everything else.
        submission: what an outsider says of it; None for everything made here.
        scores: of what is no single network: a split → float32 (n, classes); used instead of ``logits``.
        scores_kind: what the scores are: logits, probabilities, margins or clusters.
    """

    system: str
    kind: str
    label_set: LabelSet
    input: InputSpec
    logits: Logits
    recipe: Mapping[str, Any]
    recipe_hash: str
    seed: int | None
    weights_sha256: str
    extra_data: tuple[str, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)
    trained: Mapping[str, Any] | None = None
    source: Mapping[str, str] | None = None
    trained_on: str = ""
    train_rows: str = ""
    data: str = ""
    adapted: bool = False
    searched: str = ""
    submission: Mapping[str, Any] | None = None
    scores: Callable[[Split], NDArray[np.float32]] | None = None
    scores_kind: str = "logits"

    @property
    def identity(self) -> dict[str, Any]:
        """What the ledger notes of it, as keywords."""
        return {name: getattr(self, name) for name in ("system", "kind", "recipe_hash", "weights_sha256")}

    @property
    def description(self) -> dict[str, Any]:
        """What a result says of it, as keywords of `mien.results.Result.build`."""
        more = ("recipe", "seed", "extra_data", "environment", "cost", "scores_kind", "submission", "trained", "source")
        return {**self.identity, **{name: getattr(self, name) for name in more}}

    def check_unsearched(self) -> None:
        """Refuse the test split to a trial of a search (`SealedSplitError`)."""
        system = "" if self.kind == "ensemble" else self.system
        check_unsearched(self.system, self.searched, system, self.seed)

    def note_opening(self, split: SealedSplit, protocol: str, views: str, results: str | Path | None) -> Opening:
        """Note in the ledger of the folder ``results`` that this split is opened for it; the first process does so.

        Without a folder it is that of `default_results`.

        Raises:
            SealedSplitError: it is a trial of a search.
        """
        self.check_unsearched()
        ledger = Ledger(Path(results or default_results(protocol, self.source)) / "ledger.jsonl")
        return joined().on_first(
            lambda: ledger.open_split(
                protocol=protocol,
                split=split.name,
                views=views,
                data_fingerprint=split.fingerprint,
                **self.identity,
            )
        )

    def measure(self, faces: Split, views: str, advance: Callable[[int], None]) -> NDArray[np.float32]:
        """Its scores of all faces of a split; processes that torchrun started share them.

        Args:
            faces: the split.
            views: name of the view; what is no single network has its own.
            advance: told how many faces were done since it was last called.

        Returns:
            float32 (n, classes), of the kind ``scores_kind``.

        Raises:
            RunError: NaN or infinity among them.
            ProcessError: another process is lost, or was given other faces or weights.
        """
        if self.scores is not None:
            found = np.asarray(self.scores(faces))
            advance(len(faces))
        else:
            processes = joined()
            processes.check_same(
                "faces or weights", lambda: " ".join([self.weights_sha256, faces.rows_hash, faces.fingerprint, views])
            )
            found = score(faces.images, self.input, self.logits, views, progress=advance, processes=processes)
        if not np.isfinite(found).all():
            raise RunError(f"{self.system} answers with NaN or infinity on {faces.name}; its weights are broken")
        return found


def no_logits(inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ``logits`` of what is no network, whose ``scores`` are used instead."""
    raise InputError("this system is no network: it has scores of whole faces and no logits")


def trained_in(record: Mapping[str, Any]) -> dict[str, str]:
    """What a result's environment says of the training behind it, from what a run or a bundle's card says."""
    precision = record.get("environment", {}).get("precision")
    return {"trained_precision": precision} if precision else {}


def subject_of(given: Any, device: str = "cpu") -> Subject:
    """Turn a bundle, a run, or anything with a method ``subject(device)`` into a `Subject`."""
    if isinstance(given, Subject):
        return given
    if isinstance(given, Bundle):
        return _bundle_subject(given)
    if not callable(getattr(given, "subject", None)):
        raise InputError(f"{given!r:.80} cannot be evaluated; give a run, a bundle, or the path of a bundle (.onnx)")
    made: Subject = given.subject(device)
    return made


def check_unadapted(subject: Subject) -> None:
    """Refuse a bundle that was adapted (`DataError`): the crops may be the faces that it is measured on."""
    if subject.adapted:
        raise DataError(
            f"{subject.system} was adapted to crops, and nothing says that no test face is among them; measure the "
            "bundle it was adapted from, or this one as somebody else's network: --onnx FILE --adapter FILE"
        )


def check_unsearched(name: str, study: str, system: str, seed: int | None) -> None:
    """Refuse the test split to a trial of a search, whose luck was chosen together with its recipe.

    Args:
        name: of what is to be measured.
        study: the search; empty for what is no trial.
        system: id of the system to train instead; empty if it is not known.
        seed: of the trial.

    Raises:
        SealedSplitError: it is a trial.
    """
    if study:
        raise SealedSplitError(
            f"{name}: a trial of the search {study} was chosen by its luck on the selection split too, so the test "
            f"split stays sealed for it; train the best recipe with a fresh seed: mien train {system or 'SYSTEM'} "
            f"--recipe searches/{study}/best.toml --seed {(seed or 0) + 1}"
        )


def _bundle_subject(bundle: Bundle) -> Subject:
    from mien.evaluation.environment import environment
    from mien.recognition.network import shared_network
    from mien.store.cpu import cpu_count

    card, threads = bundle.card, cpu_count()
    training = card.notes.get("training", {})
    # Its figures of the selection split are of faces that the scaling was fitted on; a result says so.
    scaled = {"calibration": "vector"} if "vector_scaling" in card.notes.get("export", {}) else {}
    return Subject(
        system=card.system,
        kind="bundle",
        label_set=card.labelset(),
        input=card.input,
        logits=shared_network(bundle, threads).logits,
        recipe=training.get("recipe", {}),
        recipe_hash=card.recipe_hash,
        seed=training.get("seed"),
        weights_sha256=card.sha256,
        extra_data=card.extra_data,
        environment={**environment("cpu", card.precision, threads), **scaled, **trained_in(training)},
        cost={**training.get("cost", {}), "bytes": len(bundle.model)},
        trained=training.get("trained") or trained_with(training),  # an ensemble in one graph has several
        source=brought_from(training.get("source")),
        trained_on=training.get("data_fingerprint", ""),
        train_rows=training.get("train_rows", ""),
        data=training.get("data", ""),
        adapted="adaptation" in card.notes,
        searched=training.get("searched", ""),
    )
