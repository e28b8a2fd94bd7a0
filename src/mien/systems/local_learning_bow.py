"""Local Learning BOW: bags of visual words and a support vector machine per face (Ionescu, Popescu, Grozea 2013).

Paper: R. T. Ionescu, M. Popescu, C. Grozea, "Local Learning to Improve Bag of Visual Words Model for Facial Expression
Recognition", ICML Workshop on Challenges in Representation Learning, 2013. Fourth in the contest that FER2013 was made
for, with 67.484 % on PrivateTest, measured by the organisers. No public code; only the first page was read.
Known from it: dense SIFT from the image or from the cells of a spatial pyramid, words by clustering, normalised
*presence* vectors, a weighted sum of linear kernels, one-against-all machines trained on the nearest training faces of
each test face.
Reconstructed: side, step and patches of the grid, roots of the descriptors, size of the vocabulary, the pyramid's
levels (1×1 to 4×4) and their weights, number of neighbours and C, all chosen on PublicTest where they were chosen.

Nearest neighbours meet exact copies: 8 % of the PrivateTest faces lie in Training too. The accuracy without them
(``clean@1``) stands beside every result.

Deviations:
- Words are assigned by exact search, not by a forest of k-d trees, which approximates it.
- `neighbours = 0` trains one machine on all faces instead, for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.features.cache import faces_digest
from mien.features.sift import SiftGrid
from mien.features.words import learn_vocabulary, visual_words
from mien.systems.card import Card, Paper, grey
from mien.systems.classical import ClassicalSystem, Notify
from mien.systems.local_learning import check_neighbours, global_margins, kernel, local_margins, presence

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import Split


class LocalLearningBOW(ClassicalSystem):
    """Presence of visual words in a pyramid, and local machines. Options: see the card."""

    vocabulary: NDArray[np.float32]
    words: NDArray[np.uint16]
    labels: NDArray[np.uint8]

    @property
    def grid(self) -> SiftGrid:
        """Where descriptors are taken."""
        o = self.options
        return SiftGrid(int(o["side"]), int(o["step"]), tuple(o["patches"]), float(o["blur"]), bool(o["root"]))

    def fit(self, split: Split, *, seed: int, notify: Notify) -> None:
        """Vocabulary, words and the kernel of the training faces with each other."""
        if self.options["neighbours"]:
            check_neighbours(int(self.options["neighbours"]), len(split))
        images = grey_faces(split.images)
        self.vocabulary = learn_vocabulary(
            images,
            self.grid,
            int(self.options["words"]),
            per_word=int(self.options["descriptors_per_word"]),
            seed=seed,
            advance=lambda done, total: notify("vocabulary", done, total),
        )
        self.words = self._words(images, notify, "words of training faces")
        self.labels = np.array(split.labels)
        if self.options["neighbours"]:
            self._among(self._presence(self.words), notify)

    def scores(self, images: NDArray[np.uint8], *, notify: Notify) -> NDArray[np.float32]:
        """Margins, float32 (n, classes)."""
        words = self._words(grey_faces(images), notify, "words")
        train, test = self._presence(self.words), self._presence(words)
        penalty, neighbours = float(self.options["penalty"]), int(self.options["neighbours"])
        if not neighbours:
            notify("machines", 0, len(words))
            return global_margins(train, self.labels, test, self.classes, penalty=penalty)
        key = {**self._key(), "faces": faces_digest(np.asarray(words).view(np.uint8))}
        similar = kernel(test, train, key, advance=lambda done, total: notify("kernel", done, total))
        among = self._among(train, notify)
        del train, test
        return local_margins(
            similar,
            among,
            self.labels,
            self.classes,
            neighbours=neighbours,
            penalty=penalty,
            key=key,
            advance=lambda done, total: notify("machines", done, total),
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Vocabulary, words and labels of the training faces."""
        return {"vocabulary": self.vocabulary, "words": np.asarray(self.words), "labels": self.labels}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `state`."""
        self.vocabulary, self.words, self.labels = state["vocabulary"], state["words"], state["labels"]

    def _words(self, images: NDArray[np.uint8], notify: Notify, stage: str) -> NDArray[np.uint16]:
        return visual_words(images, self.grid, self.vocabulary, advance=lambda done, total: notify(stage, done, total))

    def _presence(self, words: NDArray[np.uint16]) -> Any:
        return presence(
            words, self.grid.centres, len(self.vocabulary), self.options["levels"], self.options["level_weights"]
        )

    def _among(self, train: Any, notify: Notify) -> NDArray[np.float16]:
        return kernel(
            train, train, self._key(), advance=lambda done, total: notify("kernel of training faces", done, total)
        )

    def _key(self) -> dict[str, Any]:
        """What the kernel among training faces depends on."""
        return {
            "train": faces_digest(np.asarray(self.words).view(np.uint8)),
            "labels": faces_digest(self.labels),
            "grid": self.grid.to_dict(),
            "levels": list(self.options["levels"]),
            "level_weights": list(self.options["level_weights"]),
        }


def grey_faces(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (n, H, W); RGB becomes its Rec. 601 luma."""
    from mien.faces.views import resize_faces

    return resize_faces(images, images.shape[1], "grey") if images.ndim == 4 else images


CARDS = {
    "local-learning-bow": Card(
        id="local-learning-bow",
        title="Local Learning BOW",
        module=LocalLearningBOW,
        kind="classical",
        input=grey(48),
        parameters=0,
        paper=Paper(
            title="Local Learning to Improve Bag of Visual Words Model for Facial Expression Recognition",
            authors=("Radu Tudor Ionescu", "Marius Popescu", "Cristian Grozea"),
            year=2013,
            venue="ICML Workshop on Challenges in Representation Learning",
        ),
        options={
            "side": 96,
            "step": 4,
            "patches": (16, 24, 32),
            "blur": 1.6,
            "root": True,
            "words": 10000,
            "descriptors_per_word": 64,
            "levels": (1, 2, 3, 4),
            "level_weights": (1.0, 1.0, 1.0, 1.0),
            "neighbours": 1000,
            "penalty": 1.0,
        },
        recipes={
            "mien": {"system": {}},
            "faithful": {"system": {"root": False}},
            "global": {"system": {"neighbours": 0, "penalty": 0.1}},
        },
        tiny={
            "side": 48,
            "step": 4,
            "patches": (12, 20),
            "words": 100,
            "levels": (1, 3),
            "level_weights": (0.2, 1.0),
            "neighbours": 300,
        },
    )
}
