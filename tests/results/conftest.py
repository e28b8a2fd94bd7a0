"""Invented scores under the real protocols: no face is needed to test how results are kept."""

import hashlib

import numpy as np
import pytest

from mien.results import Ledger, Result, protocols


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def invented_scores(answers, *, skill=0.7, seed=0, classes=None):
    """Logits (n, classes) of which about ``skill`` are right."""
    rng = np.random.default_rng(seed)
    classes = classes or 7
    logits = rng.normal(size=(len(answers), classes)) * 0.5
    favoured = np.where(rng.random(len(answers)) < skill, answers.labels, rng.integers(0, classes, len(answers)))
    logits[np.arange(len(answers)), favoured] += 3
    return logits.astype(np.float32)


def invented_result(folder, *, system="vggnet", seed=0, skill=0.7, protocol="fer2013/private@1", **changes):
    """A result with an opening in the ledger of ``folder``; not saved."""
    known = protocols.get(protocol)
    classes = len(known.label_set)
    values = {
        "protocol": protocol,
        "system": system,
        "kind": "run",
        "recipe": {"epochs": 2, "lr": 0.1},
        "recipe_hash": digest("recipe"),
        "seed": seed,
        "views": "one",
        "extra_data": [],
        "data_fingerprint": known.data_fingerprint,
        "weights_sha256": digest(f"weights {system} {seed}"),
        "environment": {"device": "cpu", "precision": "fp32"},
        "cost": {"seconds": 1.5, "epochs": 2, "params": 10, "macs": 20, "input": [1, 48, 48]},
        "scores_kind": "logits",
        "selection_scores": None
        if known.selection is None
        else invented_scores(known.selection, skill=skill, seed=2 * seed, classes=classes),
        "test_scores": invented_scores(known.test, skill=skill, seed=2 * seed + 1, classes=classes),
        "created": "2026-01-31T12:00:00Z",
    } | changes
    if known.sealed and values["test_scores"] is not None and "opening" not in values:
        names = ("system", "kind", "recipe_hash", "weights_sha256", "views", "data_fingerprint")
        ledger = Ledger(folder / "ledger.jsonl")
        values["opening"] = ledger.open_split(protocol, known.test_split, **{name: values[name] for name in names})
    return Result.build(**values)


@pytest.fixture(scope="session")
def invent():
    return invented_result


@pytest.fixture(scope="session")
def invent_scores():
    return invented_scores


@pytest.fixture(scope="session")
def recorded(tmp_path_factory):
    """A folder with four results of two systems; tests only read it."""
    folder = tmp_path_factory.mktemp("results")
    for system, skill in (("vggnet", 0.66), ("compact", 0.8)):
        for seed in (0, 1):
            invented_result(folder, system=system, seed=seed, skill=skill).save(folder)
    return folder
