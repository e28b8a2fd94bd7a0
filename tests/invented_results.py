"""Invented results under the real protocol, for pages: no face is needed, and no number here means anything."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mien.results import Ledger, Result, protocols

PROTOCOL = "fer2013/private@1"
HOSTILE = '<img src=x onerror="window.hacked=1">=1+1'
"""A title that a submission may well have."""


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def scores(answers: Any, skill: float, seed: int) -> np.ndarray:
    """Logits (n, 7) of which about ``skill`` are right; confused neighbours and rare classes do worse."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(answers), 7)) * 0.6
    hard = np.array([0.0, -0.04, -0.2, 0.16, -0.12, 0.08, 0.0])[answers.labels]
    right = rng.random(len(answers)) < skill + hard
    other = np.array([6, 0, 4, 6, 6, 2, 4])[answers.labels]
    said = np.where(
        right, answers.labels, np.where(rng.random(len(answers)) < 0.6, other, rng.integers(0, 7, len(answers)))
    )
    logits[np.arange(len(answers)), said] += np.where(right, 3.2, 1.6) * rng.uniform(0.3, 1.2, len(answers))
    return logits.astype(np.float32)


def invent(folder: Path, system: str, *, skill: float, seed: int = 0, views: str = "one", **changes: Any) -> Result:
    """Record one result."""
    known = protocols.get(PROTOCOL)
    number = int(digest(f"{system} {views} {seed}")[:6], 16)
    assert known.selection is not None
    values: dict[str, Any] = {
        "protocol": PROTOCOL,
        "system": system,
        "kind": "run",
        "recipe": {"epochs": 2},
        "recipe_hash": digest(f"recipe {system}"),
        "seed": seed,
        "views": views,
        "extra_data": [],
        "data_fingerprint": known.data_fingerprint,
        "weights_sha256": digest(f"weights {system} {seed}"),
        "environment": {"device": "an invented device", "precision": "fp32"},
        "cost": {"seconds": 4000.0, "epochs": 2, "params": 1_000_000, "macs": 90_000_000, "input": [1, 48, 48]},
        "scores_kind": "logits",
        "selection_scores": scores(known.selection, skill - 0.005, number),
        "test_scores": scores(known.test, skill, number + 1),
        "created": "2026-01-31T12:00:00Z",
    } | changes
    names = ("system", "kind", "recipe_hash", "weights_sha256", "views", "data_fingerprint")
    opening = Ledger(folder / "ledger.jsonl").open_split(
        PROTOCOL, known.test_split, **{name: values[name] for name in names}
    )
    result = Result.build(**values, opening=opening)
    result.save(folder)
    return result


def submit(folder: Path, *, title: str = HOSTILE, system: str = "my-network", skill: float = 0.7) -> Result:
    """Record what an outsider sent, under a title of their choice."""
    about = {
        "title": title,
        "authors": [title],
        "url": "https://example.org",
        "notes": "",
        "description": "",
        "code": "",
        "paper": "",
    }
    return invent(
        folder, system, skill=skill, kind="submitted", recipe={}, recipe_hash=digest("none"), seed=None,
        views="submitted", weights_sha256="", extra_data=["ImageNet-1k"], environment={}, cost={}, submission=about,
    )  # fmt: skip


def board(folder: Path, systems: Sequence[tuple[str, float, int]] = (("vggnet", 0.72, 2), ("compact", 0.7, 1))) -> Path:
    """A folder of results: (system, skill, seeds) each under two views."""
    for system, skill, seeds in systems:
        params = 10 ** (6 + 2 * int(digest(system)[:4], 16) / 65535)
        cost = {"seconds": 4000.0, "epochs": 2, "params": int(params), "macs": int(params * 40), "input": [1, 48, 48]}
        for seed in range(seeds):
            invent(folder, system, skill=skill + 0.002 * seed, seed=seed, cost=cost)
            invent(folder, system, skill=skill + 0.006 + 0.002 * seed, seed=seed, views="flip", cost=cost)
    return folder
