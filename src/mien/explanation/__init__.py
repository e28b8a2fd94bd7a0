"""Which part of a face decided: occlusion on any bundle, gradients on runs, and whether a map means anything."""

from mien.explanation.faithfulness import Faithfulness, faithfulness
from mien.explanation.occlusion import occlusion_maps

__all__ = ["Faithfulness", "faithfulness", "occlusion_maps"]
