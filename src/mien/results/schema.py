"""A result: a number that was measured, with the predictions that prove it.

Two files lie side by side: ``<id>.json`` says what was measured and what came out, ``<id>.npz`` holds the scores of
every face. The id is a hash of the whole content, so a changed number is another result. Reading is strict: what is
not exactly a result is refused with the reason.
"""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from mien.errors import ResultError
from mien.labels import LabelSet
from mien.results import protocols
from mien.results.arrays import Array, hash_arrays, read_arrays, write_arrays
from mien.results.canonical import canonical_json, content_hash, strict_json
from mien.results.folders import default_results
from mien.results.ledger import Ledger, Opening
from mien.results.protocols import Answers
from mien.results.provenance import UNKNOWN, source_state, training_words
from mien.results.saving import saving
from mien.results.scoring import SCORES, Calibrated, Scores, calibrate, derive
from mien.results.validation import (
    NAMES,
    SCHEMA,
    check_arrays,
    check_fields,
    check_opening,
    expected,
    storable,
    with_known,
    without_known,
)
from mien.store import write_text
from mien.store.launch import rank

LEDGER = "ledger.jsonl"
MAX_JSON_BYTES = 1 << 20
_ID_LENGTH = 16


@dataclass(frozen=True, eq=False)
class Result:
    """A measured result. Make one with `Result.build`, read one with `Result.load`.

    Args:
        id: hash of everything below and of the predictions, 16 hexadecimal digits.
        protocol: name of the protocol.
        system: id of the system.
        kind: run, bundle, ensemble, classical, clustering or submitted.
        recipe: every training choice, as JSON.
        recipe_hash: hash of the recipe, hexadecimal.
        seed: of the training, None where there was none.
        views: name of the view.
        extra_data: data beyond the protocol's training split; empty when there is none.
        data_fingerprint: fingerprint of the face set.
        weights_sha256: hash of the weights; empty for a submission.
        commit: of the source that measured, None for an installed package.
        dirty: whether that source had changes.
        environment: device, precision, versions.
        cost: seconds, epochs, parameters, MACs, input.
        labels: names of the score columns.
        scores: what the scores are: logits, probabilities, margins or clusters.
        metrics: see `mien.results.scoring.derive`; accuracies are shares, 0–1.
        confusion: counts, row = label, column = prediction; of the test split where there is one.
        created: UTC, ISO 8601 to the second.
        opening: hash of the ledger's line that opened the test split; None where it was not opened.
        submission: what an outsider said of their predictions; None for everything measured here.
        predictions_sha256: hash of the arrays.
        arrays: the predictions: ``selection_rows`` int32 (n,), ``selection_scores`` float16 or float32
            (n, classes), likewise ``test_…``; a protocol about own data adds ``…_labels``, ``…_groups``, ``…_fit``.
            The npz holds all of them but rows that the protocol knows: those are its faces, in its order.
            Logits are recorded with the highest of each face at 0, which changes no probability, and the others below
            it as multiples of 1/32, or of the power of two that gives them five bits (of older results finer);
            of clusters the decided one is 1.
        across: ``trained_on``, ``tested_on`` and ``split`` of a cross result, names of data sets; None elsewhere.
        trained: ``commit`` and ``dirty`` of the source that trained it, which is rarely the one that measured it; of
            several networks the list ``members``. None for submissions and for results recorded before it was noted.
        source: of a system that is not in the registry the ``sha256`` of the file that holds it, or, where it was given
            as a card, the name of its ``class``; None for all others.
        noted: the same from ``trainings.toml`` beside the results, for those; no part of the content.
    """

    id: str
    protocol: str
    system: str
    kind: str
    recipe: Mapping[str, Any]
    recipe_hash: str
    seed: int | None
    views: str
    extra_data: tuple[str, ...]
    data_fingerprint: str
    weights_sha256: str
    commit: str | None
    dirty: bool | None
    environment: Mapping[str, Any]
    cost: Mapping[str, Any]
    labels: tuple[str, ...]
    scores: str
    metrics: Mapping[str, Any]
    confusion: list[list[int]]
    created: str
    opening: str | None
    submission: Mapping[str, Any] | None
    predictions_sha256: str
    arrays: Mapping[str, Array] = field(repr=False)
    across: Mapping[str, str] | None = None
    trained: Mapping[str, Any] | None = None
    source: Mapping[str, str] | None = None
    noted: Mapping[str, Any] | None = field(default=None, repr=False)

    @classmethod
    def build(
        cls,
        *,
        protocol: str,
        system: str,
        kind: str,
        recipe: Mapping[str, Any],
        recipe_hash: str,
        seed: int | None,
        views: str,
        extra_data: Sequence[str],
        data_fingerprint: str,
        weights_sha256: str,
        environment: Mapping[str, Any],
        cost: Mapping[str, Any],
        scores_kind: str,
        selection_scores: ArrayLike | None,
        test_scores: ArrayLike | None = None,
        opening: Opening | None = None,
        submission: Mapping[str, Any] | None = None,
        label_set: LabelSet | None = None,
        answers: tuple[Answers | None, Answers | None] | None = None,
        created: str | None = None,
        across: Mapping[str, str] | None = None,
        trained: Mapping[str, Any] | None = None,
        source: Mapping[str, str] | None = None,
    ) -> Result:
        """A result from scores: metrics, confusion matrix and id are derived, never given.

        Args:
            protocol: name; the scores are of its faces, in its order (``mien.results.protocols.get(name).test.rows``).
            system: id of the system.
            kind: see the class.
            recipe: see the class.
            recipe_hash: see the class.
            seed: see the class.
            views: see the class.
            extra_data: see the class.
            data_fingerprint: see the class.
            weights_sha256: see the class.
            environment: see the class.
            cost: see the class.
            scores_kind: logits, probabilities, margins or clusters.
            selection_scores: float (n, classes) of the selection split; None only under cross-validation or for a
                submission without it.
            test_scores: float (n, classes) of the test split; None where it stays sealed.
            opening: what the ledger gave when the test split was opened.
            submission: what an outsider said; only for kind submitted.
            label_set: of the columns; only for a protocol about own data.
            answers: of selection and test; only for a protocol about own data.
            created: UTC; now, by default.
            across: see the class.
            trained: see the class; whatever was trained here says so, and what is not given counts as unknown.
            source: see the class.

        Raises:
            ResultError: scores that do not fit the protocol, a test split without an opening, a bad field.
        """
        known = protocols.get(protocol)
        names = (known.label_set or label_set or LabelSet("", ())).labels
        if scores_kind not in SCORES:
            raise ResultError(f"scores are one of {', '.join(SCORES)}, not {scores_kind!r}")
        arrays: dict[str, Array] = {}
        for side, given in (("selection", selection_scores), ("test", test_scores)):
            if given is not None:
                faces = expected(known, side, answers)
                arrays[f"{side}_rows"] = faces.rows.astype(np.int32)
                arrays[f"{side}_scores"] = storable(given, scores_kind, len(faces), len(names), side)
                if known.answers is None:
                    arrays[f"{side}_labels"] = faces.labels.astype(np.uint8)
                    arrays[f"{side}_groups"] = faces.groups.astype(np.int32)
                    arrays[f"{side}_fit"] = faces.fit.astype(bool)
        for array in arrays.values():
            array.setflags(write=False)
        content: dict[str, Any] = {
            "schema": SCHEMA,
            "protocol": protocol,
            "system": system,
            "kind": kind,
            "recipe": dict(recipe),
            "recipe_hash": recipe_hash,
            "seed": seed,
            "views": views,
            "extra_data": list(extra_data),
            "data_fingerprint": data_fingerprint,
            "weights_sha256": weights_sha256,
            "commit": source_state()[0],
            "dirty": source_state()[1],
            "environment": dict(environment),
            "cost": dict(cost),
            "labels": list(names),
            "scores": scores_kind,
            "created": created or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "opening": opening.hash if opening else None,
            "submission": dict(submission) if submission is not None else None,
            "predictions_sha256": hash_arrays(arrays),
            "metrics": {},
            "confusion": [],
            **({"across": dict(across)} if across is not None else {}),
            **({} if kind == "submitted" else {"trained": dict(trained or UNKNOWN)}),
            **({"source": dict(source)} if source is not None else {}),
        }
        try:
            content = strict_json(canonical_json(content), "the result")
        except (TypeError, ValueError) as error:
            raise ResultError(f"recipe, environment and cost hold plain JSON and finite numbers ({error})") from None
        check_fields(content, "the result")
        check_arrays(content, arrays, "the result")
        if opening is not None:
            check_opening(content, opening)
        content["metrics"], content["confusion"] = _derive(content, arrays)
        content["id"] = content_hash(content)[:_ID_LENGTH]
        return _from_content(content, arrays)

    def save(self, folder: str | Path) -> Path:
        """Write both files under ``folder`` and note the result in its ledger; saving twice changes nothing.

        Of several processes that torchrun started the first one writes.

        Args:
            folder: usually ``results``; the files go to ``<protocol>/<system>/<id>.json`` and ``.npz`` below it.

        Returns:
            The path of the json.

        Raises:
            ResultError: the opening of the test split is noted in another ledger than that of this folder.
        """
        if rank():
            return self.path(folder)  # of several processes the first one writes
        ledger = Ledger(Path(folder) / LEDGER)
        if self.opening is not None and self.opening not in {opening.hash for opening in ledger.openings()}:
            raise ResultError(
                f"the opening of the test split is not noted in {ledger.path}; save the result beside the ledger that "
                "noted it"
            )
        path = self.path(folder)
        with saving(path, ledger):
            if not path.exists():
                write_arrays(path.with_suffix(".npz"), without_known(self.arrays, self.protocol))
                write_text(path, _pretty(self.to_json()))
            if self.id not in ledger.recorded():
                ledger.record(self.protocol, self.system, self.id)
        return path

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read a result and check that it is whole: fields, shapes, finite numbers, hashes, the protocol's faces.

        Whether its metrics follow from its predictions is what `recompute` and ``mien results verify`` say.

        Args:
            path: of the json (the npz of the same name lies beside it).

        Raises:
            ResultError: naming the file and what is wrong with it.
        """
        path = Path(path)
        try:
            if path.stat().st_size > MAX_JSON_BYTES:
                raise ResultError(f"{path} is larger than a result can be ({MAX_JSON_BYTES >> 20} MiB)")
            text = path.read_bytes()
        except OSError as error:
            raise ResultError(f"{path}: {error.strerror or error}; give the .json of a result") from None
        content = strict_json(text, str(path))
        if not isinstance(content, dict):
            raise ResultError(f"{path} is no result: it holds no JSON object")
        check_fields(content, str(path), has_id=True)
        arrays = with_known(read_arrays(path.with_suffix(".npz"), NAMES), content["protocol"])
        if hash_arrays(arrays) != content["predictions_sha256"]:
            raise ResultError(f"{path.with_suffix('.npz')} was changed: its predictions do not match the recorded hash")
        hashed = content_hash({key: value for key, value in content.items() if key != "id"})[:_ID_LENGTH]
        if content["id"] != hashed:
            raise ResultError(f"{path} was changed: the hash of its content is {hashed}, its id says {content['id']}")
        if path.stem != content["id"]:
            raise ResultError(f"{path} was renamed: its id is {content['id']}")
        check_arrays(content, arrays, str(path))
        return _from_content(content, arrays)

    def to_json(self) -> dict[str, Any]:
        """The content of the json file, in reading order."""
        return {
            "schema": SCHEMA,
            "id": self.id,
            "protocol": self.protocol,
            "system": self.system,
            "kind": self.kind,
            "views": self.views,
            "seed": self.seed,
            "metrics": dict(self.metrics),
            "confusion": self.confusion,
            "labels": list(self.labels),
            "extra_data": list(self.extra_data),
            "scores": self.scores,
            "recipe": dict(self.recipe),
            "recipe_hash": self.recipe_hash,
            "weights_sha256": self.weights_sha256,
            "data_fingerprint": self.data_fingerprint,
            "predictions_sha256": self.predictions_sha256,
            "opening": self.opening,
            "commit": self.commit,
            "dirty": self.dirty,
            "environment": dict(self.environment),
            "cost": dict(self.cost),
            "submission": dict(self.submission) if self.submission is not None else None,
            "created": self.created,
            **({"across": dict(self.across)} if self.across is not None else {}),
            **({"trained": dict(self.trained)} if self.trained is not None else {}),
            **({"source": dict(self.source)} if self.source is not None else {}),
        }

    def path(self, folder: str | Path) -> Path:
        """Where the json lies under ``folder``."""
        return Path(folder).joinpath(*self.protocol.split("/"), self.system, f"{self.id}.json")

    @property
    def home(self) -> Path:
        """The folder that it is recorded in where nobody names one: ``results``, or ``my-results``."""
        return Path(default_results(self.protocol, self.source, tested=self.test is not None))

    def recompute(self) -> tuple[dict[str, Any], list[list[int]]]:
        """Metrics and confusion matrix, derived anew from the recorded predictions."""
        return _derive(self.to_json(), self.arrays)

    @property
    def training(self) -> Mapping[str, Any] | None:
        """The source it was trained with, as recorded or as noted afterwards; None where nobody knows."""
        return self.trained if self.trained is not None else self.noted

    @property
    def training_words(self) -> str:
        """The same in a few letters, with a mark unless it is a commit without changes."""
        return "elsewhere" if self.kind == "submitted" else training_words(self.training)

    @property
    def selection(self) -> Answers | None:
        """Labels, groups and slices of the selection split, or None without scores on it."""
        return _answers(self.to_json(), self.arrays, "selection")

    @property
    def test(self) -> Answers | None:
        """Labels, groups and slices of the test split, or None where it stayed sealed."""
        return _answers(self.to_json(), self.arrays, "test")

    @property
    def selection_scores(self) -> Scores | None:
        """Scores of the selection split as recorded, (n, classes)."""
        return _scores(self.arrays, "selection")

    @property
    def test_scores(self) -> Scores | None:
        """Scores of the test split as recorded, (n, classes)."""
        return _scores(self.arrays, "test")

    def probabilities(self) -> Calibrated | None:
        """Probabilities of the test faces, raw and calibrated; None without a test or for other scores."""
        test, scores = self.test, self.test_scores
        if test is None or scores is None:
            return None
        return calibrate(self.scores, test, scores, self.selection, self.selection_scores)

    def __str__(self) -> str:
        m = self.metrics
        if "accuracy" not in m:
            low, high = m["selection_accuracy_ci95"]
            return f"selection {_percent(m['selection_accuracy'])} [{100 * low:.1f}, {100 * high:.1f}] (never ranked)"
        low, high = m["accuracy_ci95"]
        parts = [
            f"{_percent(m['accuracy'])} [{100 * low:.1f}, {100 * high:.1f}]",
            f"macro-F1 {_percent(m['macro_f1'])}",
        ]
        if protocols.get(self.protocol).class_mean:
            parts.append(f"mean of classes {_percent(m['balanced_accuracy'])}")
        if "nll" in m:
            parts.append(f"NLL {m['nll']:.3f}")
        if "accuracy_clean" in m:
            parts.append(f"{_percent(m['accuracy_clean'])} on clean@1")
        return " · ".join(parts)


def _derive(content: Mapping[str, Any], arrays: Mapping[str, Array]) -> tuple[dict[str, Any], list[list[int]]]:
    return derive(
        content["scores"],
        len(content["labels"]),
        _answers(content, arrays, "selection"),
        _scores(arrays, "selection"),
        _answers(content, arrays, "test"),
        _scores(arrays, "test"),
    )


def _answers(content: Mapping[str, Any], arrays: Mapping[str, Array], side: str) -> Answers | None:
    if f"{side}_scores" not in arrays:
        return None
    protocol = protocols.get(content["protocol"])
    if protocol.answers is not None:
        return protocol.selection if side == "selection" else protocol.test
    return Answers(
        split=(protocol.selection_split or "selection") if side == "selection" else protocol.test_split,
        rows=arrays[f"{side}_rows"].astype(np.int64),
        labels=arrays[f"{side}_labels"].astype(np.uint8),
        groups=arrays[f"{side}_groups"].astype(np.int32),
        fit=arrays[f"{side}_fit"].astype(bool),
        folds=protocol.folds_of(arrays[f"{side}_groups"].astype(np.int32)) if side == "test" else None,
    )


def _scores(arrays: Mapping[str, Array], side: str) -> Scores | None:
    scores: Any = arrays.get(f"{side}_scores")
    return scores  # type: ignore[no-any-return]


def _from_content(content: Mapping[str, Any], arrays: Mapping[str, Array]) -> Result:
    values = {key: value for key, value in content.items() if key != "schema"}
    values["extra_data"], values["labels"] = tuple(content["extra_data"]), tuple(content["labels"])
    return Result(**values, arrays=dict(arrays))


def _pretty(content: Mapping[str, Any]) -> str:
    """JSON with one field per line and a row of numbers on one line: small, and readable in a diff."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # A line break never stands inside a JSON string, so only lists of numbers are touched.
    return re.sub(r'\[\n[^\[\]{}"]*\]', lambda found: re.sub(r",?\s*\n\s*", _joint, found[0]), text) + "\n"


def _joint(found: re.Match[str]) -> str:
    return ", " if found[0].startswith(",") else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
