"""Features: faces → a feature matrix, cached on disk: SIFT words, a network's penultimate layer, ``.npy``."""

from mien.features.cache import cached_rows, faces_digest
from mien.features.matrix import checked_matrix, read_matrix
from mien.features.network import network_features
from mien.features.sift import SiftGrid, dense_sift, mirror_descriptors
from mien.features.words import assign_words, learn_vocabulary, mirrored_words, visual_words

__all__ = [
    "SiftGrid",
    "assign_words",
    "cached_rows",
    "checked_matrix",
    "dense_sift",
    "faces_digest",
    "learn_vocabulary",
    "mirror_descriptors",
    "mirrored_words",
    "network_features",
    "read_matrix",
    "visual_words",
]
