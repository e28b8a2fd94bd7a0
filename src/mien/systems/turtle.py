"""TURTLE: expressions without labels, from features that others learnt (Gadetsky, Jiang & Brbić 2024).

Paper: A. Gadetsky, Y. Jiang, M. Brbić, "Let Go of Your Labels with Unsupervised Transfer", ICML 2024. Public code:
github.com/mlbio-epfl/turtle (`run_turtle.py`, `utils.py`, `cross_val.py`).
Known from the code: a labelling that is linear in each feature space, weight-normalised, softmax averaged over spaces;
6,000 outer Adam steps on batches of 10,000; heads that begin anew at each step and take 10 Adam steps, both at a rate
of 1e-3; an entropy term of weight 10; the choice between runs by how well linear classifiers generalise to held-out
pseudo-labels; accuracy after the best matching of clusters and classes. About 36 % on FER2013 with CLIP ViT-L/14 and
DINOv2 ViT-g/14, from memory.
Reconstructed: nothing.

`method = "kmeans"` and `"spectral"` are the baselines: k-means, and spectral clustering of the graph of 10 nearest
neighbours, on the same features side by side.

Recipe `mien`: takes batches of 1,000 instead of 10,000, which stay in a CPU's cache, and two runs instead of one, of
which the one with the better generalisation is kept, without labels.

Deviations:
- Each feature is scaled to mean 0 and deviation 1, for features other than those of large encoders come in any size;
  the source scales nothing. Runs are compared by ridge regression on one-hot pseudo-labels in five parts; the source
  fits logistic regressions in ten.
- Clusters are matched with expressions on Training's labels, once, and the matching is part of the system. The usual
  way matches on the labels of the very faces that are measured, which would open the test split to a choice.
- Features of a bundle come from a network trained on FER2013's labels: such a result is marked in its `extra_data`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, RunError
from mien.features.spaces import FeatureSpace, check_features, feature_space
from mien.registry import suggestion
from mien.systems.card import Card, Paper, grey
from mien.systems.classical import ClassicalSystem, Notify, grey_faces
from mien.systems.options import check_not_negative, check_positive, check_stages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import Split

METHODS = ("turtle", "kmeans", "spectral")


class Turtle(ClassicalSystem):
    """A labelling of feature spaces.

    Args:
        features: bundles (``.onnx``), matrices (``.npy``) or built-in features, one space each.
        origin: what features in matrices learnt from, for the result.
        method: ``turtle``, ``kmeans`` or ``spectral``.
        steps: outer steps.
        batch: faces per outer step.
        inner: steps of the heads within each outer step.
        lr: learning rate of the labelling.
        inner_lr: learning rate of the heads.
        entropies: weights of the entropy of the mean labelling; each is tried.
        restarts: runs for each of them.
    """

    scores_kind = "clusters"

    def check(self, split: Split, *scored: Split) -> None:
        """Refuse a method that there is none of, no features, too few faces."""
        method, names = self.options["method"], self.options["features"]
        if method not in METHODS:
            raise InputError(f"no clustering is called {method!r}; {suggestion(str(method), METHODS)}")
        if not names:
            raise InputError("clustering needs features: --set 'system.features=[\"clip.npy\"]'")
        check_stages("try", entropies=self.options["entropies"])
        check_not_negative(entropies=min(self.options["entropies"]))
        check_positive(lr=self.options["lr"], inner_lr=self.options["inner_lr"])
        if len(split) < 10 * self.classes:
            raise InputError(f"{len(split)} faces are too few for {self.classes} clusters; give {10 * self.classes}")
        check_features(names, split, *scored)

    def fit(self, split: Split, *, seed: int, notify: Notify) -> None:
        """Find the clusters of the training faces, choose among runs without labels, then name the clusters."""
        self.check(split)
        spaces = self._spaces(split.images, split.rows, notify)
        self.sources = [space.source for space in spaces]
        self.extra_data = tuple(dict.fromkeys(name for space in spaces for name in space.learnt_from(split)))
        # An embedding that is 0 throughout stays 0 instead of being blown up.
        self.means = [np.asarray(space.matrix).mean(axis=0) for space in spaces]
        self.scales = [1 / np.maximum(np.asarray(space.matrix).std(axis=0), 1e-6) for space in spaces]
        ready = self._standardised(spaces)
        find = {"turtle": self._turtle, "kmeans": self._kmeans, "spectral": self._spectral}[self.options["method"]]
        self.weights, candidates = find(ready, seed, notify)
        clusters = self._shares(ready).argmax(axis=1)
        labels = np.asarray(split.labels)
        self.names = match(clusters, labels, self.classes)
        self.notes = {
            "candidates": candidates,
            "matched_accuracy_on_training": round(float((self.names[clusters] == labels).mean()), 6),
            "features": [{"name": s.name, "width": int(s.matrix.shape[1]), "source": s.source} for s in spaces],
        }

    def scores(self, images: NDArray[np.uint8], *, notify: Notify) -> NDArray[np.float32]:
        """Shares of the clusters in the columns of the expressions that they were matched with."""
        return self._scores(self._spaces(images, None, notify))

    def scores_of(self, split: Split, *, notify: Notify) -> NDArray[np.float32]:
        """The same for the rows of a split, which an ``.npy`` needs."""
        return self._scores(self._spaces(split.images, split.rows, notify))

    def state(self) -> dict[str, NDArray[Any]]:
        """Scaling, weights and names of the clusters."""
        out: dict[str, NDArray[Any]] = {"names": self.names, "sources": np.array(self.sources)}
        for kind, arrays in (("mean", self.means), ("scale", self.scales), ("weight", self.weights)):
            out |= {f"{kind}{index}": array for index, array in enumerate(arrays)}
        return out

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `state`."""
        self.names, self.sources = state["names"], [str(source) for source in state["sources"]]
        spaces = range(len(self.sources))
        self.means = [state[f"mean{index}"] for index in spaces]
        self.scales = [state[f"scale{index}"] for index in spaces]
        self.weights = [state[f"weight{index}"] for index in spaces if f"weight{index}" in state]

    def _spaces(self, images: NDArray[np.uint8], rows: NDArray[np.int64] | None, notify: Notify) -> list[FeatureSpace]:
        return [
            feature_space(
                name,
                grey_faces(images),
                rows,
                origin=str(self.options["origin"]),
                advance=lambda done, total, name=name: notify(f"features {name}", done, total),  # type: ignore[misc]
            )
            for name in self.options["features"]
        ]

    def _scores(self, spaces: Sequence[FeatureSpace]) -> NDArray[np.float32]:
        for space, source in zip(spaces, self.sources, strict=True):
            if space.source != source:
                raise RunError(f"{space.name} is not what the clustering was fitted to; put the first one back")
        shares = self._shares(self._standardised(spaces))
        out = np.empty_like(shares)
        out[:, self.names] = shares
        return out

    def _standardised(self, spaces: Sequence[FeatureSpace]) -> list[NDArray[np.float32]]:
        return [
            ((np.asarray(space.matrix) - mean) * scale).astype(np.float32)
            for space, mean, scale in zip(spaces, self.means, self.scales, strict=True)
        ]

    def _shares(self, ready: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        from mien.systems.turtle_bilevel import labelling

        if self.options["method"] != "turtle":
            ready = [np.concatenate(ready, axis=1)]
        return labelling(ready, self.weights)

    def _turtle(
        self, ready: list[NDArray[np.float32]], seed: int, notify: Notify
    ) -> tuple[list[NDArray[np.float32]], list[dict[str, Any]]]:
        from mien.systems.turtle_bilevel import Settings, label_without_labels, labelling

        options, found = self.options, []
        runs = [(entropy, restart) for entropy in options["entropies"] for restart in range(int(options["restarts"]))]
        for number, (entropy, restart) in enumerate(runs):
            settings = Settings(
                clusters=self.classes,
                steps=int(options["steps"]),
                batch=int(options["batch"]),
                inner=int(options["inner"]),
                lr=float(options["lr"]),
                inner_lr=float(options["inner_lr"]),
                entropy=float(entropy),
                seed=1000 * seed + restart,
            )
            stage = f"labelling {number + 1}/{len(runs)}"
            weights = label_without_labels(
                ready,
                settings,
                lambda done, total, stage=stage: notify(stage, done, total),  # type: ignore[misc]
            )
            score = generalisation(ready, labelling(ready, weights).argmax(axis=1), self.classes)
            found.append((score, weights, {"entropy": entropy, "restart": restart, "generalisation": round(score, 6)}))
        best = max(range(len(found)), key=lambda index: (found[index][0], -index))
        return found[best][1], [{**about, "chosen": index == best} for index, (_, _, about) in enumerate(found)]

    def _kmeans(
        self, ready: list[NDArray[np.float32]], seed: int, notify: Notify
    ) -> tuple[list[NDArray[np.float32]], list[dict[str, Any]]]:
        from sklearn.cluster import KMeans

        notify("k-means", 0, 1)
        model = KMeans(self.classes, n_init=4, random_state=seed).fit(np.concatenate(ready, axis=1))
        # The nearest centre c is the highest of 2 · z · c - |c|², which is linear in z.
        centres = model.cluster_centers_.astype(np.float32)
        return self._one_linear(2 * centres, -(centres**2).sum(axis=1)), []

    def _spectral(
        self, ready: list[NDArray[np.float32]], seed: int, notify: Notify
    ) -> tuple[list[NDArray[np.float32]], list[dict[str, Any]]]:
        from sklearn.cluster import SpectralClustering

        notify("spectral clustering", 0, 1)
        whole = np.concatenate(ready, axis=1)
        # The default solver factorises the graph, whose factors are almost full: minutes and gigabytes, not a second.
        model = SpectralClustering(
            self.classes,
            affinity="nearest_neighbors",
            n_neighbors=10,
            eigen_solver="lobpcg",
            assign_labels="cluster_qr",
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Graph is not fully connected")  # its parts are clusters then
            clusters = model.fit_predict(whole)
        # It has no rule for faces that it has not seen: a linear one that repeats it on those it has.
        weights = ridge(whole, np.eye(self.classes, dtype=np.float32)[clusters])
        return self._one_linear(50 * weights[:-1].T, 50 * weights[-1]), []

    def _one_linear(self, weight: NDArray[np.float32], offset: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """A rule over all spaces side by side."""
        return [np.concatenate([weight, offset[:, None]], axis=1).astype(np.float32)]


def match(clusters: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]], classes: int) -> NDArray[np.int64]:
    """For each cluster the expression that it is matched with, so that most faces agree (Kuhn 1955).

    Example:
        >>> match(np.array([1, 1, 0, 0, 2]), np.array([0, 0, 2, 2, 1]), 3).tolist()
        [2, 0, 1]
    """
    from scipy.optimize import linear_sum_assignment

    agree = np.zeros((classes, classes), np.int64)
    np.add.at(agree, (clusters, labels), 1)
    names: NDArray[np.int64] = linear_sum_assignment(-agree)[1]
    return names


def generalisation(
    spaces: Sequence[NDArray[np.float32]], clusters: NDArray[np.integer[Any]], classes: int, parts: int = 5
) -> float:
    """How well a linear classifier of each space predicts clusters of faces held out, 0–1: a choice without labels."""
    wanted = np.eye(classes, dtype=np.float32)[clusters]
    part = np.random.default_rng(0).permutation(len(clusters)) % parts
    right = [
        float((_predicted(space[part == index], ridge(space[part != index], wanted[part != index]))
               == clusters[part == index]).mean())
        for space in spaces
        for index in range(parts)
    ]  # fmt: skip
    return float(np.mean(right))


def ridge(features: NDArray[np.float32], wanted: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (D + 1, C) of a linear rule with offset, the penalty a hundredth of the features' mean square."""
    whole = np.concatenate([features, np.ones((len(features), 1), np.float32)], axis=1)
    gram = (whole.T @ whole).astype(np.float64)
    gram[np.diag_indices(len(gram))] += 0.01 * np.trace(gram) / len(gram)
    found: NDArray[np.float32] = np.linalg.solve(gram, (whole.T @ wanted).astype(np.float64)).astype(np.float32)
    return found


def _predicted(features: NDArray[np.float32], weights: NDArray[np.float32]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = (features @ weights[:-1] + weights[-1]).argmax(axis=1)
    return found


CARDS = {
    "turtle": Card(
        id="turtle",
        title="TURTLE",
        module=Turtle,
        kind="clustering",
        input=grey(48),
        parameters=0,
        paper=Paper(
            title="Let Go of Your Labels with Unsupervised Transfer",
            authors=("Artyom Gadetsky", "Yulun Jiang", "Maria Brbić"),
            year=2024,
            venue="ICML",
            url="https://arxiv.org/abs/2406.07236",
            code=("https://github.com/mlbio-epfl/turtle",),
        ),
        options={
            "features": ("sift", "pixels"),
            "origin": "",
            "method": "turtle",
            "steps": 6000,
            "batch": 1000,
            "inner": 10,
            "lr": 1e-3,
            "inner_lr": 1e-3,
            "entropies": (10.0,),
            "restarts": 2,
        },
        recipes={
            "mien": {"system": {}},
            "faithful": {"system": {"batch": 10_000, "restarts": 1}},
            "kmeans": {"system": {"method": "kmeans"}},
            "spectral": {"system": {"method": "spectral"}},
        },
        extra_data=("CLIP", "DINOv2"),
        tiny={"features": ("pixels",), "steps": 200, "batch": 200},
    )
}
