"""Data sets: one file each, all of them a `FaceSet` with train, selection and a sealed test split."""

from mien.datasets.drawn import draw_face, drawn_faces
from mien.datasets.duplicates import copies_of, duplicate_groups
from mien.datasets.extra_images import ExtraImages, read_manifest
from mien.datasets.faceset import ROLES, UNLABELLED, AllRows, FaceSet, SealedSplit, Split
from mien.datasets.library import DATASETS, DataSet, import_dataset, load_dataset

__all__ = [
    "DATASETS",
    "ROLES",
    "UNLABELLED",
    "AllRows",
    "DataSet",
    "ExtraImages",
    "FaceSet",
    "SealedSplit",
    "Split",
    "copies_of",
    "draw_face",
    "drawn_faces",
    "duplicate_groups",
    "import_dataset",
    "load_dataset",
    "read_manifest",
]
