"""Labels that a cross-validated classifier does not believe, by confident learning.

The predictions come from a result recorded under ``fer2013/folds@1``: each face was scored by the network that was
trained without it and without its copies, and probabilities are calibrated fold by fold.

Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels", as cleanlab has it.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.audit.finding import Entry, Finding, face
from mien.audit.pictures import Pictures
from mien.datasets import UNLABELLED
from mien.errors import DataError, InputError, MissingExtraError
from mien.results import Result
from mien.results.finding import find
from mien.store.archives import check_zip

_EXPLAIN = "an npz with probabilities (n, classes), rows summing to 1, and rows (n,), their row numbers"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Probabilities for faces by a classifier that was not trained on them.

    Args:
        probabilities: float64 (n, classes), rows sum to 1.
        rows: int64 (n,), row numbers.
    """

    probabilities: NDArray[np.float64]
    rows: NDArray[np.int64]


def read_predictions(path: str | Path, pictures: Pictures) -> Predictions:
    """Cross-validated probabilities: a result recorded under ``fer2013/folds@1``, or an npz.

    Args:
        path: the json of a result, the first digits of its id (looked up under ``results``), or an npz.
        pictures: what was predicted.

    Raises:
        DataError: it is neither, or does not fit the data set.
        ResultError: no result of that name, or one that does not hold.
    """
    path = Path(path)
    if path.suffix != ".npz" or path.with_suffix(".json").exists():
        return _of_result(find(path), pictures, path)
    try:
        with path.open("rb") as stream:
            check_zip(stream, str(path))
            with np.load(stream, allow_pickle=False) as arrays:
                missing = [name for name in ("probabilities", "rows") if name not in arrays]
                if missing:
                    raise DataError(f"it has no array {missing[0]!r}; give {_EXPLAIN}", file=path)
                probabilities = np.asarray(arrays["probabilities"], np.float64)
                rows = np.asarray(arrays["rows"])
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"it cannot be read as an npz ({error}); give {_EXPLAIN}", file=path) from error
    return _checked(probabilities, rows, pictures, path)


def suspects(pictures: Pictures, predictions: Predictions) -> Finding:
    """The faces whose label is probably wrong, least believable first.

    Args:
        pictures: labelled faces.
        predictions: of a classifier that never saw the face that it scores.

    Raises:
        MissingExtraError: cleanlab is not installed.
        InputError: the predictions are about test faces, whose labels stay sealed.
    """
    try:
        from cleanlab.filter import find_label_issues
    except ImportError as error:
        raise MissingExtraError("finding noisy labels", "audit") from error
    if pictures.sealed[predictions.rows].any():
        raise InputError(
            "the predictions are about faces of the sealed test split; leave those rows out, "
            "an audit must not say how well they were recognised"
        )
    labels = pictures.labels[predictions.rows].astype(np.int64)
    known = labels != UNLABELLED
    rows, labels, probabilities = predictions.rows[known], labels[known], predictions.probabilities[known]
    if len(np.unique(labels)) < 2:
        raise InputError("label noise can be told only where faces of two or more classes are predicted")
    found = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    guesses = probabilities.argmax(axis=1)
    entries = tuple(
        Entry(
            (face(pictures, int(rows[index])),),
            round(float(probabilities[index, labels[index]]), 4),
            f"predicted {pictures.label_names[int(guesses[index])]}",
        )
        for index in found
    )
    counts: dict[str, int | float] = {"examined": len(rows), "candidates": len(entries)}
    if pictures.facts is not None:
        # Somebody else was asked, too: where most FER+ raters agree, whom do they side with?
        clear = pictures.facts.ferplus_clear[rows[found]]
        votes = pictures.facts.ferplus_plurality[rows[found]]
        counts |= {
            "raters_agree": int(clear.sum()),
            "raters_side_with_prediction": int((clear & (votes == guesses[found])).sum()),
            "raters_side_with_label": int((clear & (votes == labels[found])).sum()),
        }
    return Finding(
        name="label-noise",
        title="Labels that a classifier does not believe",
        sentence="Cross-validated predictions contradict these labels more than chance explains (confident learning). "
        "They are candidates to look at: the score is the probability given to the label.",
        weight="remark",
        entries=entries,
        counts=counts,
    )


def _of_result(result: Result, pictures: Pictures, path: Path) -> Predictions:
    calibrated = result.probabilities()
    if result.protocol != "fer2013/folds@1" or calibrated is None:
        raise DataError("only results of fer2013/folds@1 hold cross-validated probabilities of Training", file=path)
    if pictures.facts is None:
        raise DataError("the result is about the official FER2013, but something else is audited", file=path)
    return _checked(calibrated.probabilities, result.arrays["test_rows"], pictures, path)


def _checked(
    probabilities: NDArray[np.float64], rows: NDArray[np.generic], pictures: Pictures, path: Path
) -> Predictions:
    classes = len(pictures.label_names)
    if probabilities.shape != (len(rows), classes) or rows.ndim != 1 or rows.dtype.kind not in "iu" or not len(rows):
        raise DataError(
            f"probabilities are {probabilities.shape} and rows {rows.dtype} {rows.shape}, but {pictures.name} has "
            f"{classes} classes; give {_EXPLAIN}",
            file=path,
        )
    rows = rows.astype(np.int64)
    if rows.min() < 0 or rows.max() >= len(pictures) or len(np.unique(rows)) < len(rows):
        raise DataError(f"rows must lie between 0 and {len(pictures) - 1:,}, each once", file=path)
    sums = probabilities.sum(axis=1)
    if not np.isfinite(probabilities).all() or (probabilities < 0).any() or (np.abs(sums - 1) > 1e-3).any():
        raise DataError("probabilities must not be negative and must sum to 1 in each row", file=path)
    return Predictions(probabilities / sums[:, None], rows.astype(np.int64))
