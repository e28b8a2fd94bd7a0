"""Evaluation: a run or a bundle over a split under named views → a result. Torch only when handed a run."""

from mien.evaluation.adapters import foreign_subject
from mien.evaluation.devices import check_device
from mien.evaluation.evaluate import evaluate
from mien.evaluation.folds import evaluate_folds
from mien.evaluation.parts import Part, parts
from mien.evaluation.scorers import score
from mien.evaluation.subjects import Subject, subject_of

__all__ = [
    "Part",
    "Subject",
    "check_device",
    "evaluate",
    "evaluate_folds",
    "foreign_subject",
    "parts",
    "score",
    "subject_of",
]
