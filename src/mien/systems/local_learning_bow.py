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

Recipe `mien`: takes square roots of the descriptors (`root`), which compare better as linear kernels, and counts mirror
images (`mirror`), which doubles what each training face says; `global` is one machine for all faces.

Deviations:
- Words are assigned by exact search, not by a forest of k-d trees, which approximates it.
- `mirror` counts a face as like another if its mirror image is, with a vocabulary that is its own mirror image; the
  source says nothing of mirror images, so `faithful` goes without.
- `neighbours = 0` trains one machine on all faces instead, for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.errors import MissingExtraError
from mien.features.cache import faces_digest
from mien.features.sift import SiftGrid
from mien.features.words import check_vocabulary, learn_vocabulary, mirrored_words, visual_words
from mien.systems.card import Card, Paper, grey
from mien.systems.classical import ClassicalSystem, Notify, grey_faces
from mien.systems.local_learning import check_neighbours, global_margins, kernel, local_margins, presence, scale_rows
from mien.systems.options import check_not_negative, check_positive, check_stages

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mien.datasets import Split


class LocalLearningBOW(ClassicalSystem):
    """Presence of visual words in a pyramid, and local machines.

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
    """

    vocabulary: NDArray[np.float32]
    may_be_zero = ("neighbours",)
    words: NDArray[np.uint16]
    labels: NDArray[np.uint8]

    @property
    def grid(self) -> SiftGrid:
        """Where descriptors are taken."""
        o = self.options
        return SiftGrid(int(o["side"]), int(o["step"]), tuple(o["patches"]), float(o["blur"]), bool(o["root"]))

    def check(self, split: Split, *scored: Split) -> None:
        """Refuse too few faces for the neighbours or for the vocabulary, and to go without what computes words."""
        levels, weights = self.options["levels"], self.options["level_weights"]
        check_stages("level", levels=levels, level_weights=weights)
        check_not_negative(level_weights=min(weights))
        check_positive(penalty=self.options["penalty"], blur=self.options["blur"])
        MissingExtraError.check("visual words", "classical", "cv2", "faiss")
        if self.options["neighbours"]:
            check_neighbours(int(self.options["neighbours"]), len(split))
        check_vocabulary(int(self.options["words"]), bool(self.options["mirror"]), len(split), self.grid)

    def fit(self, split: Split, *, seed: int, notify: Notify) -> None:
        """Vocabulary, words and the kernel of the training faces with each other."""
        self.check(split)
        self._learn_words(grey_faces(split.images), seed, notify)
        self.labels = np.array(split.labels)
        if self.options["neighbours"]:
            self._kernel(self.words, notify, "kernel of training faces")

    def scores(self, images: NDArray[np.uint8], *, notify: Notify) -> NDArray[np.float32]:
        """Margins, float32 (n, classes)."""
        words = self._words(grey_faces(images), notify, "words")
        penalty, neighbours = float(self.options["penalty"]), int(self.options["neighbours"])
        if not neighbours:
            notify("machines", 0, len(words))
            train, test = (self._rows(of, mirror=True) for of in (self.words, words))
            return global_margins(train, self.labels, test, self.classes, penalty=penalty)
        return local_margins(
            self._kernel(words, notify, "kernel"),
            self._kernel(self.words, notify, "kernel of training faces"),
            self.labels,
            self.classes,
            neighbours=neighbours,
            penalty=penalty,
            key=self._key(words),
            advance=lambda done, total: notify("machines", done, total),
        )

    def state(self) -> dict[str, NDArray[Any]]:
        """Vocabulary, words and labels of the training faces."""
        return {"vocabulary": self.vocabulary, "words": np.asarray(self.words), "labels": self.labels}

    def restore(self, state: Mapping[str, NDArray[Any]]) -> None:
        """The inverse of `state`."""
        self.vocabulary, self.words, self.labels = state["vocabulary"], state["words"], state["labels"]

    def _learn_words(self, images: NDArray[np.uint8], seed: int, notify: Notify) -> None:
        """Vocabulary of the training faces, and their words."""
        self.vocabulary = learn_vocabulary(
            images,
            self.grid,
            int(self.options["words"]),
            per_word=int(self.options["descriptors_per_word"]),
            seed=seed,
            mirror=bool(self.options["mirror"]),
            advance=lambda done, total: notify("vocabulary", done, total),
        )
        self.words = self._words(images, notify, "words of training faces")

    def _words(self, images: NDArray[np.uint8], notify: Notify, stage: str) -> NDArray[np.uint16]:
        return visual_words(images, self.grid, self.vocabulary, advance=lambda done, total: notify(stage, done, total))

    def _kernel(self, words: NDArray[np.uint16], notify: Notify, stage: str) -> NDArray[np.float16]:
        """How alike faces of these words and the training faces are, (n, m)."""
        return kernel(
            lambda start, stop: self._rows(np.asarray(words[start:stop])),
            lambda: self._rows(self.words, mirror=True).T.tocsr(),
            (len(words), len(self.words)),
            self._key(words),
            advance=lambda done, total: notify(stage, done, total),
        )

    def _rows(self, words: NDArray[np.uint16], *, mirror: bool = False) -> Any:
        """Feature vectors, CSR (n, D), of length 1 under the kernel; with ``mirror`` those of both mirror images.

        The kernel of two faces is that of one face with the sum of the other and its mirror image. From either side it
        is the same, as mirroring both changes nothing; so only one side of a product is mirrored.
        """
        from scipy import sparse

        if not self.options["mirror"]:
            return self._pyramid(words)
        blocks = []
        for start in range(0, len(words), 1024):
            block = np.asarray(words[start : start + 1024])
            own = self._pyramid(block)
            both = own + self._pyramid(mirrored_words(block, self.grid, len(self.vocabulary)))
            blocks.append(scale_rows(both if mirror else own, np.asarray(own.multiply(both).sum(axis=1)).ravel()))
        return sparse.vstack(blocks, format="csr")

    def _pyramid(self, words: NDArray[np.uint16]) -> Any:
        return presence(
            words, self.grid.centres, len(self.vocabulary), self.options["levels"], self.options["level_weights"]
        )

    def _key(self, words: NDArray[np.uint16]) -> dict[str, Any]:
        """What the kernel of faces with the training faces depends on."""
        return {
            "faces": faces_digest(np.asarray(words).view(np.uint8)),
            "train": faces_digest(np.asarray(self.words).view(np.uint8)),
            "labels": faces_digest(self.labels),
            "grid": self.grid.to_dict(),
            "mirror": self.options["mirror"],
            "levels": list(self.options["levels"]),
            "level_weights": list(self.options["level_weights"]),
        }


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
            "side": 95,
            "step": 4,
            "patches": (16, 24, 32),
            "blur": 1.6,
            "root": True,
            "words": 10000,
            "descriptors_per_word": 64,
            "mirror": True,
            "levels": (1, 2, 3, 4),
            "level_weights": (1.0, 1.0, 1.0, 1.0),
            "neighbours": 1000,
            "penalty": 1.0,
        },
        recipes={
            "mien": {"system": {}},
            "faithful": {"system": {"root": False, "mirror": False}},
            "global": {"system": {"neighbours": 0, "penalty": 0.1}},
        },
        tiny={
            "side": 47,
            "step": 4,
            "patches": (12, 20),
            "words": 100,
            "levels": (1, 3),
            "level_weights": (0.2, 1.0),
            "neighbours": 300,
        },
    )
}
