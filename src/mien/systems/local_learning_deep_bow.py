"""Local Learning Deep+BOW: features of trained networks joined with visual words (Georgescu, Ionescu, Popescu 2019).

Paper: M.-I. Georgescu, R. T. Ionescu, M. Popescu, "Local Learning with Deep and Handcrafted Features for Facial
Expression Recognition", arXiv 1804.10892, IEEE Access 2019. No public code; only the abstract was at hand. 75.42 %
claimed, 73.25 % with one machine for all faces.
Known from it: penultimate features of VGG-Face (pretrained on faces), VGG-f (pretrained on ImageNet, tuned) and VGG-13
(fresh), trained dense, sparse, dense; joined with the words of Local Learning BOW after each part was brought to length
1; the nearest training faces of each test face; a linear one-against-all machine on them.
Reconstructed: 200 neighbours and C = 1, from memory; the parts' weights, equal.

Recipe `mien`: the reconstruction itself, since there is no `faithful` one without the source's networks; which networks
it joins with the words is the caller's choice, and `global` is one machine for all faces.

Deviations:
- The networks are whichever bundles are given: `--set 'system.features=["a.onnx", "b.onnx"]'`. VGG-Face, VGG-f and a
  VGG-13 are such members where their weights are at hand; a result names what it was given, and what those learnt from.
- A bundle's features have seen its training faces, so neighbours among them look cleaner than among test faces.
- The words are those of `local-learning-bow` here, mirror images included.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import InputError, RunError
from mien.features.cache import cached_rows, faces_digest
from mien.features.spaces import LABELS_SEEN, FeatureSpace, check_features, feature_space
from mien.systems import local_learning_bow
from mien.systems.card import Card, Paper, grey
from mien.systems.classical import Notify, grey_faces
from mien.systems.local_learning import check_neighbours, global_margins, local_margins
from mien.systems.local_learning_bow import LocalLearningBOW
from mien.systems.options import check_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import Split

_BLOCK = 256


class LocalLearningDeepBOW(LocalLearningBOW):
    """A sum of kernels, and local machines.

    Args:
        side: side that faces are brought to before descriptors are taken, in pixels, 16 to 1,024.
        step: distance between the centres of descriptors, in pixels, 1 to ``side``.
        patches: sides of the squares that descriptors are taken from, in pixels, 4 to ``side``.
        blur: standard deviation of the blur before gradients are taken, in pixels.
        root: take square roots of descriptors.
        words: size of the vocabulary.
        descriptors_per_word: descriptors that the vocabulary is learnt from, per word.
        mirror: count a face as like another if its mirror image is.
        levels: cells per side of each level of the pyramid.
        level_weights: weights of the levels, one for each, 0 or more.
        neighbours: training faces that a face's machine learns from; 0 is one machine for all faces.
        penalty: C of the machines, above 0.
        features: bundles (``.onnx``), matrices (``.npy``) or built-in features, one kernel each.
        feature_weights: weights of those kernels, one for each, 0 or more; empty for equal ones.
        origin: what features in matrices learnt from, for the result.
        bow_weight: weight of the words' kernel; 0 leaves it out.
    """

    deep: list[NDArray[np.float16]]
    sources: list[str]

    def check(self, split: Split, *scored: Split) -> None:
        """Refuse no features, networks that learnt from other faces, bad weights, and what the words refuse."""
        features, weights = self.options["features"], self.options["feature_weights"]
        if not features:
            raise InputError(
                "local-learning-deep-bow needs features of trained networks: export runs with `mien export` and give "
                'them, --set \'system.features=["a.onnx", "b.onnx"]\''
            )
        if weights and len(weights) != len(features):
            raise InputError(f"{len(features)} feature spaces need as many weights, not {len(weights)}, or none")
        if min([float(self.options["bow_weight"]), *map(float, weights)]) < 0:
            raise InputError("weights of kernels are numbers from 0")
        check_positive(penalty=self.options["penalty"])
        check_features(features, split, *scored)
        if self.options["bow_weight"]:
            super().check(split, *scored)
        elif self.options["neighbours"]:
            check_neighbours(int(self.options["neighbours"]), len(split))

    def fit(self, split: Split, *, seed: int, notify: Notify) -> None:
        """Features, words, and the kernel of the training faces with each other."""
        self.check(split)
        images = grey_faces(split.images)
        spaces = self._spaces(images, split.rows, notify)
        self.sources = [space.source for space in spaces]
        # That the networks learnt these very labels is no secret of a system that is trained on them.
        named = (name for space in spaces for name in space.learnt_from(split) if name != LABELS_SEEN)
        self.extra_data = tuple(dict.fromkeys(named))
        self.deep = [_unit(space) for space in spaces]
        self.labels = np.array(split.labels)
        self.notes = {
            "features": [{"name": s.name, "width": int(s.matrix.shape[1]), "source": s.source} for s in spaces]
        }
        if self.options["bow_weight"]:
            self._learn_words(images, seed, notify)
        else:
            self.vocabulary, self.words = np.zeros((0, 128), np.float32), np.zeros((len(images), 0), np.uint16)

    def scores(self, images: NDArray[np.uint8], *, notify: Notify) -> NDArray[np.float32]:
        """Margins, float32 (n, classes)."""
        return self._margins(grey_faces(images), None, notify)

    def scores_of(self, split: Split, *, notify: Notify) -> NDArray[np.float32]:
        """The same for the rows of a split, which an ``.npy`` needs."""
        return self._margins(grey_faces(split.images), split.rows, notify)

    def state(self) -> dict[str, NDArray[Any]]:
        """Features and words of the training faces."""
        parts = {f"deep{index}": part for index, part in enumerate(self.deep)}
        return {**super().state(), **parts, "sources": np.array(self.sources)}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `state`."""
        super().restore(state)
        self.sources = [str(source) for source in state["sources"]]
        self.deep = [state[f"deep{index}"] for index in range(len(self.sources))]

    def _margins(
        self, images: NDArray[np.uint8], rows: NDArray[np.int64] | None, notify: Notify
    ) -> NDArray[np.float32]:
        spaces = self._spaces(images, rows, notify)
        for space, source in zip(spaces, self.sources, strict=True):
            if space.source != source:
                raise RunError(f"{space.name} is not what the machines were fitted with; put the first one back")
        deep = [_unit(space) for space in spaces]
        words = self._words(images, notify, "words") if self.options["bow_weight"] else np.zeros((len(images), 0), "u2")
        penalty, neighbours = float(self.options["penalty"]), int(self.options["neighbours"])
        if not neighbours:
            return self._global(deep, words, penalty, notify)
        return local_margins(
            self._joint(deep, words, notify, "kernel"),
            self._joint(self.deep, self.words, notify, "kernel of training faces"),
            self.labels,
            self.classes,
            neighbours=neighbours,
            penalty=penalty,
            key=self._joint_key(deep, words),
            advance=lambda done, total: notify("machines", done, total),
        )

    def _global(
        self, deep: list[NDArray[np.float16]], words: NDArray[np.uint16], penalty: float, notify: Notify
    ) -> NDArray[np.float32]:
        from scipy import sparse

        notify("machines", 0, len(words))
        sides = []
        for parts, of in ((self.deep, self.words), (deep, words)):
            scaled = [np.sqrt(w) * part.astype(np.float32) for w, part in zip(self._weights()[1], parts, strict=True)]
            columns = [sparse.csr_matrix(part) for part in scaled]
            if self.options["bow_weight"]:
                columns.append(np.float32(np.sqrt(self._weights()[0])) * self._rows(of, mirror=True))
            sides.append(sparse.hstack(columns, format="csr"))
        return global_margins(sides[0], self.labels, sides[1], self.classes, penalty=penalty)

    def _joint(
        self, deep: list[NDArray[np.float16]], words: NDArray[np.uint16], notify: Notify, stage: str
    ) -> NDArray[np.float16]:
        """The weighted sum of the kernels, 1 for equal faces, float16 (n, m), cached."""
        bow_weight, weights = self._weights()
        bow = self._kernel(words, notify, f"{stage}, words") if bow_weight else None
        turned = [np.ascontiguousarray(part.astype(np.float32).T) for part in self.deep]

        def make(start: int, stop: int) -> NDArray[np.float16]:
            total = np.zeros((stop - start, len(self.labels)), np.float32)
            if bow is not None:
                total += bow_weight * bow[start:stop].astype(np.float32)
            for weight, part, columns in zip(weights, deep, turned, strict=True):
                total += weight * (part[start:stop].astype(np.float32) @ columns)
            return total.astype(np.float16)

        return cached_rows(
            "kernel",
            self._joint_key(deep, words),
            (len(deep[0]), len(self.labels)),
            np.float16,
            make,
            block=_BLOCK,
            advance=lambda done, total: notify(stage, done, total),
        )

    def _weights(self) -> tuple[float, list[float]]:
        """Of the words and of each space; they sum to 1."""
        given = [float(w) for w in self.options["feature_weights"]] or [1.0] * len(self.options["features"])
        total = float(self.options["bow_weight"]) + sum(given)
        return float(self.options["bow_weight"]) / total, [weight / total for weight in given]

    def _joint_key(self, deep: list[NDArray[np.float16]], words: NDArray[np.uint16]) -> dict[str, Any]:
        bow, weights = self._weights()
        return {
            **self._key(words),
            "deep": [faces_digest(part.view(np.uint8)) for part in deep],
            "deep of training faces": [faces_digest(part.view(np.uint8)) for part in self.deep],
            "weights": [bow, *weights],
        }

    def _spaces(self, images: NDArray[np.uint8], rows: NDArray[np.int64] | None, notify: Notify) -> list[FeatureSpace]:
        return [
            feature_space(
                name,
                images,
                rows,
                origin=str(self.options["origin"]),
                advance=lambda done, total, name=name: notify(f"features {name}", done, total),  # type: ignore[misc]
            )
            for name in self.options["features"]
        ]


def _unit(space: FeatureSpace) -> NDArray[np.float16]:
    """Rows of length 1; a row of zeros stays one."""
    matrix = np.asarray(space.matrix, np.float32)
    scaled = matrix / np.maximum(np.linalg.norm(matrix, axis=1, keepdims=True), 1e-12)
    found: NDArray[np.float16] = scaled.astype(np.float16)
    return found


_BOW = local_learning_bow.CARDS["local-learning-bow"]

CARDS = {
    "local-learning-deep-bow": Card(
        id="local-learning-deep-bow",
        title="Local Learning Deep+BOW",
        module=LocalLearningDeepBOW,
        kind="classical",
        input=grey(48),
        parameters=0,
        paper=Paper(
            title="Local Learning with Deep and Handcrafted Features for Facial Expression Recognition",
            authors=("Mariana-Iuliana Georgescu", "Radu Tudor Ionescu", "Marius Popescu"),
            year=2019,
            venue="IEEE Access",
            url="https://arxiv.org/abs/1804.10892",
        ),
        options={
            **_BOW.options,
            "features": (),
            "feature_weights": (),
            "origin": "",
            "bow_weight": 1.0,
            "neighbours": 200,
        },
        recipes={"mien": {"system": {}}, "global": {"system": {"neighbours": 0}}},
        extra_data=("VGG-Face", "ImageNet-1k"),
        tiny={**_BOW.tiny, "features": ("pixels",), "neighbours": 60},
    )
}
